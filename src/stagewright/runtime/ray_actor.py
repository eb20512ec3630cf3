# SPDX-License-Identifier: Apache-2.0
"""A stage on some machine of a Ray cluster."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from .session import StageSession
from .stage_loop import StageSettings
from .wiring import Route

__all__ = ["FailedItem", "Row", "StageActor", "StageSetup", "open_stage"]

Row = tuple[float, float, float]
"""When a stage was ready, had received and computed an item; seconds since the epoch."""


@dataclass(frozen=True)
class FailedItem:
    """In place of an item's values: why it has none."""

    text: str


@dataclass(frozen=True)
class StageSetup:
    """What a stage is told once.

    Parameters
    ----------
    number
        Of the stage.
    settings
        How it computes.
    receives, sends
        The routes into it and out of it.
    files
        Content of the stage file and of its data by name, as references, where its machine does not see
        the folder; None where it does.
    secret
        What processes of this pipeline know each other by, where they connect.
    """

    number: int
    settings: StageSettings
    receives: tuple[Route, ...]
    sends: tuple[Route, ...]
    files: Mapping[str, Any] | None
    secret: bytes = field(default=b"", repr=False)


class StageActor:
    """Computes one item after another.  It keeps nothing between them, so any may be computed again."""

    def __init__(self, setup: StageSetup) -> None:
        self._setup = setup
        self._session = open_stage(setup)
        self._epoch = time.time() - perf_counter()
        self._ready = perf_counter()

    def ready(self) -> bool:
        """Answer once the stage file is open."""
        return True

    def run(self, *received: Sequence[Any] | FailedItem) -> tuple[Any, ...]:
        """Compute an item: the values of each route into the stage; its row, and those of each route out."""
        start = perf_counter()
        setup = self._setup
        made: list[Any]
        try:
            feeds: dict[str, Any] = {}
            for route, values in zip(setup.receives, received, strict=True):
                if isinstance(values, FailedItem):
                    return self._answer(start, [values] * len(setup.sends))
                feeds.update(zip(route.names, values, strict=True))
            results = self._session(feeds, {})
            made = [[results[name] for name in route.names] for route in setup.sends]
        except Exception as fault:  # noqa: BLE001  # the item fails, the stage goes on
            text = f"stage {setup.number} failed: {type(fault).__name__}: {fault}".strip()
            made = [FailedItem(text)] * len(setup.sends)
        return self._answer(start, made)

    def _answer(self, start: float, made: list[Any]) -> tuple[Any, ...]:
        end = perf_counter()
        row: Row = (self._ready + self._epoch, start + self._epoch, end + self._epoch)
        self._ready = end
        return (row, *made) if made else row  # Ray takes one value as it is


def open_stage(setup: StageSetup) -> StageSession:
    """Open the stage file, here or from what was sent."""
    settings = setup.settings
    if setup.files is None:
        return _opened(settings)
    import ray

    with tempfile.TemporaryDirectory(prefix="stagewright-") as folder:
        for name, reference in setup.files.items():
            np.asarray(ray.get(reference)).tofile(Path(folder) / name)
        return _opened(replace(settings, path=str(Path(folder) / Path(settings.path).name)))


def _opened(settings: StageSettings) -> StageSession:
    # Outputs are copied when they are handed on, before the next item is computed.
    return StageSession(
        settings.path, settings.threads, settings.level, settings.provider, reuse=True
    )
