# SPDX-License-Identifier: Apache-2.0
"""Configurations of Hugging Face transformers: families, phases, facts, faults."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.readers.torch_graphs import node, params

import stagewright as sw
from stagewright.cli import main
from stagewright.errors import InputError, LimitError
from stagewright.graph import CostGraph

pytest.importorskip("torch", reason="the Hugging Face reader needs torch")
pytest.importorskip("transformers", reason="the Hugging Face reader needs transformers")

from stagewright.readers import _torch_child, torch_process
from stagewright.readers.hf_model import read_config

TEXT: dict[str, Any] = {
    "vocab_size": 200,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "encoder": {"model_type": "bert", **TEXT},
    "decoder": {"model_type": "llama", "num_key_value_heads": 2, **TEXT},
    "experts": {"model_type": "mixtral", "num_key_value_heads": 2, "num_local_experts": 4, **TEXT},
    "two parts": {"model_type": "t5", "vocab_size": 200, "d_model": 32, "num_layers": 2, "num_heads": 4,
                  "d_kv": 8, "d_ff": 64},
    "vision": {"model_type": "vit", "image_size": 32, "patch_size": 8, **TEXT},
    "convolutions": {"model_type": "convnext", "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 32, 64],
                     "image_size": 64},
    "sound": {"model_type": "wav2vec2", "num_conv_pos_embeddings": 16, **TEXT},
    "no use_cache": {"model_type": "granitemoe", "num_key_value_heads": 2, "num_local_experts": 2, **TEXT},
    "film": {"model_type": "videomae", "image_size": 32, "patch_size": 8, "num_frames": 4, **TEXT},
    "series": {"model_type": "patchtst", "context_length": 32, "num_input_channels": 3, "d_model": 16,
               "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 32},
    "spectrogram": {"model_type": "clap_audio_model", "depths": [1, 1, 1, 1], "num_attention_heads": [2, 2, 2, 2],
                    "patch_embeds_hidden_size": 8, "hidden_size": 64, "architectures": ["ClapAudioModel"]},
}  # fmt: skip


def config(folder: Path, **content: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def read(folder: Path, content: dict[str, Any], **options: Any) -> CostGraph:
    return read_config(config(folder, **content), **options)


@pytest.mark.parametrize(
    "family",
    # The decode steps below read these two as well, caches and all.
    [
        pytest.param(f, marks=pytest.mark.slow if f in ("experts", "two parts") else ())
        for f in FAMILIES
    ],
)
def test_families_are_read(family: str, tmp_path: Path) -> None:
    graph = read(tmp_path, FAMILIES[family], sequence=None if "vision" in family else 16)
    assert graph.flops.sum() > 0
    assert graph.param_bytes.sum() > 0
    # Every layer's nodes carry its path.
    assert any("/" in name and ".0" in name for name in graph.node_names)


@pytest.mark.parametrize("family", ["decoder", "experts", "two parts"])
def test_decode_step_reads_its_cache(family: str, tmp_path: Path) -> None:
    short, long = (
        read(tmp_path, FAMILIES[family], phase="decode", sequence=8, cache=n) for n in (16, 64)
    )
    assert short.node_names == long.node_names
    # Keys and values of 48 more tokens stay on the devices: 2 layers, 32 (16 of grouped heads) each.
    width = 32 if family == "two parts" else 16
    grown = int(long.param_bytes.sum() - short.param_bytes.sum())
    assert 48 * 2 * 2 * width * 4 <= grown <= 1.1 * 48 * 2 * 2 * width * 4  # and its positions
    assert long.nbytes.sum() > short.nbytes.sum()


def test_decode_is_cheaper_than_prefill(tmp_path: Path) -> None:
    content = FAMILIES["decoder"]
    whole = read(tmp_path, content, sequence=64)
    step = read(tmp_path, content, phase="decode", cache=63)
    assert 0 < step.flops.sum() < whole.flops.sum() / 30


def test_batch_and_dtype_scale(tmp_path: Path) -> None:
    content = FAMILIES["decoder"]
    one = read(tmp_path, content, sequence=16)
    four = read(tmp_path, content, sequence=16, batch=4)
    half = read(tmp_path, content, sequence=16, dtype="bfloat16")
    assert four.flops.sum() == pytest.approx(4 * int(one.flops.sum()), rel=0.01)
    assert half.param_bytes.sum() == pytest.approx(int(one.param_bytes.sum()) / 2, rel=0.01)
    assert "bfloat16" in half.node_dtypes


def test_experts_cost_what_they_compute(tmp_path: Path) -> None:
    """Two of four experts run for each token; the weights of all of them stay on the device."""
    graph = read(tmp_path, FAMILIES["experts"], sequence=16)
    found = [n for n in graph.node_names if "grouped_mm" in n]
    assert len(found) == 4
    costs = [node(graph, n)["flops"] for n in found]
    assert costs == [2 * 16 * 2 * 32 * 128, 2 * 16 * 2 * 64 * 32] * 2
    assert [s for s, users in params(graph) if users == [found[0]]] == [4 * 128 * 32 * 4]


# --- facts ---------------------------------------------------------------------------------------


def test_bert_base(tmp_path: Path) -> None:
    content = {"model_type": "bert", "architectures": ["BertModel"]}
    graph = read(tmp_path, content, sequence=128)
    assert int(graph.flops.sum()) == pytest.approx(22.4e9, rel=0.01)
    assert int(graph.param_bytes.sum()) == pytest.approx(109.48e6 * 4, rel=0.01)


def test_resnet_50(tmp_path: Path) -> None:
    graph = read(tmp_path, {"model_type": "resnet"})
    assert int(graph.flops.sum()) == pytest.approx(2 * 4.1e9, rel=0.02)
    assert int(graph.param_bytes.sum()) == pytest.approx(
        25.56e6 * 4, rel=0.1
    )  # without its 1,000 labels


@pytest.mark.slow
def test_llama_7b(tmp_path: Path) -> None:
    graph = read(tmp_path, {"model_type": "llama"}, sequence=32, dtype="bfloat16")
    assert int(graph.param_bytes.sum()) / 2 == pytest.approx(6.738e9, rel=1e-3)
    assert int(graph.flops.sum()) == pytest.approx(2 * 6.607e9 * 32, rel=0.01)


@pytest.mark.slow
def test_llama_70b_needs_little_memory(tmp_path: Path) -> None:
    content = {"model_type": "llama", "hidden_size": 8192, "intermediate_size": 28672,
               "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8}  # fmt: skip
    config(tmp_path, **content)
    program = (
        "import resource, sys\n"
        "from stagewright.readers.hf_model import read_config\n"
        "g = read_config(sys.argv[1], sequence=4096, dtype='bfloat16')\n"
        "print(g.param_bytes.sum(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    size, memory = map(int, done.stdout.split())
    assert size / 2 == pytest.approx(68.98e9, rel=0.002)
    assert memory < 3 << 20


def run_here(job: bytes, path: str, limit: float) -> bytes:
    """Do what the reading process does, in this one."""
    buffer = io.BytesIO()
    arrays = torch_process.to_arrays(_torch_child._read(json.loads(job)))
    said = np.frombuffer(json.dumps({"error": None, "warnings": []}).encode(), np.uint8)
    np.savez(buffer, said=said, **arrays)
    return buffer.getvalue()


# --- the door ------------------------------------------------------------------------------------


def test_command_plans_and_checks_without_repeating(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, plan = config(tmp_path / "model", **FAMILIES["decoder"]), tmp_path / "plan.json"
    arguments = ["--phase", "decode", "--cache", "64", "--dtype", "bfloat16", "--batch", "2"]
    assert (
        main(["plan", str(folder), "-k", "2", "--device", "h100-sxm", *arguments, "-o", str(plan)])
        == 0
    )
    assert "replicable: " in capsys.readouterr().err
    source = json.loads(plan.read_text())["source"]
    assert source["settings"] == {"batch": 2, "phase": "decode", "cache": 64, "dtype": "bfloat16"}
    # Importing torch in a second process takes seconds, so this time the job is done in this one.
    monkeypatch.setattr(torch_process, "_run", run_here)
    assert main(["check", str(folder / "config.json"), str(plan)]) == 0
    assert capsys.readouterr().out.endswith("valid, everything verified\n")
    # The process in which the command read the model changes nothing.
    here = read_config(folder, phase="decode", cache=64, dtype="bfloat16", batch=2)
    nodes = [n for stage in json.loads(plan.read_text())["stages"] for n in stage["nodes"]]
    assert sorted(nodes) == sorted(here.node_names)


def test_time_limit_holds(tmp_path: Path) -> None:
    with pytest.raises(LimitError, match=r"reading took longer than 0.1 s and was given up"):
        sw.read(config(tmp_path, **FAMILIES["decoder"]), read_limit=0.1)


def test_interrupt_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen):  # type: ignore[type-arg]
        def communicate(self, *args: Any, **options: Any) -> Any:
            children.append(self)
            os.kill(os.getpid(), signal.SIGINT)
            return super().communicate(*args, **options)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        sw.read(config(tmp_path, **FAMILIES["decoder"]))
    assert [child.returncode for child in children] == [-signal.SIGKILL]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ({"model_type": "nonsense"}, {}, "model_type: expected a type that transformers"),
        ({"architectures": ["X"]}, {}, "model_type: expected a type that transformers knows, got None"),
        ({"model_type": "llama", "architectures": ["NoSuchModel"]}, {},
         "architectures: expected a class that transformers"),
        ({"model_type": "llama", "hidden_size": "big"}, {}, "expected a configuration of 'llama'"),
        ({"model_type": "bert", **TEXT}, {"phase": "decode"},
         "expected prefill, since the model has no key-value cache, got decode"),
        ({"model_type": "llama", **TEXT}, {"phase": "train"}, "phase: expected prefill or decode"),
        ({"model_type": "llama", **TEXT}, {"cache": 5}, "cache: expected none for the prefill"),
        ({"model_type": "llama", **TEXT}, {"batch": 0}, "batch: expected a whole number >= 1, got 0"),
        ({"model_type": "llama", **TEXT}, {"dtype": "int3"}, "dtype: expected one of float32"),
        ({"model_type": "llama", **TEXT}, {"shapes": {"pixels": [1]}},
         "shapes: expected names of inputs (input_ids"),
    ],
)  # fmt: skip
def test_faults_are_named(
    content: dict[str, Any], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, content, **options)
    assert message in str(caught.value)


def test_command_refuses_what_a_file_fixes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "g.json"
    file.write_text('{"format": "stagewright-graph/1"}')
    assert main(["plan", str(file), "-k", "2", "--batch", "4"]) == 2
    assert "batch: expected none, since a graph file fixes it, got 4" in capsys.readouterr().err
    assert main(["plan", str(tmp_path), "-k", "2"]) == 2
    assert "got a folder without a config.json" in capsys.readouterr().err
