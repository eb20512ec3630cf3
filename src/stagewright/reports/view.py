# SPDX-License-Identifier: Apache-2.0
"""What reports show, read from a plan document or a run report: picoseconds, bytes, clean names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from ..errors import CheckError, InputError
from ..machine import Machine
from ..units import PS_PER_SECOND, to_ps

__all__ = [
    "BoundView",
    "KindView",
    "LinkView",
    "PlanView",
    "Point",
    "RunStageView",
    "RunView",
    "StageView",
    "WholeView",
    "clean",
    "read_plan_view",
    "read_run_view",
]


@dataclass(frozen=True)
class StageView:
    """One stage: times in picoseconds, sizes in bytes, names safe to show.

    With a schedule of training, sizes are those of a device with all microbatches in flight and the optimizer.
    """

    number: int
    nodes: tuple[str, ...]
    work: int
    receive: int
    send: int
    overflow: int
    total: int
    param_bytes: int
    peak_bytes: int
    device: str = ""
    limit: int | None = None
    place: int | None = None

    @property
    def where(self) -> str:
        """Its number, and the device that it runs on where devices differ."""
        return f"{self.number} {self.device}".rstrip()

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """The parts of the total, in the order in which reports draw them."""
        return (
            ("receive", self.receive),
            ("work", self.work),
            ("send", self.send),
            ("overflow", self.overflow),
        )


@dataclass(frozen=True)
class BoundView:
    """One lower bound: `value` in picoseconds, `seconds` it took."""

    method: str
    value: int
    seconds: float
    evidence: str


@dataclass(frozen=True)
class Point:
    """Both bounds, in picoseconds, some seconds after the start of the search."""

    seconds: float
    phase: str
    upper: int
    lower: int


@dataclass(frozen=True)
class CostView:
    """Where some of the work comes from; no names where they are all those not named elsewhere."""

    source: str
    nodes: int
    work: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class LinkView:
    """A link: bytes per second, None where none is needed; picoseconds per tensor; whether it costs nothing."""

    bandwidth: int | None
    latency: int
    free: bool

    def price(self, nbytes: int, time: int) -> int:
        """Return picoseconds for a tensor of `nbytes`, or of `time` where that is >= 0."""
        if self.free or time >= 0:
            return 0 if self.free else time
        return self.latency - (-nbytes * PS_PER_SECOND // (self.bandwidth or 1))


@dataclass(frozen=True)
class KindView:
    """Devices that are alike; sizes in bytes."""

    name: str
    count: int
    host: str
    link: LinkView
    memory: int | None
    memory_limit: int | None

    @property
    def least_memory(self) -> int | None:
        """Bytes below which memory does not matter; None where there is no limit."""
        return min((m for m in (self.memory, self.memory_limit) if m is not None), default=None)


@dataclass(frozen=True)
class PlanView:
    """A plan document, checked as far as reports need it."""

    stages: tuple[StageView, ...]
    bounds: tuple[BoundView, ...]
    history: tuple[Point, ...]
    machine: Machine
    bottleneck: int
    lower_bound: int
    stopped_because: str
    seconds: float
    seed: int
    version: str
    graph_sha256: str
    model: str
    notes: tuple[str, ...] = ()
    finer: tuple[int, int] | None = None
    costs: tuple[CostView, ...] = ()
    kinds: tuple[KindView, ...] = ()
    links: tuple[LinkView, ...] = ()
    shared: bool = False

    @property
    def proven(self) -> int:
        """The best lower bound that does not rest on a solver's word."""
        return max((b.value for b in self.bounds if b.evidence != "claimed"), default=0)

    @property
    def work(self) -> int:
        """Work of all stages together."""
        return sum(stage.work for stage in self.stages)

    @property
    def latency(self) -> int:
        """Time of one inference through a full pipeline: every stage waits for the slowest."""
        return self.bottleneck * len(self.stages)

    @property
    def worst(self) -> tuple[StageView, ...]:
        """The stages that set the pace; more than one if they tie."""
        return tuple(s for s in self.stages if s.total == self.bottleneck)

    @property
    def ends(self) -> tuple[tuple[LinkView, LinkView], ...]:
        """The links that each stage receives and sends through, where devices differ."""
        own, links = {kind.name: kind.link for kind in self.kinds}, self.links
        found = []
        for stage in self.stages:
            place = stage.place if links and stage.place is not None else -1
            # A pipeline's first place has a link behind it alone, its last one before it.
            near = [links[i] for i in (place - 1, place) if place >= 0 and 0 <= i < len(links)]
            both = near or [own[stage.device]]
            found.append((both[0], both[-1]))
        return tuple(found)

    @property
    def has_sizes(self) -> bool:
        """Whether the graph stated any parameters or activations in bytes."""
        return any(s.param_bytes or s.peak_bytes for s in self.stages)


@dataclass(frozen=True)
class RunStageView:
    """One stage as measured; medians in picoseconds, None where not known."""

    number: int
    file: str
    compute: int | None
    wait: int | None
    send: int | None
    predicted: int | None
    predicted_work: int | None


@dataclass(frozen=True)
class WholeView:
    """The unsplit model, measured."""

    threads: int
    period: int | None
    speedup: float | None


@dataclass(frozen=True)
class RunView:
    """What `stagewright run --json` prints; times in picoseconds."""

    period: int | None
    predicted_period: int | None
    throughput: float | None
    outputs_equal: bool | None
    max_abs: float | None
    reason: str
    stages: tuple[RunStageView, ...]
    whole: tuple[WholeView, ...]
    latency: tuple[tuple[str, int], ...]
    settings: tuple[tuple[str, str], ...]


def clean(text: object) -> str:
    """Return a name as it may be shown: what does not print is written as an escape.

    Names come from model files.  Control characters could drive a terminal, direction marks could
    reorder a line, lone surrogates cannot be written to a file.
    """
    name = str(text)
    if name.isprintable():
        return name
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name
    )


def read_plan_view(document: Mapping[str, Any]) -> PlanView:
    """Read a plan document, fresh or from a file.

    Raises
    ------
    CheckError
        If a field that reports need is absent or of another kind; the message gives its path.
    """
    form = document.get("format") if isinstance(document, Mapping) else None
    if form != "stagewright-plan/1":
        raise CheckError("plan: format", "'stagewright-plan/1'", repr(form))
    try:
        stated = _get(document, "machine", dict)
        # With devices of several kinds, the plain keys are those of the first kind.
        plain = {k: v for k, v in stated.items() if k != "devices"}
        machine = Machine.from_json(plain | {"memory": None} if "devices" in stated else plain)
    except (KeyError, ValueError) as error:
        raise CheckError(
            "plan: machine", "the object of a plan file", f"a fault ({error})"
        ) from None
    source = document.get("source")
    kinds = tuple(_kind(i, d) for i, d in enumerate(_listed(stated, "devices")))
    limits = {kind.name: kind.least_memory for kind in kinds}
    training = document.get("training")
    schedule = training.get("schedule") if isinstance(training, Mapping) else None
    stages = tuple(_stage(i, s, schedule) for i, s in enumerate(_get(document, "stages", list)))
    plan = PlanView(
        stages=tuple(replace(s, limit=limits.get(s.device, machine.least_memory)) for s in stages),
        bounds=tuple(_bound(i, b) for i, b in enumerate(_get(document, "bounds", list))),
        history=tuple(_point(i, p) for i, p in enumerate(document.get("history") or ())),
        machine=machine,
        bottleneck=_time(document, "bottleneck"),
        lower_bound=_time(document, "lower_bound"),
        stopped_because=clean(document.get("stopped_because", "")),
        seconds=float(document.get("seconds") or 0),
        seed=int(document.get("seed") or 0),
        version=clean(document.get("version", "")),
        graph_sha256=clean(document.get("graph_sha256", "")),
        model=clean(source.get("model", "")) if isinstance(source, Mapping) else "",
        notes=tuple(map(clean, document.get("notes") or ())),
        finer=_finer(document.get("operator_level")),
        costs=_costs(source.get("costs")) if isinstance(source, Mapping) else (),
        kinds=kinds,
        links=tuple(
            _link(link, f"plan: machine.links[{i}].")
            for i, link in enumerate(_listed(stated, "links"))
        ),
        shared=bool(stated.get("shared")),
    )
    for stage in stages if kinds else ():
        if stage.device not in limits:
            where = f"plan: stages[{stage.number}].device"
            raise CheckError(where, f"one of {', '.join(limits)}", repr(stage.device))
    for number, bound in enumerate(plan.bounds):
        if bound.value > plan.bottleneck:
            where = f"plan: bounds[{number}].value"
            raise CheckError(where, "at most the bottleneck", f"{bound.value} ps")
    return plan


def _finer(data: Any) -> tuple[int, int] | None:
    """Return both bounds of the plan that may cut between any two operators."""
    where = "plan: operator_level."
    return data and (_time(data, "bottleneck", where), _time(data, "lower_bound", where))


def _costs(data: Any) -> tuple[CostView, ...]:
    """Read where work comes from; older plans do not say."""
    if not isinstance(data, Mapping):
        return ()
    where = "plan: source.costs."
    return tuple(
        CostView(
            source=clean(source),
            nodes=_get(entry, "nodes", int, f"{where}{source}."),
            work=_time(entry, "work", f"{where}{source}."),
            names=tuple(map(clean, entry.get("names") or ())),
        )
        for source, entry in data.items()
    )


def _get(data: Any, key: str, kind: type | tuple[type, ...], where: str = "plan: ") -> Any:
    value = data.get(key) if isinstance(data, Mapping) else None
    if not isinstance(value, kind):
        names = {list: "a list", dict: "an object", str: "a text", int: "a whole number"}
        wanted = names[kind] if isinstance(kind, type) else "a value"
        raise CheckError(f"{where}{key}", wanted, type(value).__name__)
    return value


def _time(data: Any, key: str, where: str = "plan: ") -> int:
    value = data.get(key) if isinstance(data, Mapping) else None
    try:
        return to_ps(value, item=f"{where}{key}")  # type: ignore[arg-type]  # the except names it
    except InputError as error:
        raise CheckError(error.item, error.expected, error.got) from None
    except (TypeError, ArithmeticError):
        raise CheckError(f"{where}{key}", "a number of seconds", repr(value)) from None


def _stage(number: int, data: Any, schedule: Any = None) -> StageView:
    where = f"plan: stages[{number}]."
    factor, kept = 1, 0
    if schedule is not None:
        # What microbatches in flight keep counts as activations, the optimizer's state as parameters.
        factor = _get(schedule, "state_factor", int, "plan: training.schedule.")
        kept = _get(data, "kept_bytes", int, where) * (_get(data, "in_flight", int, where) - 1)
    return StageView(
        number=number,
        nodes=tuple(map(clean, _get(data, "nodes", list, where))),
        work=_time(data, "work", where),
        receive=_time(data, "io_in", where),
        send=_time(data, "io_out", where),
        overflow=_time(data, "overflow", where),
        total=_time(data, "total", where),
        param_bytes=factor * _get(data, "param_bytes", int, where),
        peak_bytes=kept + _get(data, "peak_bytes", int, where),
        device=clean(data.get("device", "")),
        place=_get(data, "place", int, where) if "place" in data else None,
    )


def _listed(stated: Mapping[str, Any], key: str) -> list[Any]:
    found: list[Any] = _get(stated, key, list, "plan: machine.") if key in stated else []
    return found


def _kind(number: int, data: Any) -> KindView:
    where = f"plan: machine.devices[{number}]."
    size = (int, type(None))
    return KindView(
        name=clean(_get(data, "name", str, where)),
        count=_get(data, "count", int, where),
        host=clean(data.get("host", "")),
        link=_link(_get(data, "link", dict, where), f"{where}link."),
        memory=_get(data, "memory", size, where),
        memory_limit=_get(data, "memory_limit", size, where),
    )


def _link(data: Any, where: str) -> LinkView:
    return LinkView(
        bandwidth=_get(data, "bandwidth", (int, type(None)), where),
        latency=_time(data, "latency", where),
        free=bool(data.get("free")),
    )


def _bound(number: int, data: Any) -> BoundView:
    where = f"plan: bounds[{number}]."
    return BoundView(
        method=clean(_get(data, "method", str, where)),
        value=_time(data, "value", where),
        seconds=_time(data, "seconds", where) / PS_PER_SECOND,
        evidence=clean(_get(data, "evidence", str, where)),
    )


def _point(number: int, data: Any) -> Point:
    where = f"plan: history[{number}]."
    return Point(
        seconds=_time(data, "seconds", where) / PS_PER_SECOND,
        phase=clean(_get(data, "phase", str, where)),
        upper=_time(data, "upper", where),
        lower=_time(data, "lower", where),
    )


def read_run_view(report: Mapping[str, Any]) -> RunView:
    """Read a run report; whatever it lacks is None or empty.

    Raises
    ------
    InputError
        If it is no run report.
    """
    stages = report.get("stages") if isinstance(report, Mapping) else None
    if not isinstance(stages, (list, tuple)) or "period" not in report:
        raise InputError(
            "run report", "the object that `stagewright run --json` prints", type(report).__name__
        )
    try:
        return _run(report, stages)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            "run report", "the object that `stagewright run --json` prints", f"a fault ({error})"
        ) from None


def _run(report: Mapping[str, Any], stages: list[Any] | tuple[Any, ...]) -> RunView:
    comparison = report.get("comparison") or {}
    equal = report.get("outputs_equal")
    settings = ("items", "engine", "threads_per_stage", "depth", "cores", "seed")
    return RunView(
        period=_measured(report.get("period")),
        predicted_period=_measured(report.get("predicted_period")),
        throughput=_number(report.get("throughput")),
        outputs_equal=None if equal is None else bool(equal),
        max_abs=_float(comparison.get("max_abs")),
        reason=clean(comparison.get("reason") or ""),
        stages=tuple(_run_stage(i, s) for i, s in enumerate(stages)),
        whole=tuple(
            WholeView(int(w["threads"]), _measured(w.get("period")), _number(w.get("speedup")))
            for w in report.get("whole") or ()
        ),
        latency=_present(report.get("latency") or {}, _measured),
        settings=tuple((key, clean(report[key])) for key in settings if key in report),
    )


def _run_stage(number: int, data: Mapping[str, Any]) -> RunStageView:
    return RunStageView(
        number=number,
        file=clean(data.get("file") or ""),
        compute=_measured(data.get("compute")),
        wait=_measured(data.get("wait")),
        send=_measured(data.get("send")),
        predicted=_measured(data.get("predicted")),
        predicted_work=_measured(data.get("predicted_work")),
    )


def _present(
    values: Mapping[str, Any], read: Callable[[Any], int | None]
) -> tuple[tuple[str, int], ...]:
    pairs = ((clean(key), read(value)) for key, value in values.items())
    return tuple((key, value) for key, value in pairs if value is not None)


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _number(value: Any) -> float | None:
    number = _float(value)
    return number if number is not None and isfinite(number) else None


def _measured(value: Any) -> int | None:
    """Return measured seconds as picoseconds; None for what is no time."""
    number = _number(value)
    return round(number * PS_PER_SECOND) if number is not None and number >= 0 else None
