# SPDX-License-Identifier: Apache-2.0
"""Readers: every model format this package understands, each behind one door.

:func:`load` finds the format of a file and returns its :class:`~stagewright.graph.CostGraph`.
The modules of the formats are imported on use, since some of them need large libraries.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import InputError
from .notes import StagewrightWarning

if TYPE_CHECKING:
    from ..graph import CostGraph
    from .settings import ReadSettings

__all__ = ["FORMATS", "READABLE", "StagewrightWarning", "file_kind", "load"]

READABLE: Final = (
    "an ONNX model (.onnx), a PyTorch program (.pt2), a Hugging Face configuration (config.json or its folder), "
    "StableHLO (.mlir, .mlirbc), a graph file (.json, .json.gz), a CostGraphDef (.pbtxt), a profile of PipeDream "
    "(graph.txt) or a workload of dnn-partitioning or Piper (.json)"
)
_HEAD_BYTES: Final = 4096


@dataclass(frozen=True)
class Format:
    """A format: what people call it, and the options its reader takes.

    `options` lists the allowed values of each, the default first; None where any text may stand.
    """

    title: str
    options: Mapping[str, tuple[str, ...] | None]


FORMATS: Final[Mapping[str, Format]] = {
    "onnx": Format("an ONNX model", {}),
    "pt2": Format("an exported program", {}),
    "hf": Format("a Hugging Face configuration", {}),
    "graph": Format("a graph file", {}),
    "cost_graph_def": Format("a CostGraphDef", {}),
    "dnn_partitioning": Format(
        "a workload of dnn-partitioning",
        {
            "latency": ("accelerator", "cpu"),
            "edges": ("cost", "bytes"),
            "backward": ("drop", "keep"),
        },
    ),
    "pipedream": Format("a profile of PipeDream", {"input": ("free", "keep")}),
    "piper": Format("a workload of Piper", {"variant": None}),
    "stablehlo": Format("a StableHLO module", {"inputs": None, "unroll": None}),
}


def load(
    path: str | Path,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
    options: Mapping[str, str] | None = None,
    settings: ReadSettings | None = None,
) -> CostGraph:
    """Read any file this package understands.

    Parameters
    ----------
    path
        A model, a profile or a graph.  The content decides what it is; the suffix is only a hint.
    shapes, dims
        Shapes of tensors by name (models only), and values of symbolic dimensions by name (ONNX only).
    options
        Choices that the format leaves open, by name; docs/formats.md lists them.
    settings
        How PyTorch programs and Hugging Face configurations are read.

    Raises
    ------
    InputError
        If the file is missing, empty, a folder, or of no known format; the reader's own errors
        (:class:`~stagewright.errors.GraphError`, :class:`~stagewright.errors.ModelError`) name
        the file and the place in it.
    """
    from .settings import ReadSettings

    path = Path(path)
    kind, document = _kind_and_document(path)
    chosen = _options_for(kind, path, options or {})
    settings = settings or ReadSettings()
    if kind == "onnx":
        settings.refuse_model_options(str(path), FORMATS[kind].title, but=("batch",))
    elif kind != "hf":
        settings.refuse_model_options(str(path), FORMATS[kind].title)
    if kind in ("hf", "pt2"):
        from .torch_process import read_in_child

        if dims:
            raise InputError(f"{path}: dims", f"none for {FORMATS[kind].title}", str(dict(dims)))
        return read_in_child(path, kind, settings, shapes)
    if kind == "onnx":
        from .onnx_model import read_onnx

        if settings.batch is not None:
            from .onnx_inputs import batch_dims

            dims = batch_dims(path, settings.batch, shapes or {}, dims or {})
        return read_onnx(path, shapes=shapes, dims=dims)
    for option, given in (("shapes", shapes), ("dims", dims)):
        if given:
            raise InputError(
                f"{path}: {option}",
                f"none, since {FORMATS[kind].title} is read as it is",
                str(dict(given)),
            )
    if kind == "stablehlo":
        from .stablehlo import read_stablehlo

        return read_stablehlo(path, chosen)
    if kind == "cost_graph_def":
        from .cost_graph_def import read_cost_graph

        return read_cost_graph(path)
    if kind == "pipedream":
        from .pipedream import read_pipedream

        return read_pipedream(path, chosen)
    if kind == "dnn_partitioning":
        from .dnn_partitioning import graph_of_workload

        return graph_of_workload(document, path, chosen)
    if kind == "piper":
        from .piper import graph_of_piper

        return graph_of_piper(document, path, chosen)
    from .graph_file import graph_of_document

    return graph_of_document(document, path)


def file_kind(path: str | Path) -> str:
    """Return which of :data:`FORMATS` a file is of.

    Raises
    ------
    InputError
        As :func:`load`.
    """
    return _kind_and_document(Path(path))[0]


def _kind_and_document(path: Path) -> tuple[str, Any]:
    """Return the format, and the content if it is JSON."""
    kind = _kind_of(path)
    if kind != "json":
        return kind, None
    from .json_file import read_json

    document = read_json(path)
    return _kind_of_document(document), document


def _options_for(kind: str, path: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Return the options of the format, completed by the defaults."""
    known = FORMATS[kind].options
    for name, value in given.items():
        if name not in known:
            expected = f"one of {', '.join(known)}" if known else "none"
            raise InputError(f"{path}: option", f"{expected} for {FORMATS[kind].title}", name)
        choices = known[name]
        if choices is not None and value not in choices:
            raise InputError(f"{path}: option {name}", " or ".join(choices), repr(value))
    return {name: choices[0] for name, choices in known.items() if choices} | dict(given)


def _kind_of_document(document: Any) -> str:
    """Return which JSON format this is; what is no other is taken for a graph file."""
    nodes = document.get("nodes") if isinstance(document, dict) else None
    if nodes is None and isinstance(document, dict) and "format" not in document:
        return "hf" if "model_type" in document or "architectures" in document else "graph"
    if not isinstance(nodes, list) or "format" in document:
        return "graph"
    keys = next((row.keys() for row in nodes if isinstance(row, dict)), ())
    if "TMPCs" in keys or "mbsInBatch" in document:
        return "piper"
    if "fpgaLatency" in keys or "maxFPGAs" in document:
        return "dnn_partitioning"
    return "graph"


def _kind_of(path: Path) -> str:
    """Return the format, or ``json``, after a look at the first bytes."""
    if path.is_dir():
        if (path / "config.json").is_file():
            return "hf"
        raise InputError(str(path), READABLE, "a folder without a config.json")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        raise InputError(str(path), READABLE, "no such file") from None
    except OSError as error:
        raise InputError(str(path), "a readable file", error.strerror or str(error)) from None
    if not head:
        raise InputError(str(path), READABLE, "an empty file")
    if head.startswith(b"PK\x03\x04"):
        return "pt2"
    packed = head.startswith(b"\x1f\x8b")
    text = _unpacked(path) if packed else head
    text = text.removeprefix(b"\xef\xbb\xbf").lstrip()
    suffixes = path.name.lower().removesuffix(".gz")
    if head.startswith(b"ML\xefR") or suffixes.endswith((".mlir", ".mlirbc", ".stablehlo")):
        return "stablehlo"
    if text.startswith((b"{", b"[")):
        return "json"
    if suffixes.endswith(".onnx"):
        return "onnx"
    if suffixes.endswith(".json"):
        return "json"
    if kind := _kind_of_text(text):
        return kind
    if suffixes.endswith(".pbtxt"):
        return "cost_graph_def"
    if packed:
        return "json"
    # A serialised ModelProto opens with field 1, the IR version: tag 0x08 and a small number.
    if head[0] == 0x08 and len(head) > 1 and 0 < head[1] < 32:
        return "onnx"
    raise InputError(str(path), READABLE, "a file of another kind")


def _kind_of_text(head: bytes) -> str | None:
    import re

    text = head.decode("utf-8", "replace")
    if re.match(r"\S+ -- .* -- forward_compute_time=", text):
        return "pipedream"
    # Behind comments, a CostGraphDef opens with a node or with a sum of costs.
    if re.match(r"(#[^\n]*\n\s*)*(node|cost)\s*:?\s*[{<\[]", text):
        return "cost_graph_def"
    # MLIR opens with a module, behind aliases of locations and comments.
    if re.match(r"((#|//)[^\n]*\n\s*)*module\b", text):
        return "stablehlo"
    return None


def _unpacked(path: Path) -> bytes:
    """Return the first bytes inside a gzip file; none if it is damaged."""
    try:
        with gzip.open(path) as file:
            return file.read(_HEAD_BYTES)
    except (OSError, EOFError, zlib.error):
        return b""
