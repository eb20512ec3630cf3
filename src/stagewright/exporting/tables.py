# SPDX-License-Identifier: Apache-2.0
"""JSON and CSV: which node runs in which stage, for programs that no other export knows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

from ..units import seconds_from_ps
from .types import Export, Job

__all__ = ["csv_table", "json_table"]

_COLUMNS = ("stage", "position", "node", "op", "work_seconds")


def json_table(job: Job) -> Export:
    """Return ``{"stages": [[node, ...], ...]}``, each stage in the order in which it runs."""
    names = job.graph.node_names
    value: dict[str, Any] = {"stages": [[names[v] for v in nodes] for nodes in job.plan.stages]}
    if any(job.backward):
        value["backward"] = [n for n, back in zip(names, job.backward, strict=True) if back]
    if job.fleet is not None:
        value["devices"] = list(job.device_rows(job.devices))
    return Export("json", json.dumps(value, indent=1) + "\n", value, job.as_planned)


def csv_table(job: Job) -> Export:
    """Return one row per node, in the order in which a pipeline runs them."""
    devices = job.device_rows(job.devices)
    columns = (*_COLUMNS, "device") if devices else _COLUMNS
    works = [job.work_of(stage) for stage in range(len(job.plan.stages))]
    rows = [
        [stage, position, job.graph.node_names[v], job.graph.node_ops[v],
         format(seconds_from_ps(int(works[stage][v])), "f"),
         *([_device(devices[stage])] if devices else [])]
        for stage, nodes in enumerate(job.plan.stages)
        for position, v in enumerate(nodes)
    ]  # fmt: skip
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    value = [dict(zip(columns, row, strict=True)) for row in rows]
    return Export("csv", text.getvalue(), value, job.as_planned)


def _device(row: Mapping[str, Any]) -> str:
    """Return the kind of a device, with its number where devices are shared."""
    return f"{row['device']} {row.get('number', '')}".rstrip()
