# SPDX-License-Identifier: Apache-2.0
"""Run what is missing of a grid, and keep every answer as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
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
    """How far a run of a grid came.

    Attributes
    ----------
    runs
        All its runs.
    known, done
        Done before, done now.
    failed
        Of the latter, those without an answer.
    spared
        Longer runs that the shorter ones made needless.
    interrupted
        Whether some are missing.
    """

    runs: int
    known: int
    done: int
    failed: int
    spared: int
    interrupted: bool


def run_grid(
    grid: Grid,
    path: str | Path,
    *,
    processes: int | None = None,
    any_code: bool = False,
    again_open: bool = False,
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
    again_open
        Plans of other code that left a gap are made anew even so.
    ray
        Address of a Ray cluster to run on instead, ``local`` for one of its own, empty for the one that
        ``RAY_ADDRESS`` names or this machine runs.  Its machines have the package and, at the same paths, the
        files; answers are kept in the order of the runs.
    progress
        Called with every new row, how many are done now, and how many were to be done.  Longer runs of what stayed
        open count anew.

    Raises
    ------
    InputError
        If the file of results cannot be used.
    MissingDependencyError
        If duckdb, or ray where it is asked for, is not installed.
    RunError
        If a run was lost in the cluster again and again; the others are kept.
    """
    results = Results(path, any_code=any_code, again_open=again_open)
    jobs = list(grid.jobs())
    count = processes or max(1, usable_cores() // grid.threads)
    known = done = failed = spared = 0
    interrupted = False
    try:
        # Runs that only an open gap asks for wait for the runs that may close it.
        for _, group in groupby(jobs, key=lambda job: job.opens):
            wanted = list(group)
            asked = [
                job for job in wanted if not job.opens or results.leaves_gap(job.shorter or {})
            ]
            spared += len(wanted) - len(asked)
            missing = [job for job in asked if not results.has(job.key)]
            known += len(asked) - len(missing)
            answers = _answers(missing, count) if ray is None else _answers_of_cluster(missing, ray)
            for number, one in enumerate(answers, start=1):
                row = results.add(one.task.key, one.answer or {"error": one.reason})
                done += 1
                failed += row["error"] is not None
                if progress:
                    progress(row, number, len(missing))
    except KeyboardInterrupt:
        interrupted = True
    finally:
        results.close()
    return Ran(len(jobs), known, done, failed, spared, interrupted)


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
