# SPDX-License-Identifier: Apache-2.0
"""A task as the native core takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from .. import _native
from ..graph import Ragged
from .task import Task

__all__ = ["NO_LIMIT", "native_task"]

NO_LIMIT: Final = 2**63 - 1


def native_task(
    task: Task, transitions: Sequence[tuple[int, int, int, int, int]], margin: int
) -> _native.Placement:
    """Return the task for the native core, every memory smaller by `margin` bytes."""
    users, params = Ragged.of(task.consumers), Ragged.of(task.params_of)
    schedule = task.fleet.schedule
    native = _native.Placement(
        task.size,
        np.array(task.producer, np.int32),
        users.offsets,
        users.values,
        np.array(task.param_bytes, np.int64),
        params.offsets,
        params.values,
        np.array(task.working_set, np.int64),
        task.fleet.states,
        np.array([row[i] for row in transitions for i in (0, 1, 2, 4)], np.int32),
        task.fleet.overlap,
    )
    if task.kept_of:
        kept = Ragged.of(task.kept_of)
        native.set_kept(
            np.array(task.kept_bytes, np.int64),
            kept.offsets,
            kept.values,
            np.array(task.fed_bytes, np.int64),
            np.array(task.back_bytes, np.int64),
        )
    for s, seat in enumerate(task.fleet.seats):
        kind = task.fleet.kinds[seat.kind]
        native.set_type(
            s,
            np.array(task.work[s], np.int64),
            np.array(task.receive[s], np.int64),
            np.array(task.send[s], np.int64),
            NO_LIMIT if kind.memory is None else max(0, kind.memory - margin),
            kind.link.bandwidth or 1,
            NO_LIMIT if kind.memory_limit is None else max(-1, kind.memory_limit - margin),
            seat.replicas,
            1 if schedule is None else schedule.state_factor,
            *task.fleet.sync_rate(seat),
            seat.recompute,
        )
    return native
