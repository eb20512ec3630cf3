# SPDX-License-Identifier: Apache-2.0
"""How each stage of a folder is to compute: its file, its threads, its cores."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import InputError
from ..splitting.manifest import Manifest
from .stage_loop import StageSettings

__all__ = ["stage_settings"]


def stage_settings(
    manifest: Manifest, folder: Path, threads: int, level: str, *, pin_cores: bool
) -> list[StageSettings]:
    """Return the settings of every stage.

    Raises
    ------
    InputError
        If a stage file is missing, or there is none.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not pin_cores:
        cores = []
    stages = []
    for number, entry in enumerate(manifest.stages):
        path = folder / entry.file
        if not path.is_file():
            raise InputError(str(path), "a stage file, as the manifest says", "no file")
        mine = {cores[(number * threads + i) % len(cores)] for i in range(threads)} if cores else ()
        outputs = tuple(t.name for t in entry.outputs)
        stages.append(StageSettings(str(path.resolve()), outputs, threads, level, tuple(mine)))
    if not stages:
        raise InputError(str(folder), "at least one stage", "none")
    return stages
