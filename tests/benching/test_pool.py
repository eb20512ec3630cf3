# SPDX-License-Identifier: Apache-2.0
"""A task that dies, hangs or raises costs its own answer only."""

from __future__ import annotations

import pytest

from stagewright.benching.pool import over_processes

TASKS = {
    "6 * 7": (42, ""),
    "__import__('os')._exit(3)": (None, "the process died with exit code 3"),
    "__import__('time').sleep(600)": (None, "no answer within 0.5 s"),
    "1 / 0": (None, "ZeroDivisionError: division by zero"),
    "len('four')": (4, ""),
}


@pytest.mark.parametrize("processes", [1, 3])
def test_every_task_is_answered_for(processes: int) -> None:
    limit = lambda task: 0.5 if "sleep" in task else 60.0  # noqa: E731 - one line says it
    done = list(over_processes(eval, list(TASKS), processes, limit))
    assert {d.task: (d.answer, d.reason) for d in done} == TASKS
    assert len(done) == len(TASKS)


def test_no_tasks_start_nothing() -> None:
    assert list(over_processes(eval, [], 4, lambda _: 1.0)) == []
