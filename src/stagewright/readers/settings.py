# SPDX-License-Identifier: Apache-2.0
"""What it takes to read a model that is no file of costs: batch, lengths, phase, element type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..errors import InputError

__all__ = ["ReadSettings"]


@dataclass(frozen=True)
class ReadSettings:
    """How PyTorch programs and Hugging Face configurations are read.

    Attributes
    ----------
    batch, sequence, phase, cache, dtype
        Of a Hugging Face configuration: inputs at once, tokens of each, ``prefill`` or ``decode``,
        tokens in the cache, element type of the weights.  None takes the reader's default.  An
        ONNX model takes the batch too, for the symbolic dimension that its inputs begin with.
    replicate
        Mark masks, position tables and their like as replicable.
    read_limit
        Seconds after which reading is given up; None for the default, 600.
    """

    batch: int | None = None
    sequence: int | None = None
    phase: str | None = None
    cache: int | None = None
    dtype: str | None = None
    replicate: bool = True
    read_limit: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what differs from the defaults."""
        given = asdict(self)
        return {f.name: given[f.name] for f in fields(self) if given[f.name] != f.default}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ReadSettings:
        """Read what :meth:`to_json` returned; unknown keys raise TypeError."""
        return cls(**data)

    def having(self, chosen: Mapping[str, Any]) -> ReadSettings:
        """Return a copy with some attributes changed.

        Raises
        ------
        InputError
            If there is no such attribute.
        """
        known = [f.name for f in fields(self)]
        for name in chosen:
            if name not in known:
                raise InputError("read: option", f"one of {', '.join(known)}", repr(name))
        return replace(self, **chosen)

    def model_options(self) -> dict[str, Any]:
        """Return the options that only a Hugging Face configuration takes, as far as given."""
        names = ("batch", "sequence", "phase", "cache", "dtype")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def refuse_model_options(self, item: str, kind: str, but: Sequence[str] = ()) -> None:
        """Complain if an option was given that a file of this kind cannot use; `but` it can.

        Raises
        ------
        InputError
        """
        for name, value in self.model_options().items():
            if name in but:
                continue
            raise InputError(
                f"{item}: {name}", f"none, since {kind} fixes it", str(value), "Leave it out."
            )
