# SPDX-License-Identifier: Apache-2.0
"""Where a graph came from: the `source` object of a plan file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .readers.settings import ReadSettings

__all__ = ["Source"]


@dataclass(frozen=True)
class Source:
    """Where a graph came from: what it takes to read the same graph again.

    Attributes
    ----------
    model
        Path of the model, as given.
    device, profile
        What its work was costed with: the name of a device, or the path of a profile.
    shapes, dims
        Input shapes and symbolic dimensions that were fixed.
    options
        Choices that the format of the model leaves open.
    settings
        How a PyTorch program or a Hugging Face configuration was read.
    count_graph_io
        Whether the model pays for its own inputs and outputs.
    fuse, granularity, constraints
        As given to :func:`read`; constraints in the form of ``Constraints.to_json()``.
    store
        The store of measured kernels that its work was taken from; `device` is for what it lacks.
    backward
        How a backward pass was added (:func:`.placement.backward.training_workload`); None for none.
    """

    model: str
    device: str | None = None
    profile: str | None = None
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    dims: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    settings: ReadSettings = field(default_factory=ReadSettings)
    count_graph_io: bool = False
    fuse: bool | None = None
    granularity: str = "op"
    constraints: Mapping[str, Any] = field(default_factory=dict)
    store: str | None = None
    backward: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the `source` object of a plan file."""
        settings = self.settings.to_json()
        return {
            "model": self.model,
            "device": self.device,
            "profile": self.profile,
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "dims": dict(self.dims),
            **({"options": dict(self.options)} if self.options else {}),
            **({"settings": settings} if settings else {}),
            **({"count_graph_io": True} if self.count_graph_io else {}),
            "fuse": self.fuse,
            "granularity": self.granularity,
            "constraints": dict(self.constraints),
            **({"store": self.store} if self.store else {}),
            **({"backward": self.backward} if self.backward else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Source:
        """Read the `source` object of a plan file; its `costs` describe the graph, not the reading."""
        settings = ReadSettings.from_json(data.get("settings", {}))
        known = {key: value for key, value in data.items() if key != "costs"}
        return cls(**{**known, "settings": settings})
