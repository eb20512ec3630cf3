# SPDX-License-Identifier: Apache-2.0
"""A BERT, a Llama and a ResNet for every consumer of layers; accelerate's own check of its map."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import stagewright as sw
from stagewright.errors import InputError
from stagewright.exporting import TEXTS

pytest.importorskip("torch", reason="the Hugging Face reader needs torch")
pytest.importorskip("transformers", reason="the Hugging Face reader needs transformers")

from stagewright.readers.hf_model import build_model, load_config

TEXT: dict[str, Any] = {
    "vocab_size": 200,
    "hidden_size": 64,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}
MODELS: dict[str, dict[str, Any]] = {
    "bert": {"model_type": "bert", "architectures": ["BertForMaskedLM"], **TEXT},
    "llama": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_key_value_heads": 2, **TEXT},
    "resnet": {"model_type": "resnet", "architectures": ["ResNetForImageClassification"],
               "embedding_size": 16, "hidden_sizes": [16, 32, 64, 128], "depths": [2, 2, 3, 2]},
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_every_consumer_of_layers(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(MODELS[name]))
    graph = sw.read(tmp_path, device="h100-sxm")
    result = sw.plan(
        graph, 3, device="h100-sxm", link="nvlink4", granularity="layer", time_limit=10
    )
    one_list = {"vllm", "sglang", "megatron", "llama.cpp"}
    model = build_model(load_config(tmp_path), name, None)
    for target in TEXTS:
        if name == "resnet" and target in one_list:
            with pytest.raises(InputError, match="4 lists"):
                sw.export(result, target)
            continue
        export = sw.export(result, target)
        assert export.loss.gap is not None
        assert export.loss.gap >= 0
        if target == "split-points":
            assert all(model.get_submodule(point) is not None for point in export.value)
    if name != "resnet":
        (counts,) = sw.export(result, "vllm").value.values()
        assert sum(map(int, counts.split(","))) == 6
    modeling = pytest.importorskip("accelerate.utils.modeling", reason="accelerate's own check")
    where = sw.export(result, "accelerate").value
    modeling.check_device_map(model, where)
    missing = {k: v for k, v in where.items() if k != next(iter(where))}
    with pytest.raises(ValueError, match="does not give any device"):
        modeling.check_device_map(model, missing)
