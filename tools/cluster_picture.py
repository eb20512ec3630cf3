# SPDX-License-Identifier: Apache-2.0
"""The picture of a plan for a mixed cluster: `python tools/cluster_picture.py` writes docs/pictures/cluster.svg.

Needs transformers and torch, with which Llama's configuration is traced (some twenty seconds).
"""

from __future__ import annotations

import sys
import tomllib
from typing import Any

import matplotlib.pyplot as plt

from manual_pages import ROOT
from manual_pictures import FAINT, INK, MS, PARTS, part_of, plain, save

sys.path.insert(0, str(ROOT))

from benchmarks.cluster import MACHINE, by_hand, model

from stagewright.placement.fleet_file import read_fleet
from stagewright.placement.method import solve_placed
from stagewright.placement.workload import Workload, evaluate
from stagewright.shaping.shape import shape

MODEL = "llama-70b decode"
HAND = {"equal": ("o", "as many layers on every GPU"), "proportional": ("D", "by speed")}


def main() -> int:
    """Draw the picture."""
    plain()
    save(plan_for_the_cluster(), "cluster")
    return 0


def plan_for_the_cluster() -> Any:
    """Draw the stages on their devices by host, what splits by hand cost there, and the proven bound."""
    graph = model(MODEL)
    workload = Workload(shape(graph, "layer", None))
    fleet = read_fleet(MACHINE, workload)
    found = solve_placed(workload, fleet)
    costs = evaluate(workload, fleet, found.plan)
    places = range(len(fleet.order or ()))
    kinds = [fleet.kinds[q].name for q in fleet.order or ()]
    tables = tomllib.loads(MACHINE.read_text())["device"]
    host = {table["kind"]: table["host"] for table in tables}
    figure, axes = plt.subplots(figsize=(8.4, 4.0))
    for place, stage in zip(found.plan.devices, costs, strict=True):
        left = 0.0
        for part, colour in PARTS.items():
            width = part_of(stage, part) / MS
            axes.barh(place, width, left=left, color=colour, height=0.62)
            left += width
    longest = found.bottleneck / MS
    for name, (marker, _) in HAND.items():
        for place, total in enumerate(by_hand(graph)[name]):
            if total:
                axes.plot(
                    total / MS, place, marker, color=INK, markersize=5, markerfacecolor="white"
                )
            longest = max(longest, total / MS)
    bound = found.lower_bound / MS
    axes.axvline(bound, color=INK, linewidth=1)
    words = "proven optimal" if found.lower_bound == found.bottleneck else "proven lower bound"
    axes.text(bound, -0.75, f"{bound:.1f} ms, {words}", ha="center", fontsize=9)
    for place in places:
        if place and host[kinds[place]] != host[kinds[place - 1]]:
            axes.axhline(place - 0.5, color=FAINT, linewidth=0.7, linestyle=":")
    axes.set_yticks(places, [f"host {host[kind]}, {kind}" for kind in kinds])
    axes.set(xlabel="milliseconds per step of eight texts", xlim=(0, longest * 1.05))
    axes.invert_yaxis()
    for part, colour in PARTS.items():
        if any(part_of(stage, part) for stage in costs):
            axes.barh(0, 0, color=colour, label=part)
    for marker, label in HAND.values():
        axes.plot([], [], marker, color=INK, markersize=5, markerfacecolor="white", label=label)
    axes.legend(loc="lower right", frameon=False, ncols=5, bbox_to_anchor=(1, -0.3), fontsize=9)
    return figure


if __name__ == "__main__":
    sys.exit(main())
