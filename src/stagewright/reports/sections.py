# SPDX-License-Identifier: Apache-2.0
"""The sections of the page about a plan: each takes the view and returns markup, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from ..units import PS_PER_SECOND, format_bytes, format_rate, format_time
from . import words
from .charts import stacked_bar, steps, swatch
from .markup import Html, h, join, table
from .view import CostView, PlanView, StageView

__all__ = [
    "bounds_section",
    "facts",
    "header",
    "legend",
    "machine_section",
    "memory_section",
    "nodes_section",
    "origin_section",
    "section",
    "stages_section",
    "tiles",
    "timeline_section",
]

_DENSE = 24
"""Stages from which on the rows of the chart are set closer, and the table is closed."""


def section(key: str, title: str, *content: str) -> Html:
    """Return a titled section that can be linked to."""
    heading = h("h2", title, id=f"{key}-title")
    return h("section", heading, *content, id=key, aria_labelledby=f"{key}-title")


def facts(pairs: list[tuple[str, str]]) -> Html:
    """Return a list of names and values; pairs without a value are left out."""
    return h("dl", *(join([h("dt", k), h("dd", v)]) for k, v in pairs if v), class_="facts")


def tiles(items: list[tuple[str, str, str]]) -> Html:
    """Return key figures: name, value, remark."""
    return h(
        "dl",
        *(
            h("div", h("dt", name), h("dd", value, h("small", remark)))
            for name, value, remark in items
        ),
        class_="tiles",
    )


def legend(items: list[tuple[str, str]]) -> Html:
    """Return what the colours and patterns mean: class and words."""
    return h("ul", *(h("li", swatch(key), text) for key, text in items), class_="legend")


def header(plan: PlanView, title: str) -> Html:
    """Return the verdict in plain words and the key figures."""
    upper, proven = plan.bottleneck, plan.proven
    if plan.goal is None:
        status = "optimal" if proven == upper else "bounded" if proven else "feasible"
    else:
        status = "optimal" if plan.goal.value == plan.goal.lower else "bounded"
    gap = words.gap_text(upper, proven) if proven or not upper else "unknown"
    return join(
        [
            h("p", title, class_="eyebrow names"),
            h("h1", words.verdict(plan), class_=status),
            h("p", words.explanation(plan)),
            join(h("p", sentence) for sentence in (*words.limits(plan), *words.shaping(plan))),
            tiles(_key_figures(plan, gap)),
        ]
    )


def _key_figures(plan: PlanView, gap: str) -> list[tuple[str, str, str]]:
    """Return what the page says first: name, value, remark."""
    upper = plan.bottleneck
    busiest = "load of the busiest device" if plan.shared else "time of the slowest stage"
    found = [
        ("Bottleneck", format_time(upper), busiest),
        ("Throughput", *_throughput(upper, words.items(plan))),
    ]
    if plan.goal is not None and plan.goal.minimise not in ("period", "latency"):
        name, _, rest = words.goal(plan).partition(": ")
        value, _, proof = rest.partition(" (")
        found.append((name, value, proof.removesuffix(")")))
    if plan.training is not None:
        if plan.training.schedule:
            m = plan.training.microbatches
            bubble = Fraction(plan.training.step, upper) - m if upper else 0
            told = f"{m} + {float(bubble):.4g} periods, {plan.training.schedule}"
            found.append(("Step", format_time(plan.training.step), told))
    elif plan.goal is not None and plan.goal.minimise == "latency":
        proof = words.goal(plan).partition("(")[2].removesuffix(")")
        found.append(("Latency", format_time(plan.goal.value), f"of one request: {proof}"))
    else:
        found.append(("Latency", format_time(plan.latency), "about, through a full pipeline"))
    if plan.kinds:
        used = f"on {plan.devices_used} of {plan.machine.stages} devices"
        found.append(("Stages", str(len(plan.stages)), used))
    else:
        ratio = words.number(plan.work / upper) if upper else "-"
        found.append(("Stages", str(len(plan.stages)), f"of {plan.machine.stages} available"))
        found.append(("Speed-up", f"{ratio} x", "over one device, work alone"))
    return [*found, ("Proven gap", gap, "of the period to the best possible")]


def _throughput(period: int, what: str) -> tuple[str, str]:
    busy = "with all stages busy"
    if 0 < period <= PS_PER_SECOND:
        return f"{words.number(PS_PER_SECOND / period)} /s", f"{what}, {busy}"
    return ("-", busy) if period <= 0 else (f"1 / {format_time(period)}", f"{what}, {busy}")


def stages_section(plan: PlanView) -> Html:
    """Return the stages as a chart and as a table."""
    numbers = _stage_table(plan)
    if len(plan.stages) > _DENSE:
        numbers = h(
            "details", h("summary", f"The numbers of all {len(plan.stages)} stages"), numbers
        )
    return section("stages", "Stages", _device_chart(plan), _chart(plan), numbers)


def _device_chart(plan: PlanView) -> Html:
    """Return what shared devices do for an item, the stages of each beside each other."""
    if not plan.loads:
        return Html("")
    rows = []
    for load in plan.loads:
        numbers = ", ".join(str(stage.number) for stage in load.stages)
        said = f"{load.on}: stages {numbers}, {format_time(load.total)}"
        rows.append(
            h(
                "div",
                h("span", f"{'▶ ' if load.total == plan.bottleneck else ''}{load.on}: {numbers}"),
                stacked_bar(load.parts, plan.bottleneck, line=plan.proven or None, titles=said),
                h("span", format_time(load.total)),
                class_="row marked" if load.total == plan.bottleneck else "row",
            )
        )
    label = "Time of every device, its stages one after another; the table below has the numbers."
    chart = h("div", *rows, class_="chart", role="img", aria_label=label)
    caption = (
        "Devices and the numbers of their stages: a device runs each of them once per period, for another item "
        "each. The busiest device fills the width. Below, the stages one by one."
    )
    return h("figure", chart, h("figcaption", caption))


def _chart(plan: PlanView) -> Html:
    bound = plan.proven or None
    keys = [(name, words.PARTS[name]) for name in _used(plan)]
    rows = h(
        "div",
        *(_chart_row(s, plan, bound) for s in plan.stages),
        class_="chart dense" if len(plan.stages) > _DENSE else "chart",
        role="img",
        aria_label="Time of every stage by part; the table below has the numbers.",
    )
    caption = "Bars start at 0; the bottleneck fills the width and is marked by a triangle."
    if plan.shared:
        caption = "Bars start at 0; those of the busiest device are marked by a triangle and fill the width together."
    if bound:
        who = "device" if plan.shared else "stage"
        caption += (
            f" The dashed line is the proven lower bound, {format_time(bound)}: "
            f"in every plan some {who} reaches it."
        )
    return h("figure", legend(keys), rows, h("figcaption", caption))


def _chart_row(stage: StageView, plan: PlanView, bound: int | None) -> Html:
    slowest = stage.number in {s.number for s in plan.worst}
    parts = ", ".join(f"{name} {format_time(time)}" for name, time in stage.parts if time)
    titles = f"stage {stage.where}: {format_time(stage.total)} ({parts or 'no cost'})"
    return h(
        "div",
        h("span", f"{'▶ ' if slowest else ''}{stage.where}"),
        stacked_bar(stage.parts, plan.bottleneck, line=bound, titles=titles),
        h("span", format_time(stage.total)),
        class_="row marked" if slowest else "row",
    )


def _stage_table(plan: PlanView) -> Html:
    used = _used(plan)
    kinds, worst = any(s.device for s in plan.stages), {s.number for s in plan.worst}
    rows = [
        [
            f"{s.number} (bottleneck)" if s.number in worst else str(s.number),
            *([s.on] if kinds else []),
            f"{len(s.nodes):,}",
            *(format_time(time) for name, time in s.parts if name in used),
            format_time(s.total),
            words.percent_below(s.total, plan.bottleneck),
            h("span", " .. ".join(_shorten(n) for n in words.span(s)), class_="names"),
        ]
        for s in plan.stages
    ]
    parts = [name.capitalize() for name in used]
    return table(
        "Time of every stage",
        [
            "Stage",
            *(["Device"] if kinds else []),
            *("Nodes", *parts, "Total", "Share", "First and last node"),
        ],
        rows,
        numeric=range(1 + kinds, len(used) + 4 + kinds),
        marked=[i for i, s in enumerate(plan.stages) if s.number in worst],
        notes="Share: of the bottleneck, rounded down.",
    )


def _used(plan: PlanView) -> list[str]:
    """Return the parts that some stage has, and work in any case, in the order of drawing."""
    have = {name for s in plan.stages for name, time in s.parts if time} | {"work"}
    return [name for name in words.PARTS if name in have]


def _shorten(name: str, most: int = 40) -> str:
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-most // 2 :]}"


def bounds_section(plan: PlanView, verified: Mapping[str, Any] | None = None) -> Html:
    """Return the ladder of lower bounds, each with how it is known, and what the checker said."""
    if not plan.bounds:
        return Html("")
    rows = [
        [
            b.method,
            format_time(b.value),
            words.percent_below(b.value, plan.bottleneck),
            stacked_bar([("value", b.value)], plan.bottleneck),
            format_time(round(b.seconds * PS_PER_SECOND)),
            words.METHODS.get(b.method, ""),
            words.EVIDENCE.get(b.evidence, b.evidence),
        ]
        for b in plan.bounds
    ]
    best = [i for i, b in enumerate(plan.bounds) if b.value == plan.lower_bound]
    words_for_all = (
        "A lower bound is a time that the bottleneck of no plan whatsoever can go below. The plan is "
        "proven optimal when a bound reaches 100 %."
    )
    head = ["Method", "Bound", "Of ours", "", "Took", "What it rests on", "How it is known"]
    ladder = table("Lower bounds", head, rows, numeric=(1, 2, 4), marked=best)
    title = "How good it is, and how that is known"
    return section("bounds", title, h("p", words_for_all), ladder, _certificate(verified))


def _certificate(verified: Mapping[str, Any] | None) -> Html:
    """Return the status of the certificate in plain words."""
    if verified is None:
        return h(
            "p",
            "Certificate: not verified when this page was written. The command ",
            h("code", "stagewright check MODEL plan.json"),
            " verifies the stages, their costs and the bounds with a program that shares no code with the solver.",
        )
    if not verified["valid"]:
        verdict, kind = "Certificate: INVALID. The checker found faults.", "feasible"
    elif verified["not_verified"]:
        verdict, kind = "Certificate: valid as far as it was verified.", "bounded"
    else:
        verdict, kind = "Certificate: valid, everything was verified.", "optimal"
    said = "By a program that shares no code with the solver, when this page was written."
    lists = (
        h("details", h("summary", f"{title}: {len(lines)}"), h("ul", *(h("li", x) for x in lines)))
        for title, lines in (
            ("Faults", verified["problems"]),
            ("Verified", verified["verified"]),
            ("Not verified", verified["not_verified"]),
        )
        if lines
    )
    return join([h("p", h("b", verdict, class_=kind), " ", said), *lists])


def timeline_section(plan: PlanView) -> Html:
    """Return how both bounds approached each other, if the document has it."""
    if not plan.history:
        return Html("")
    rows = [
        [f"{p.seconds:.3f} s", p.phase, format_time(p.upper), format_time(p.lower)]
        for p in plan.history
    ]
    numbers = table(
        "Search progress", ["Time", "Phase", "Best plan", "Lower bound"], rows, numeric=(2, 3)
    )
    end = format_time(round(plan.history[-1].seconds * PS_PER_SECOND))
    figure = h(
        "figure",
        legend([("upper", "best plan so far"), ("lower", "best lower bound so far")]),
        # The script puts the same with axes in its place.
        h("div", steps(plan.history), h("output", ""), id="search-plot"),
        h("figcaption", f"From the start to {end}; the scale starts at 0."),
    )
    content = h("details", h("summary", "The numbers"), numbers)
    return section("search-progress", "The search", figure, content)


def machine_section(plan: PlanView) -> Html:
    """Return what the plan was made for."""
    machine = plan.machine
    rate = "not needed: costs were given as times"
    return section(
        "machine",
        "Machine",
        facts(
            [
                ("Devices", str(machine.stages)),
                (
                    "Link bandwidth",
                    rate if machine.bandwidth is None else format_rate(machine.bandwidth),
                ),
                ("Latency per tensor", format_time(machine.latency)),
                (
                    "Fast memory per device",
                    "no limit" if machine.memory is None else format_bytes(machine.memory),
                ),
                *(
                    [("Hard limit per stage", format_bytes(machine.memory_limit))]
                    if machine.memory_limit is not None
                    else []
                ),
            ]
        ),
    )


def memory_section(plan: PlanView, *, curves: bool = False) -> Html:
    """Return parameters and activations of every stage against the limit, if sizes are known.

    With `curves`, the script draws how they change while each stage runs.
    """
    if not plan.has_sizes:
        return Html("")
    rooms = _rooms(plan)
    sums = [room.params + room.peak for room in rooms]
    full = max([*sums, *(room.limit or 0 for room in rooms)])
    limits = {room.limit for room in rooms}
    over = [i for i, r in enumerate(rooms) if r.limit is not None and sums[i] > r.limit]
    rows = [
        [
            room.where,
            stacked_bar([("params", room.params), ("peak", room.peak)], full, line=room.limit),
            format_bytes(room.params),
            format_bytes(room.peak),
            format_bytes(total),
            _fit(total, room.limit),
        ]
        for room, total in zip(rooms, sums, strict=True)
    ]
    line = "" if limits == {None} else "The dashed line is the limit of the device."
    if len(limits) == 1 and (limit := rooms[0].limit) is not None:
        line = f"The dashed line is the limit, {format_bytes(limit)}."
    first = "Device: stages" if plan.shared else "Stage"
    keys = [("params", "parameters"), ("peak", "most activations alive at once")]
    if plan.training is not None and plan.training.schedule:
        keys = [
            ("params", "parameters, gradients and optimizer"),
            ("peak", "activations of all microbatches in flight"),
        ]
    head = [first, "", "Parameters", "Activations", "Together", "Fast memory"]
    numbers = table("Memory", head, rows, numeric=(2, 3, 4), marked=over, notes=line)
    said = "While a stage runs, from its first node to its last, with parameters below and activations above:"
    if plan.training is not None:
        said = f"While a stage runs, forward and backward, with one microbatch: {said.partition('with ')[2]}"
    over_run = join([h("p", said), h("div", id="memory-plot", class_="many")])
    return section("memory", "Memory", legend(keys), numbers, over_run if curves else Html(""))


class _Room(NamedTuple):
    """What a stage holds, or a shared device with all its stages; bytes."""

    where: str
    params: int
    peak: int
    limit: int | None


def _rooms(plan: PlanView) -> list[_Room]:
    if not plan.shared:
        return [_Room(s.where, s.param_bytes, s.peak_bytes, s.limit) for s in plan.stages]
    return [
        _Room(
            f"{load.on}: {', '.join(str(s.number) for s in load.stages)}",
            sum(s.param_bytes for s in load.stages),
            sum(s.peak_bytes for s in load.stages),
            load.stages[0].limit,
        )
        for load in plan.loads
    ]


def _fit(total: int, limit: int | None) -> str:
    if limit is None:
        return "no limit"
    if total <= limit:
        return "fits"
    return f"{format_bytes(total - limit)} too much, streamed"


def nodes_section(plan: PlanView, *, searchable: bool = True) -> Html:
    """Return all node names by stage, with a search field where there is no other."""
    field = h(
        "div",
        h("label", "Find a node", for_="node-search"),
        h("input", id="node-search", type="search", autocomplete="off", spellcheck="false"),
        h("output", aria_live="polite", for_="node-search"),
        h("pre", hidden=True, tabindex=0, aria_label="Nodes found"),
        id="search",
        class_="search",
        hidden=True,
    )
    lists = (
        h(
            "details",
            h("summary", f"Stage {s.where}: {len(s.nodes):,} nodes"),
            h("pre", "\n".join(s.nodes), tabindex=0, data_stage=s.number),
        )
        for s in plan.stages
    )
    return section("nodes", "Nodes", field if searchable else Html(""), join(lists))


def origin_section(plan: PlanView) -> Html:
    """Return how the plan came about, for whoever wants to make it again."""
    return section(
        "origin",
        "How this plan came about",
        facts(
            [
                ("Model", plan.model),
                ("Work", words.origin_of_work(plan)),
                ("Search time", format_time(round(plan.seconds * PS_PER_SECOND))),
                ("Stopped because", plan.stopped_because),
                ("Seed", str(plan.seed)),
                ("Stagewright", plan.version),
                ("Graph", h("code", plan.graph_sha256) if plan.graph_sha256 else ""),
            ]
        ),
        join(
            h(
                "details",
                h("summary", f"{cost.nodes:,} nodes whose work is {_source(cost)}"),
                h("pre", "\n".join(cost.names), tabindex=0),
            )
            for cost in plan.costs
            if cost.names
        ),
    )


def _source(cost: CostView) -> str:
    return words.SOURCES.get(cost.source, cost.source)
