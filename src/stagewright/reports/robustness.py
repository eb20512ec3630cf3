# SPDX-License-Identifier: Apache-2.0
"""Tables of a study of uncertain costs, from its document only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..units import format_time, to_ps

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["factors_table", "plans_table", "robustness_headline"]

_MORE_PLANS: Final = 3


def robustness_headline(document: Mapping[str, Any]) -> Text:
    """Return what the nominal plan bears, and which plan bears most."""
    from rich.text import Text

    plans = {plan["name"]: plan for plan in document["plans"]}
    nominal, chosen = plans["nominal"], plans[document["chosen"]]
    samples = document["samples"]
    share = (
        f"within {_percent(document['tolerance'])} of the optimum in {_within(nominal, samples)}"
    )
    worst = _regret(nominal["worst_regret"])
    lines = [f"The nominal plan is {share} drawn instances; worst regret {worst}."]
    if chosen is nominal:
        lines.append(f"No other candidate has a smaller {document['choose']} regret.")
    else:
        lines.append(
            f"Least {document['choose']} regret has the plan of {chosen['name']}: "
            f"{_within(chosen, samples)}, worst regret {_regret(chosen['worst_regret'])}; "
            f"{_percent(float(chosen['bottleneck']) / max(1e-300, float(nominal['bottleneck'])) - 1)} "
            "slower with the costs as given."
        )
    unproven = samples - document["proven"]
    if unproven:
        lines.append(f"{unproven} of {samples} optima are not proven: ranges say what is certain.")
    if document["interrupted"]:
        lines.append("Interrupted: figures are of the instances solved so far.")
    return Text("\n".join(lines))


def plans_table(document: Mapping[str, Any]) -> Table:
    """Return the candidates: the chosen, the nominal and the given one, and some more."""
    table = _table("Plans", ("plan", *_COLUMNS), left=1)
    kept = {"nominal", "given", document["chosen"]}
    more = [p["name"] for p in document["plans"] if p["name"] not in kept][:_MORE_PLANS]
    for plan in document["plans"]:
        if plan["name"] in kept or plan["name"] in more:
            mark = "* " if plan["name"] == document["chosen"] else ""
            table.add_row(
                f"{mark}{plan['name']}",
                *(format_time(to_ps(plan[key])) for key in ("bottleneck", "mean", "high")),
                _regret(plan["mean_regret"]),
                _regret(plan["worst_regret"]),
                _within(plan, document["samples"]),
            )
    return table


def factors_table(document: Mapping[str, Any], most: int = 10) -> Table:
    """Return the costs that matter most to the nominal plan."""
    columns = ("cost of", "spread", "work", "critical", "share", "effect", "regret")
    table = _table("What matters to the nominal plan", columns, left=1)
    for factor in document["factors"][:most]:
        table.add_row(
            factor["name"],
            _percent(factor["spread"]),
            format_time(to_ps(factor["work"])),
            _percent(factor["critical"]),
            _percent(factor["share"]),
            _percent(factor["effect"]),
            "-" if factor["regret"] is None else _regret(factor["regret"]),
        )
    return table


_COLUMNS: Final = ("as given", "mean", "95 %", "mean regret", "worst regret", "within")


def _table(title: str, columns: Sequence[str], left: int) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < left else "right", overflow="fold")
    return table


def _percent(value: float) -> str:
    return f"{100 * float(value):.3g} %"


def _regret(pair: Sequence[Any]) -> str:
    low, high = pair
    if high is None:
        return f">= {_percent(low)}"
    low_text, high_text = _percent(low), _percent(high)
    return low_text if low_text == high_text else f"{low_text[:-2]} to {high_text}"


def _within(plan: Mapping[str, Any], samples: int) -> str:
    low, high = plan["within"]
    return f"{low} of {samples}" if low == high else f"{low} to {high} of {samples}"
