# SPDX-License-Identifier: Apache-2.0
"""How each stage of a folder is to compute: its file, its threads, its cores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from ..errors import InputError
from ..splitting.manifest import Manifest
from .stage_loop import StageSettings

__all__ = ["stage_settings"]

_LEAST_STALL: Final = 60.0
_STALL_FACTOR: Final = 1000.0


def stage_settings(
    manifest: Manifest,
    folder: Path,
    threads: int,
    level: str,
    *,
    pin_cores: bool,
    provider: str = "cpu",
    stall_after: float | None = None,
) -> list[StageSettings]:
    """Return the settings of every stage.

    A stage has `threads` cores, as far as there are so many.  Stages of one worker, for plans whose devices run
    several, have the same ones: there they take turns, as the plan's cost says.

    A stage stalls after `stall_after` seconds; None for 60, or 1000 times its predicted total if that
    is more.

    Raises
    ------
    InputError
        If a stage file is missing, or there is none.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not pin_cores:
        cores = []
    known = [i if entry.worker is None else entry.worker for i, entry in enumerate(manifest.stages)]
    workers = {worker: i for i, worker in enumerate(dict.fromkeys(known))}
    stages = []
    for number, entry in enumerate(manifest.stages):
        first = workers[known[number]] * threads
        path = folder / entry.file
        if not path.is_file():
            raise InputError(str(path), "a stage file, as the manifest says", "no file")
        mine = {cores[(first + i) % len(cores)] for i in range(threads)} if cores else ()
        predicted = (entry.predicted or {}).get("total") or 0.0
        limit = max(_LEAST_STALL, _STALL_FACTOR * predicted) if stall_after is None else stall_after
        stages.append(
            StageSettings(str(path.resolve()), threads, level, tuple(mine), provider, limit)
        )
    if not stages:
        raise InputError(str(folder), "at least one stage", "none")
    return stages
