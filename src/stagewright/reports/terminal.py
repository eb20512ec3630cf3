# SPDX-License-Identifier: Apache-2.0
"""Tables for the terminal: rich renderables; nothing here prints.

They read at 80 columns, without colours and without a terminal.  Names are never parsed as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import MissingDependencyError
from ..units import PS_PER_SECOND, format_bytes, format_rate, format_time
from . import words
from .run_view import RunView, read_run_view
from .view import PlanView, StageView, clean, read_plan_view

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from ..cost.catalogue import Catalogue, Device

__all__ = ["bounds_table", "devices_table", "plan_headline", "plan_table", "run_table"]

_LEGEND = "receive <   work {work}   send >   overflow !   * bottleneck"
_NAMES = "first .. last"
_WIDE = 72
"""Cells from which on evidence is written out in words."""


def plan_headline(document: Mapping[str, Any]) -> Text:
    """Return the verdict, what sets the pace, and why the search stopped.

    Raises
    ------
    CheckError
        If `document` is not the content of a plan file; so do all functions that take one.
    """
    _need_rich()
    plan = read_plan_view(document)
    lines = [
        *words.limits(plan)[:1],
        *words.shaping(plan),
        words.origin_of_work(plan),
        words.stopped(plan),
    ]
    text = _text(words.headline(plan), "bold green" if _is_optimal(plan) else "bold yellow")
    return text.append("\n" + "\n".join(filter(None, lines)), style="not bold default")


def plan_table(document: Mapping[str, Any]) -> RenderableType:
    """Return the stages: how their time is spent, their nodes, and their memory if stated.

    Where the width does not suffice for all columns, the less telling ones are left out.
    """
    _need_rich()
    from rich.console import Group

    from .terminal_parts import Fitted, Legend

    plan = read_plan_view(document)
    stages = Fitted(lambda width: _stages(plan, width))
    used = {name for stage in plan.stages for name, time in stage.parts if time}
    legend = _LEGEND.replace("   *", "   sync ~   *") if "sync" in used else _LEGEND
    return Group(_text("\nStages", "bold"), stages, Legend(legend))


def _stages(plan: PlanView, width: int) -> Table:
    from .terminal_parts import Bar, MiddleCut, column_widths

    worst = {s.number for s in plan.worst}
    columns = {
        "#": [f"{'*' if s.number in worst else ''}{s.number}" for s in plan.stages],
        "nodes": [str(len(s.nodes)) for s in plan.stages],
        "total": [format_time(s.total) for s in plan.stages],
        "share": [words.percent_below(s.total, plan.bottleneck) for s in plan.stages],
    }
    if plan.kinds and len({s.on for s in plan.stages}) > 1:
        columns["device"] = [clean(s.on) for s in plan.stages]
    if any(s.param_bytes for s in plan.stages):
        columns["params"] = [format_bytes(s.param_bytes) for s in plan.stages]
    if any(s.peak_bytes for s in plan.stages):
        columns["peak"] = [format_bytes(s.peak_bytes) for s in plan.stages]
    names = [MiddleCut(_span(s)) for s in plan.stages]
    longest = max([len(_NAMES), *(n.width for n in names)])
    shown, bar, rest = column_widths(columns, longest, width)
    table = _table()
    _columns(table, shown[:1], "right")
    table.add_column("time", width=bar)
    _columns(table, shown[1:], "right")
    if rest:
        table.add_column(_NAMES, width=rest, no_wrap=True)
    for i, stage in enumerate(plan.stages):
        cells: list[RenderableType] = [columns[name][i] for name in shown]
        cells.insert(1, Bar(stage.parts, plan.bottleneck))
        if rest:
            cells.append(names[i])
        table.add_row(*cells, style="bold" if stage.number in worst else None)
    return table


def bounds_table(document: Mapping[str, Any]) -> RenderableType:
    """Return the ladder of lower bounds: how high, how long it took, how it is known."""
    _need_rich()
    from rich.console import Group

    from .terminal_parts import Fitted

    plan = read_plan_view(document)
    ladder = Fitted(lambda width: _bounds(plan, in_words=width >= _WIDE))
    return Group(_text("\nNo plan has a bottleneck below", "bold"), ladder)


def _bounds(plan: PlanView, *, in_words: bool) -> Table:
    table = _table()
    _columns(table, ["method"])
    _columns(table, ["value", "of ours", "took"], "right")
    table.add_column("how it is known")
    for bound in plan.bounds:
        evidence = words.EVIDENCE.get(bound.evidence, bound.evidence)
        table.add_row(
            _text(bound.method),
            format_time(bound.value),
            words.percent_below(bound.value, plan.bottleneck),
            format_time(round(bound.seconds * PS_PER_SECOND)),
            _text(evidence if in_words else bound.evidence),
            style="bold" if bound.value == plan.lower_bound else None,
        )
    return table


def run_table(report: Mapping[str, Any]) -> RenderableType:
    """Return a measured run beside its prediction.

    Raises
    ------
    InputError
        If `report` is not what ``stagewright run --json`` prints.
    """
    _need_rich()
    from rich.console import Group

    run = read_run_view(report)
    outputs_style = {True: "green", False: "bold red", None: "yellow"}[run.outputs_equal]
    parts: list[RenderableType] = [
        _text(words.run_headline(run), "bold"),
        _text(words.outputs_text(run), outputs_style),
        _text("\nStages, medians", "bold"),
        _run_stages(run),
        _text(""),
    ]
    if run.whole:
        parts += [_text("The unsplit model", "bold"), _whole(run), _text("")]
    notes = [f"{name} {format_time(value)}" for name, value in run.latency]
    if notes:
        parts.append(_text(f"Latency: {', '.join(notes)}"))
    if run.settings:
        shown = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in run.settings)
        parts.append(_text(f"Setting: {shown}"))
    return Group(*parts)


def _run_stages(run: RunView) -> Table:
    table = _table()
    shared = any(stage.worker is not None for stage in run.stages)
    heads = ["work", "predicted", "ratio", "wait", "send", "total predicted"]
    _columns(table, ["#", *(["worker"] if shared else []), *heads], "right")
    slowest = max((s.compute or 0 for s in run.stages), default=0)
    for stage in run.stages:
        worst = bool(slowest) and stage.compute == slowest
        table.add_row(
            f"{'*' if worst else ''}{stage.number}",
            *([str(stage.worker)] if shared else []),
            _time(stage.compute),
            _time(stage.predicted_work),
            _ratio(stage.compute, stage.predicted_work),
            _time(stage.wait),
            _time(stage.send),
            _time(stage.predicted),
            style="bold" if worst else None,
        )
    return table


def _whole(run: RunView) -> Table:
    table = _table()
    _columns(table, ["threads", "period", "the pipeline's rate"], "right")
    for whole in run.whole:
        speedup = "-" if whole.speedup is None else f"{whole.speedup:.2f} times as high"
        table.add_row(str(whole.threads), _time(whole.period), speedup)
    return table


def devices_table(catalogue: Catalogue) -> RenderableType:
    """Return the catalogue: devices with their peak rates, and links."""
    _need_rich()
    from rich.console import Group

    devices = _table()
    _columns(devices, ["name"])
    _columns(devices, ["float32", "16 bit", "8 bit", "memory", "reads at"], "right")
    _columns(devices, ["link"])
    for device in catalogue.devices.values():
        devices.add_row(
            _text(device.name),
            _peak(device, "float32"),
            _peak(device, "float16", "bfloat16"),
            _peak(device, "int8", "float8"),
            "-" if device.memory is None else format_bytes(device.memory),
            format_rate(device.memory_bandwidth),
            _text(device.link),
        )
    links = _table()
    _columns(links, ["name"])
    _columns(links, ["bandwidth", "latency per tensor"], "right")
    for link in catalogue.links.values():
        links.add_row(_text(link.name), format_rate(link.bandwidth), format_time(link.latency))
    heading = "Devices (peak in TFLOP/s, dense)"
    return Group(_text(heading, "bold"), devices, _text("\nLinks", "bold"), links)


def _peak(device: Device, *dtypes: str) -> str:
    rates = [device.peak[dtype] for dtype in dtypes if dtype in device.peak]
    return words.number(max(rates) / 1e12) if rates else "-"


def _is_optimal(plan: PlanView) -> bool:
    return plan.proven == plan.bottleneck


def _span(stage: StageView) -> tuple[str, ...]:
    return words.span(stage) if len(stage.nodes) > 1 else stage.nodes


def _time(value: int | None) -> str:
    return "-" if value is None else format_time(value)


def _ratio(measured: int | None, predicted: int | None) -> str:
    return f"{measured / predicted:.2f}" if measured is not None and predicted else "-"


def _text(text: str, style: str = "") -> Text:
    """Return plain text; a str would be read as markup."""
    from rich.text import Text

    return Text("\n".join(map(clean, text.split("\n"))), style=style)


def _need_rich() -> None:
    try:
        import rich  # noqa: F401 -- only whether it is there
    except ImportError:
        raise MissingDependencyError("rich", "dev", "Showing tables") from None


def _table() -> Table:
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)


def _columns(table: Table, names: Iterable[str], justify: Any = "left") -> None:
    for name in names:
        table.add_column(name, justify=justify, no_wrap=True)
