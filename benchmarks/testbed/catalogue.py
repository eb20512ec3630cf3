# SPDX-License-Identifier: Apache-2.0
"""All entries of the testbed, small ones first, and how one is made into a graph."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.testbed.entries import Entry, expand, options_of
from benchmarks.testbed.language import LANGUAGE
from benchmarks.testbed.senses import MULTIMODAL, SERIES, SPEECH
from benchmarks.testbed.vision import VISION

from stagewright.graph import CostGraph

__all__ = ["entries", "make"]

_BATCHES = ("b1", "b8", "b32")


def entries() -> list[Entry]:
    """Return all entries, those of few layers first."""
    found = [*expand((*VISION, *LANGUAGE, *SPEECH, *SERIES, *MULTIMODAL)), *_networks(), *_onnx()]
    return sorted(found, key=lambda entry: (entry.effort, entry.name))


def _nets() -> dict[str, Any]:
    """Return how each network that is written here is built, and its example inputs, by name."""
    from benchmarks.testbed.nets_diffusion import DIFFUSION_NETS
    from benchmarks.testbed.nets_graphs import GRAPH_NETS
    from benchmarks.testbed.nets_other import OTHER_NETS
    from benchmarks.testbed.nets_recommendation import RECOMMENDATION_NETS
    from benchmarks.testbed.nets_vision import VISION_NETS

    vision = {f"vision/{name}": net for name, net in VISION_NETS.items()}
    return {**vision, **RECOMMENDATION_NETS, **GRAPH_NETS, **OTHER_NETS, **DIFFUSION_NETS}


def _networks() -> Iterator[Entry]:
    for name in _nets():
        area, _, model = name.partition("/")
        for setting in _BATCHES:
            yield Entry(area, model, setting, "module", {"net": name}, options_of(setting), 3)


def _onnx() -> Iterator[Entry]:
    import onnx

    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    for path in sorted(folder.glob("light_*.onnx")):
        model = "onnx-" + path.stem.removeprefix("light_").replace("_", "-")
        yield Entry("vision", model, "b1", "onnx", {"file": str(path)}, {}, 1)


def make(entry: Entry) -> CostGraph:
    """Return the graph of an entry; work is not estimated yet.

    Raises
    ------
    StagewrightError
        If it cannot be read, for the installed libraries' sake.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if entry.kind == "onnx":
            from stagewright.readers.onnx_model import read_onnx

            return read_onnx(entry.source["file"])
        if entry.kind == "module":
            return _module(entry)
        from stagewright.readers.hf_model import read_config

        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "config.json").write_text(json.dumps(dict(entry.source)))
            return read_config(folder, **entry.options)


def _module(entry: Entry) -> CostGraph:
    import torch

    from stagewright.readers.torch_module import read_torch

    build, inputs = _nets()[entry.source["net"]]
    with torch.device("meta"), torch.no_grad():
        module: Any = build()
        module.eval()
        return read_torch(module, inputs(entry.options["batch"]))
