# SPDX-License-Identifier: Apache-2.0
"""Readers: every model format this package understands, each behind one door.

:func:`load` finds the format of a file and returns its :class:`~stagewright.graph.CostGraph`.
The modules of the formats are imported on use, since some of them need large libraries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import InputError

if TYPE_CHECKING:
    from ..graph import CostGraph

__all__ = ["READABLE", "StagewrightWarning", "load"]

READABLE: Final = "an ONNX model (.onnx) or a graph file (.json, .json.gz)"


class StagewrightWarning(UserWarning):
    """A model was read, but some number in the graph is an estimate; the message says which."""


def load(
    path: str | Path,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
) -> CostGraph:
    """Read any file this package understands.

    Parameters
    ----------
    path
        An ONNX model or a graph file.  The content decides; the suffix is only a hint.
    shapes, dims
        Shapes of tensors by name, and values of symbolic dimensions by name (ONNX models only).

    Raises
    ------
    InputError
        If the file is missing, empty, a folder, or of no known format; the reader's own errors
        (:class:`~stagewright.errors.GraphError`, :class:`~stagewright.errors.ModelError`) name
        the file and the place in it.
    """
    path = Path(path)
    kind = _kind_of(path)
    if kind == "onnx":
        from .onnx_model import read_onnx

        return read_onnx(path, shapes=shapes, dims=dims)
    for option, given in (("shapes", shapes), ("dims", dims)):
        if given:
            raise InputError(
                f"{path}: {option}",
                "none, since a graph file has costs and no shapes",
                str(dict(given)),
            )
    from .graph_file import read_graph_file

    return read_graph_file(path)


def _kind_of(path: Path) -> str:
    """Return ``onnx`` or ``graph`` after a look at the first bytes."""
    if path.is_dir():
        raise InputError(str(path), READABLE, "a folder")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        raise InputError(str(path), READABLE, "no such file") from None
    except OSError as error:
        raise InputError(str(path), "a readable file", error.strerror or str(error)) from None
    if not head:
        raise InputError(str(path), READABLE, "an empty file")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"\x1f\x8b") or text.startswith((b"{", b"[")):
        return "graph"
    suffixes = path.name.lower()
    if suffixes.endswith(".onnx"):
        return "onnx"
    if suffixes.endswith((".json", ".json.gz")):
        return "graph"
    # A serialised ModelProto opens with field 1, the IR version: tag 0x08 and a small number.
    if head[0] == 0x08 and len(head) > 1 and 0 < head[1] < 32:
        return "onnx"
    raise InputError(str(path), READABLE, "a file of another kind")
