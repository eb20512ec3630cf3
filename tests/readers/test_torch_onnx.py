# SPDX-License-Identifier: Apache-2.0
"""One model through both readers: ONNX as torch's own exporter writes it, and torch.export."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

import stagewright as sw

pytest.importorskip("torch", reason="the PyTorch readers need torch")
pytest.importorskip("transformers", reason="the models come from transformers' configurations")
pytest.importorskip("onnxscript", reason="torch's ONNX exporter needs onnxscript")

import torch
import transformers

TEXT: dict[str, Any] = {
    "vocab_size": 1000,
    "hidden_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
}


def ids(length: int = 64) -> dict[str, Any]:
    return {
        "input_ids": torch.zeros((1, length), dtype=torch.int64),
        "attention_mask": torch.ones((1, length), dtype=torch.int64),
    }


def image(size: int) -> dict[str, Any]:
    return {"pixel_values": torch.zeros((1, 3, size, size))}


MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "BERT": (transformers.BertConfig(**TEXT, architectures=["BertModel"]), ids()),
    "Llama": (
        transformers.LlamaConfig(**TEXT, num_key_value_heads=2, architectures=["LlamaForCausalLM"]),
        {**ids(), "use_cache": False},
    ),
    "ViT": (
        transformers.ViTConfig(**TEXT, image_size=64, architectures=["ViTForImageClassification"]),
        image(64),
    ),
    "ResNet": (
        transformers.ResNetConfig(
            depths=[1, 1, 1, 1],
            hidden_sizes=[64, 128, 256, 512],
            architectures=["ResNetForImageClassification"],
        ),
        image(64),
    ),
    "ConvNeXt": (
        transformers.ConvNextConfig(
            depths=[1, 1, 2, 1], architectures=["ConvNextForImageClassification"]
        ),
        image(64),
    ),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n == "BERT" else pytest.mark.slow) for n in MODELS],
)
def test_both_readers_agree(name: str, tmp_path: Path) -> None:
    config, inputs = MODELS[name]
    model = getattr(transformers, config.architectures[0])(config).eval()
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (), path, kwargs=inputs, dynamo=True, verbose=False, external_data=True
        )
        through_onnx = sw.read(path)
    through_export = sw.read(model, inputs)
    for what in ("flops", "param_bytes"):
        expected, found = (int(getattr(g, what).sum()) for g in (through_onnx, through_export))
        assert found == pytest.approx(expected, rel=0.02), what
