# SPDX-License-Identifier: Apache-2.0
"""The sections of the page that need the graph: its picture, the tensors that are cut, other plans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..units import format_bytes, format_time
from .drawing import Drawing
from .markup import Html, h, join, table
from .sections import section
from .view import PlanView

__all__ = ["COLOURS", "cuts_section", "graph_section", "what_if_section"]

COLOURS = 8
"""Colours that stages take in turn."""
_MOST_CUTS = 16
_COPIED = " Tensors that stages make again instead of sending them are not drawn between stages."
_BOTH_WAYS = " What a stage runs forward and what it runs backward are two boxes of its colour."
_BUTTONS = (
    ("in", "+", "Zoom in"),
    ("out", "\N{MINUS SIGN}", "Zoom out"),
    ("fit", "Fit", "Show the whole graph"),
    ("open", "Open", "Open one more level of modules"),
    ("close", "Close", "Close all modules"),
    ("turn", "Turn", "Draw from left to right, or from top to bottom"),
)


def graph_section(plan: PlanView, drawing: Drawing | None, missing: str = "") -> Html:
    """Return where the graph is drawn; without it, why not and what to do."""
    if drawing is None:
        if not missing:
            return Html("")
        return section("graph", "The graph", h("p", missing))
    how = (
        "Each box is a module or a node, in the colour of its stage; the bar in it is its work as a share of "
        "the bottleneck. Click a module to open it, a node to see what it is connected to. Thick lines are "
        "tensors that are cut, with their bytes and the time that a link takes for them."
        f"{_COPIED if drawing.data['nodes']['copied'] else ''}"
        f"{_BOTH_WAYS if plan.training is not None else ''}"
    )
    keys = (
        "Drag to move; Ctrl and the wheel zoom. With the keyboard: Tab into the graph, arrows walk, Enter "
        "opens and closes, + and - zoom, 0 shows everything."
    )
    view = h(
        "div",
        h("div", _search(), _buttons(), class_="tools"),
        _stages(plan),
        h("div", class_="canvas"),
        h("div", class_="tip", hidden=True, aria_hidden="true"),
        h("p", h("span", "", data_status=True, aria_live="polite"), " ", keys, class_="soft"),
        id="graph-view",
        hidden=True,
    )
    without = h(
        "noscript", h("p", "The graph is drawn by a script, which this browser does not run.")
    )
    return section("graph", "The graph", h("p", how), view, without)


def _search() -> Html:
    return h(
        "div",
        h("label", "Find in the graph", for_="graph-search"),
        h(
            "input",
            id="graph-search",
            type="search",
            role="combobox",
            aria_expanded="false",
            aria_controls="graph-hits",
            aria_autocomplete="list",
            autocomplete="off",
            spellcheck="false",
            placeholder="name or operator",
        ),
        h("span", "", data_found=True, aria_live="polite", class_="soft"),
        h("ul", id="graph-hits", role="listbox", aria_label="Nodes found", hidden=True),
        class_="find",
    )


def _buttons() -> Html:
    buttons = (
        h("button", text, type="button", data_act=act, title=title, aria_label=title)
        for act, text, title in _BUTTONS
    )
    return h("div", join(buttons), class_="buttons", role="group", aria_label="The drawing")


def _stages(plan: PlanView) -> Html:
    worst = {stage.number for stage in plan.worst}
    buttons = (
        h(
            "button",
            h("span", class_=f"dot stage-{s.number % COLOURS}"),
            f"{'▶ ' if s.number in worst else ''}{s.number}",
            h("small", format_time(s.total)),
            type="button",
            data_stage=s.number,
            title=f"Go to stage {s.number}",
        )
        for s in plan.stages
    )
    return h("div", join(buttons), class_="stages", role="group", aria_label="Go to a stage")


def cuts_section(plan: PlanView, drawing: Drawing | None) -> Html:
    """Return the tensors between stages, the most expensive first."""
    if drawing is None or not drawing.cuts:
        return Html("")
    shown = drawing.cuts[:_MOST_CUTS]
    rows = [
        [
            h("span", cut.producer, class_="names"),
            f"{cut.source} → {', '.join(map(str, cut.targets))}",
            "-" if cut.nbytes is None else format_bytes(cut.nbytes),
            format_time(cut.time),
            format_time(cut.paid),
        ]
        for cut in shown
    ]
    rest = len(drawing.cuts) - len(shown)
    notes = "A link takes the time once for the stage that sends and once for each that receives."
    if plan.kinds:
        notes = "Each stage that sends or receives pays at its own link; the time is the longest of these."
    if rest:
        left = sum(cut.paid for cut in drawing.cuts[len(shown) :])
        notes += f" The {rest:,} cheapest, {format_time(left)} together, are left out."
    head = ["Made by", "Stages", "Size", "Time", "Paid in all"]
    return section(
        "cuts",
        "Tensors between stages",
        table("Cut tensors", head, rows, numeric=(2, 3, 4), notes=notes),
    )


def what_if_section(plan: PlanView, what_if: Mapping[str, Any] | None) -> Html:
    """Return the sliders over other bandwidths and numbers of stages."""
    if not what_if:
        return Html("")
    stages, bandwidths = what_if["stages"], what_if["bandwidths"]
    sliders = [_slider("k", "Stages", len(stages), stages.index(plan.machine.stages))]
    if bandwidths:
        place = bandwidths.index(plan.machine.bandwidth)
        sliders.append(_slider("rate", "Bandwidth of a link", len(bandwidths), place))
    view = h(
        "div",
        h("div", join(sliders), class_="sliders"),
        h("p", "", data_told="verdict", aria_live="polite"),
        h(
            "div",
            h(
                "figure",
                h("div", data_bars=True),
                h("figcaption", "Time of every stage; the dashed line is the lower bound."),
            ),
            h(
                "figure",
                h("div", data_curve=True),
                h("figcaption", "Bottleneck (line) and lower bound (dashed) by stages."),
            ),
            class_="pair",
        ),
        id="what-if-view",
        hidden=True,
    )
    said = (
        "Plans that were made beforehand for other machines, with everything else as it is. "
        f"{what_if['note']}"
    )
    return section("what-if", "What if", h("p", said), view, _what_if_table(what_if))


def _slider(key: str, label: str, count: int, value: int) -> Html:
    name = f"what-if-{key}"
    field = h(
        "input",
        id=name,
        type="range",
        min=0,
        max=count - 1,
        step=1,
        value=value,
        data_slider=key,
        disabled=count == 1,
    )
    return h("div", h("label", label, " ", h("output", "", data_told=key), for_=name), field)


def _what_if_table(what_if: Mapping[str, Any]) -> Html:
    from ..units import format_rate

    rates = what_if["bandwidths"] or [None]
    head = ["Stages", *("Bottleneck" if r is None else f"at {format_rate(r)}" for r in rates)]
    rows = [
        [
            str(k),
            *(_bottleneck(row[j]) for row in what_if["points"]),
        ]
        for j, k in enumerate(what_if["stages"])
    ]
    numbers = table("Bottleneck by stages and bandwidth", head, rows, numeric=range(len(head)))
    return h("details", h("summary", "The numbers"), numbers)


def _bottleneck(point: Any) -> str:
    return format_time(point["upper"]) if isinstance(point, Mapping) else "-"
