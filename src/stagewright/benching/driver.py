# SPDX-License-Identifier: Apache-2.0
"""Run what is missing of a grid, and keep every answer as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cores import usable_cores
from .grid import Grid, Job
from .pool import Done, over_processes
from .results import Results
from .runs import answer_of

__all__ = ["Ran", "run_grid"]

_GRACE = 120.0  # seconds beyond twice its limit, for reading and for what cannot be interrupted


@dataclass(frozen=True)
class Ran:
    """How far a run of a grid came: all its runs, those done before, those done now, those without an answer."""

    runs: int
    known: int
    done: int
    failed: int
    interrupted: bool


def run_grid(
    grid: Grid,
    path: str | Path,
    *,
    processes: int | None = None,
    any_code: bool = False,
    progress: Callable[[dict[str, Any], int, int], None] | None = None,
) -> Ran:
    """Run a grid; results are in `path` also when it is interrupted.

    Parameters
    ----------
    processes
        Runs at once; by default the cores divided by the threads of each run.
    any_code
        Whether results that other code made are kept rather than made anew.
    progress
        Called with every new row, how many are done now, and how many were to be done.

    Raises
    ------
    InputError
        If the file of results cannot be used.
    MissingDependencyError
        If duckdb is not installed.
    """
    results = Results(path, any_code=any_code)
    jobs = list(grid.jobs())
    missing = [job for job in jobs if not results.has(job.key)]
    count = processes or max(1, usable_cores() // grid.threads)
    done = failed = 0
    interrupted = False
    try:
        for one in _answers(missing, count):
            row = results.add(one.task.key, one.answer or {"error": one.reason})
            done += 1
            failed += row["error"] is not None
            if progress:
                progress(row, done, len(missing))
    except KeyboardInterrupt:
        interrupted = True
    finally:
        results.close()
    return Ran(len(jobs), len(jobs) - len(missing), done, failed, interrupted)


def _answers(jobs: list[Job], processes: int) -> Iterator[Done[Job, dict[str, Any]]]:
    yield from over_processes(answer_of, jobs, processes, lambda job: 2 * job.time_limit + _GRACE)
