# SPDX-License-Identifier: Apache-2.0
"""Files of ``torch.export.save`` (.pt2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError

if TYPE_CHECKING:
    from ..graph import CostGraph

__all__ = ["load_program", "read_pt2"]


def read_pt2(
    path: str | Path,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    replicate: bool = True,
) -> CostGraph:
    """Read a ``.pt2`` file, in this process.

    Parameters
    ----------
    shapes
        Shapes of inputs by name, where dimensions are dynamic; the example's by default.
    replicate
        Mark masks, position tables and their like as replicable.

    Raises
    ------
    ModelError
        If torch cannot load the file, or its sizes depend on data beyond what is known.
    """
    from .torch_program import read_program

    program = load_program(path)
    return read_program(
        program, name=Path(path).stem, item=str(path), shapes=shapes, replicate=replicate
    )


def load_program(path: str | Path) -> Any:
    """Return the program of a ``.pt2`` file.

    Raises
    ------
    ModelError
        If torch cannot load it.
    """
    import logging

    import torch

    logging.getLogger("torch").setLevel(logging.CRITICAL)
    try:
        return torch.export.load(path)
    except Exception as error:  # noqa: BLE001 - a damaged file fails in as many ways as there are bytes
        lines = str(error).strip().splitlines() or [""]
        raise ModelError(
            str(path),
            f"a program that torch {torch.__version__} can load",
            f"{type(error).__name__}: {lines[0][:300]}",
            "Export and save it anew with this version of torch.",
        ) from None
