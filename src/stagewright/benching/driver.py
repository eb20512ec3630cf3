# SPDX-License-Identifier: Apache-2.0
"""Run what is missing of a grid, and keep every answer as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cores import usable_cores
from ..raylink import over_ray
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
    ray: str | None = None,
    progress: Callable[[dict[str, Any], int, int], None] | None = None,
) -> Ran:
    """Run a grid; results are in `path` also when it is interrupted.

    Parameters
    ----------
    processes
        Runs at once; by default the cores divided by the threads of each run.
    any_code
        Whether results that other code made are kept rather than made anew.
    ray
        Address of a Ray cluster to run on instead, ``local`` for one of its own, empty for the one that
        ``RAY_ADDRESS`` names or this machine runs.  Its machines have the package and, at the same paths, the
        files; answers are kept in the order of the runs.
    progress
        Called with every new row, how many are done now, and how many were to be done.

    Raises
    ------
    InputError
        If the file of results cannot be used.
    MissingDependencyError
        If duckdb, or ray where it is asked for, is not installed.
    RunError
        If a run was lost in the cluster again and again; the others are kept.
    """
    results = Results(path, any_code=any_code)
    jobs = list(grid.jobs())
    missing = [job for job in jobs if not results.has(job.key)]
    count = processes or max(1, usable_cores() // grid.threads)
    done = failed = 0
    interrupted = False
    try:
        for one in _answers(missing, count) if ray is None else _answers_of_cluster(missing, ray):
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


def _answers_of_cluster(jobs: list[Job], address: str) -> Iterator[Done[Job, dict[str, Any]]]:
    if not jobs:
        return
    answers = over_ray(_whole, jobs, address=address or None, cores=jobs[0].threads)
    for job, (answer, reason) in zip(jobs, answers, strict=True):
        yield Done(job, answer, reason)


def _whole(job: Job) -> tuple[dict[str, Any] | None, str]:
    """Return an answer, or why there is none: a fault of one run must not end the others."""
    try:
        return answer_of(job), ""
    except Exception as error:  # noqa: BLE001 - whatever it is stands in the run's row
        return None, f"{type(error).__name__}: {error}"
