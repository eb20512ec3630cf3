# SPDX-License-Identifier: Apache-2.0
"""The section of the page about devices of several kinds: how many there are and are in use, links, memory."""

from __future__ import annotations

from ..units import format_bytes, format_rate, format_time
from .markup import Html, h, table
from .sections import section
from .view import KindView, LinkView, PlanView

__all__ = ["kinds_section"]


def kinds_section(plan: PlanView) -> Html:
    """Return the devices that the plan was made for, and which of them it uses."""
    used = [sum(stage.device == kind.name for stage in plan.stages) for kind in plan.kinds]
    hosts = any(kind.host for kind in plan.kinds)
    head = ["Kind", *(["Host"] if hosts else []), "Devices", "Stages on them"]
    head += ["Link of the device", "Memory"]
    rows = [
        [
            h("span", kind.name, class_="names"),
            *([kind.host or "-"] if hosts else []),
            str(kind.count),
            str(count),
            _link(kind.link),
            _memory(kind),
        ]
        for kind, count in zip(plan.kinds, used, strict=True)
    ]
    numbers = table("Kinds of devices", head, rows, numeric=(1 + hosts, 2 + hosts))
    lines = [
        *(["A device may run several stages; its time is that of all of them."] * plan.shared),
        *(
            [f"Links between neighbouring places: {', '.join(map(_link, plan.links))}."]
            if plan.links
            else []
        ),
    ]
    return section("machine", "Devices", numbers, *(h("p", line) for line in lines))


def _link(link: LinkView) -> str:
    if link.free:
        return "free"
    words = [] if link.bandwidth is None else [format_rate(link.bandwidth)]
    if link.latency:
        words.append(f"{format_time(link.latency)} per tensor")
    return " and ".join(words) or "not needed: costs were given as times"


def _memory(kind: KindView) -> str:
    sizes = []
    if kind.memory is not None:
        sizes.append(f"streams beyond {format_bytes(kind.memory)}")
    if kind.memory_limit is not None:
        sizes.append(f"{format_bytes(kind.memory_limit)} at most")
    return ", ".join(sizes) or "no limit"
