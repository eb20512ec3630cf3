# SPDX-License-Identifier: Apache-2.0
"""The report's pictures as SVG, the same bytes for the same results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report.rows import KNOWN, Ask, mean
from benchmarks.report.times import parts

__all__ = ["PICTURES", "draw"]

# Colours that stay apart for the colour-blind (Okabe and Ito), in a fixed order.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999", "#222222")
PICTURES = {
    "testbed_bounds": "Geometric mean of bounds over the best plan, by the number of stages.",
    "testbed_proven": "Share of instances proven optimal within so many seconds, k = 16.",
    "testbed_parts": "Seconds of the parts of planning against nodes, synthetic models.",
}
"""The pictures, and what each shows."""


def draw(ask: Ask, folder: Path) -> None:
    """Write all pictures.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    import matplotlib as mpl
    from cycler import cycler

    mpl.use("svg")
    mpl.rcParams.update({
        "svg.hashsalt": "stagewright", "svg.fonttype": "none", "font.family": ["DejaVu Sans", "sans-serif"],
        "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 1.5,
        "axes.prop_cycle": cycler(color=_COLOURS), "axes.grid": True, "grid.alpha": 0.3,
    })  # fmt: skip
    for name, figure in (
        ("testbed_bounds", _bounds(ask)),
        ("testbed_proven", _proven(ask)),
        ("testbed_parts", _parts(ask)),
    ):
        # No dates and no random names.
        metadata: Mapping[str, Any] = {"Date": None, "Creator": None}
        figure.savefig(folder / f"{name}.svg", bbox_inches="tight", facecolor="white", metadata=metadata)  # fmt: skip


def _bounds(ask: Ask) -> Any:
    from matplotlib.figure import Figure

    panels = ("testbed fast", "testbed edge", "synthetic")
    figure = Figure(figsize=(9, 3))
    for place, label in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), place)
        rows = ask(f"""
            SELECT k, method, {mean("lower / greatest(best, 1)")} AS value FROM answers
            WHERE label = '{label}' AND planned AND method IN ('simple', 'anchor') AND lower IS NOT NULL GROUP BY ALL
            UNION ALL BY NAME SELECT k, 'all together' AS method, {mean(KNOWN)} AS value FROM cases
            WHERE label = '{label}' AND lower > 0 GROUP BY ALL ORDER BY method, k
        """)
        for method in ("simple", "anchor", "all together"):
            own = [(r["k"], r["value"]) for r in rows if r["method"] == method]
            axes.plot(*_columns(own), marker="o", markersize=3, label=method)
        axes.set(title=label, xlabel="stages k", xscale="log", ylim=(0, 1.03))
        axes.set_xticks([2, 4, 8, 16, 32, 64], ["2", "4", "8", "16", "32", "64"])
        axes.minorticks_off()
        if place == 1:
            axes.set_ylabel("bound / best plan")
            axes.legend(frameon=False)
    return figure


def _proven(ask: Ask) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.add_subplot()
    rows = ask("""
        SELECT label, seconds, lower >= upper AS proven, count(*) OVER (PARTITION BY label) AS n FROM answers
        WHERE method = 'plan' AND k = 16 AND lower IS NOT NULL AND label NOT LIKE 'growth%'
            AND machine IN ('fast', 'slow', 'edge', '') AND "set" IN ('testbed', 'synthetic')
        ORDER BY label, seconds
    """)
    for label in dict.fromkeys(row["label"] for row in rows):
        own = [row for row in rows if row["label"] == label]
        # Some forty steps are enough to see, and light.
        proven = [row["seconds"] for row in own if row["proven"]]
        steps = sorted({max(1, round(len(proven) * i / 40)) for i in range(41)}) if proven else []
        points = [(max(1e-3, proven[i - 1]), i / own[0]["n"]) for i in steps]
        axes.step(*_columns(points), where="post", label=label)
    axes.set(xscale="log", xlabel="seconds, search and proof together", ylabel="proven optimal", ylim=(0, 1.02))  # fmt: skip
    # Beside the curves: they end wherever a set is hard.
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _parts(ask: Ask) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.add_subplot()
    found: dict[str, dict[int, list[float]]] = {}
    for row in parts(ask):
        if row["label"] == "growth":
            found.setdefault(row["part"], {}).setdefault(row["nodes"], []).append(row["seconds"])
    for part, sizes in sorted(found.items()):
        points = [(n, sum(s) / len(s)) for n, s in sorted(sizes.items())]
        axes.plot(*_columns(points), marker="o", markersize=3, label=part)
    axes.set(xscale="log", yscale="log", xlabel="nodes", ylabel="seconds")
    if found:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
