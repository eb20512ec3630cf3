# SPDX-License-Identifier: Apache-2.0
"""What reports show of a plan, read from its document: picoseconds, bytes, clean names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import CheckError, InputError
from ..machine import Machine
from ..units import PS_PER_SECOND, to_ps

__all__ = [
    "BoundView",
    "GoalView",
    "KindView",
    "LinkView",
    "LoadView",
    "PlanView",
    "Point",
    "StageView",
    "TrainingView",
    "clean",
    "read_plan_view",
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
    unit: int | None = None
    replicas: int = 1
    sync: int = 0

    @property
    def where(self) -> str:
        """Its number, and the device that it runs on where devices differ or are shared."""
        return f"{self.number} {self.on}".rstrip()

    @property
    def on(self) -> str:
        """The device, with its number where devices are shared, and how many it runs on."""
        many = f" x {self.replicas}" if self.replicas > 1 else ""
        return f"{self.device}{'' if self.unit is None else f' {self.unit}'}{many}"

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """The parts of the total, in the order in which reports draw them."""
        return (
            ("receive", self.receive),
            ("work", self.work),
            ("send", self.send),
            ("overflow", self.overflow),
            ("sync", self.sync),
        )


@dataclass(frozen=True)
class LoadView:
    """What a shared device does for an item, all its stages together; picoseconds and bytes."""

    on: str
    stages: tuple[StageView, ...]
    total: int

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """The parts of all its stages, one stage after another."""
        return tuple(part for stage in self.stages for part in stage.parts)


@dataclass(frozen=True)
class TrainingView:
    """How a pipeline trains: the schedule's name, empty for none, and the picoseconds of a step."""

    schedule: str
    microbatches: int
    step: int


@dataclass(frozen=True)
class GoalView:
    """What a plan minimises beside the period; picoseconds, or units of cost."""

    minimise: str
    value: int
    lower: int


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
    overlap: bool = False
    training: TrainingView | None = None
    goal: GoalView | None = None

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
    def devices_used(self) -> int:
        """How many devices the stages run on."""
        return len(self.loads) if self.shared else sum(s.replicas for s in self.stages)

    @property
    def loads(self) -> tuple[LoadView, ...]:
        """The shared devices in use, in the order of their numbers; empty where each has one stage."""
        units = sorted({s.unit for s in self.stages if s.unit is not None}) if self.shared else ()
        found = []
        for unit in units:
            stages = tuple(s for s in self.stages if s.unit == unit)
            receive, work, send, overflow, sync = (
                sum(dict(s.parts)[part] for s in stages)
                for part in ("receive", "work", "send", "overflow", "sync")
            )
            longest = max(work + overflow, receive, send, sync)
            total = longest if self.overlap else work + overflow + receive + send + sync
            found.append(LoadView(stages[0].on, stages, total))
        return tuple(found)

    @property
    def worst(self) -> tuple[StageView, ...]:
        """The stages that set the pace, of shared devices those of the busiest; more than one if they tie."""
        if self.shared:
            busy = [load for load in self.loads if load.total == self.bottleneck]
            numbers = {stage.number for load in busy for stage in load.stages}
            return tuple(s for s in self.stages if s.number in numbers)
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
        overlap=bool(stated.get("overlap")),
        training=None if training is None else _training(training, schedule),
        goal=None if document.get("objective") is None else _goal(document["objective"]),
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
        unit=_get(data, "number", int, where) if "number" in data else None,
        replicas=_get(data, "replicas", int, where) if "replicas" in data else 1,
        sync=_time(data, "sync", where) if "sync" in data else 0,
    )


def _training(data: Any, schedule: Any) -> TrainingView:
    if schedule is None:
        return TrainingView("", 1, 0)
    where = "plan: training.schedule."
    name = clean(_get(schedule, "name", str, where))
    count = _get(schedule, "microbatches", int, where)
    return TrainingView(name, count, _time(data, "step", "plan: training."))


def _goal(data: Any) -> GoalView:
    where = "plan: objective."
    minimise = clean(_get(data, "minimise", str, where))
    if minimise == "cost":
        value, lower = (_get(data, key, int, where) for key in ("value", "lower_bound"))
    else:
        value, lower = (_time(data, key, where) for key in ("value", "lower_bound"))
    return GoalView(minimise, value, lower)


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
