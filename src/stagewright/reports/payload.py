# SPDX-License-Identifier: Apache-2.0
"""The data that the page's script works on, packed into one element of the page."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

from .drawing import Drawing
from .markup import Html, h
from .view import PlanView

__all__ = ["data_element", "page_data"]

_WORTH_PACKING = 4096
"""Bytes of JSON below which compression saves nothing worth having."""


def page_data(
    plan: PlanView, drawing: Drawing | None, what_if: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return what the script needs: columns and rows instead of objects; picoseconds and bytes.

    ``plan.stages`` holds receive, work, send, overflow, total, parameters and peak of each stage,
    ``history`` seconds, best plan, best bound and phase of each point.
    """
    return {
        "plan": {
            "bottleneck": plan.bottleneck,
            "proven": plan.proven,
            "memoryLimit": plan.machine.least_memory,
            "stages": [
                [s.receive, s.work, s.send, s.overflow, s.total, s.param_bytes, s.peak_bytes]
                for s in plan.stages
            ],
        },
        "history": [[p.seconds, p.upper, p.lower, p.phase] for p in plan.history],
        "graph": drawing.data if drawing else None,
        "whatIf": what_if,
    }


def data_element(data: Mapping[str, Any]) -> Html:
    """Return the element ``#data``: JSON, compressed where that pays.

    The type of the element is no script's, so nothing of it is ever executed.
    """
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    kind = "application/json"
    if len(text) > _WORTH_PACKING:
        kind = "application/gzip"
        text = base64.b64encode(gzip.compress(text.encode("ascii"), 9, mtime=0)).decode("ascii")
    # A name could end the element; as an escape of JSON it cannot.
    return h("script", Html(text.replace("<", "\\u003c")), id="data", type=kind)
