# SPDX-License-Identifier: Apache-2.0
"""Check a plan file against its graph file, independently of everything that made them.

Standard library only, and nothing of this package: it runs as a plain file, as
``python check.py graph.json plan.json [--json] [--exhaustive SECONDS]``, with check_stages.py and
check_proofs.py beside it.  This file reads both documents and compares.  All decisions are made on
integers (picoseconds, bytes).  docs/certificate.md says what is verified and proves the flow bound.

Exit codes: 0 all verified, 1 invalid, 2 unreadable input, 3 valid as far as it could be verified.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import reprlib
import runpy
import sys
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from decimal import ROUND_CEILING, Context, Decimal
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

__all__ = ["Report", "UnreadableError", "check_files", "check_texts"]

SECOND = 10**12
UNITS = {"s": 10**12, "ms": 10**9, "us": 10**6, "ns": 10**3, "ps": 1}
READ_LIMIT = 2**30
SHOWN = 50
EXACT = Context(prec=200)
STAGE_TIMES = ("work", "io_in", "io_out", "overflow", "total")
STAGE_SIZES = ("param_bytes", "peak_bytes")
EVIDENCE = ("recomputed", "flow", "exhaustive", "claimed")


class UnreadableError(Exception):
    """A file is not JSON of the expected kind, so there is nothing to check."""


class FaultError(Exception):
    """The first thing wrong with the shape of a document."""


@dataclass
class Report:
    """What was found.  `valid` is False as soon as there is one problem."""

    valid: bool = True
    problems: list[str] = field(default_factory=list)
    verified: list[str] = field(default_factory=list)
    not_verified: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 all verified, 1 invalid, 3 valid as far as it could be verified."""
        return 1 if not self.valid else 3 if self.not_verified else 0

    def refuse(self, problems: Iterable[str]) -> bool:
        """Record problems; True when there was one."""
        found = list(problems)
        self.problems += found[:SHOWN]
        if len(found) > SHOWN:
            self.problems.append(f"and {len(found) - SHOWN} more like these")
        self.valid = self.valid and not found
        return bool(found)


# --- values -------------------------------------------------------------------------------------


def show(value: Any) -> str:
    """Return a short text of any value."""
    try:
        return reprlib.repr(value)
    except ValueError:  # an int beyond the interpreter's limit of digits
        return "a number too long to show"


def seconds(ps: int) -> str:
    """Return picoseconds as an exact decimal text of seconds."""
    return f"{ps // SECOND}.{ps % SECOND:012d}".rstrip("0").rstrip(".") + " s"


def scaled(value: Any, factor: int, item: str, *, whole: bool) -> int:
    """Return value * factor as an integer: rounded up, or refused unless it is `whole`."""
    if isinstance(value, float):
        value = Decimal(repr(value))
    if type(value) is int and 0 <= value < 10**40:
        return value * factor
    if (
        type(value) is Decimal
        and value.is_finite()
        and value >= 0
        and -60 < value.adjusted() < 40
        and len(value.as_tuple().digits) <= 80
    ):
        product = EXACT.multiply(value, Decimal(factor))
        result = int(product.to_integral_value(rounding=ROUND_CEILING))
        if whole and result != product:
            raise FaultError(f"{item}: expected a whole number of 1/{factor}, got {show(value)}")
        return result
    raise FaultError(f"{item}: expected a number >= 0 of at most 40 digits, got {show(value)}")


def index(value: Any, count: int, item: str) -> int:
    """Return `value` when it is an index below `count`."""
    if type(value) is not int or not 0 <= value < count:
        raise FaultError(f"{item}: expected an index from 0 to {count - 1}, got {show(value)}")
    return value


def typed(value: Any, kind: type, item: str) -> Any:
    """Return `value` when it is of `kind`."""
    if type(value) is not kind:
        raise FaultError(f"{item}: expected {kind.__name__}, got {show(value)}")
    return value


def two(value: Any, item: str) -> Any:
    """Return `value` when it is a list of two."""
    if len(typed(value, list, item)) != 2:
        raise FaultError(f"{item}: expected a list of two, got {show(value)}")
    return value


def keys(
    value: Any, item: str, required: Iterable[str], optional: Iterable[str] = ()
) -> dict[str, Any]:
    """Return `value` when it is an object with all the required keys and no unknown ones."""
    for key in required:
        if key not in typed(value, dict, item):
            raise FaultError(f"{item}: expected the key '{key}', got none")
    for key in value:
        if key not in required and key not in optional:
            raise FaultError(f"{item}: expected no other keys, got {show(key)}")
    return value  # type: ignore[no-any-return]  # typed() returns what it was given


# --- the graph file -----------------------------------------------------------------------------


@dataclass
class Graph:
    """A graph file's content in picoseconds and bytes; exactly one of size and time per tensor."""

    names: list[str]
    work: list[int]
    groups: list[str | None]
    pins: list[str | None]
    replicable: list[bool]
    tensors: list[tuple[int, list[int], int | None, int | None]]
    params: list[tuple[int, list[int]]]
    uncuttable: list[list[int]]

    def sha256(self) -> str:
        """Return the content hash over what a plan depends on."""
        nodes = zip(self.names, self.work, self.groups, self.pins, self.replicable, strict=True)
        content = {
            "nodes": list(nodes),
            "tensors": [
                (
                    producer,
                    consumers,
                    "cost" if size is None else "bytes",
                    cost if size is None else size,
                )
                for producer, consumers, size, cost in self.tensors
            ],
            "params": self.params,
            "uncuttable": self.uncuttable,
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


def load_graph(data: Any) -> Graph:
    """Read a graph document; FaultError where it breaks the format."""
    required = ("format", "name", "time_unit", "nodes", "tensors")
    keys(data, "graph", required, ("params", "uncuttable"))
    typed(data["name"], str, "name")
    if data["format"] != "stagewright-graph/1":
        raise FaultError(f"format: expected 'stagewright-graph/1', got {show(data['format'])}")
    unit = UNITS.get(typed(data["time_unit"], str, "time_unit"))
    if unit is None:
        raise FaultError(
            f"time_unit: expected one of {', '.join(UNITS)}, got {show(data['time_unit'])}"
        )
    graph = Graph([], [], [], [], [], [], [], [])
    for i, node in enumerate(typed(data["nodes"], list, "nodes")):
        load_node(graph, node, unit, f"nodes[{i}]")
    count = len(graph.names)
    if not count or len(set(graph.names)) < count:
        raise FaultError(f"nodes: expected at least one node and no name twice, got {count} nodes")
    for i, tensor in enumerate(typed(data["tensors"], list, "tensors")):
        item = f"tensors[{i}]"
        keys(tensor, item, ("producer", "consumers"), ("bytes", "cost"))
        if ("bytes" in tensor) == ("cost" in tensor):
            raise FaultError(f"{item}: expected either bytes or cost, got both or neither")
        size = (
            scaled(tensor["bytes"], 1, f"{item}.bytes", whole=True) if "bytes" in tensor else None
        )
        cost = scaled(tensor["cost"], unit, f"{item}.cost", whole=False) if size is None else None
        producer = index(tensor["producer"], count, f"{item}.producer")
        consumers = load_nodes(tensor["consumers"], count, f"{item}.consumers")
        graph.tensors.append((producer, consumers, size, cost))
    for i, param in enumerate(typed(data.get("params", []), list, "params")):
        keys(param, f"params[{i}]", ("bytes", "users"))
        size = scaled(param["bytes"], 1, f"params[{i}].bytes", whole=True)
        graph.params.append((size, load_nodes(param["users"], count, f"params[{i}].users")))
    for i, pair in enumerate(typed(data.get("uncuttable", []), list, "uncuttable")):
        item = f"uncuttable[{i}]"
        graph.uncuttable.append([index(v, count, item) for v in two(pair, item)])
    return graph


def load_node(graph: Graph, node: Any, unit: int, item: str) -> None:
    """Append one node to the graph."""
    keys(node, item, ("name", "work"), ("op", "flops", "bytes", "group", "stage", "replicable"))
    group, pin, replicable = node.get("group"), node.get("stage"), node.get("replicable", False)
    if not typed(node["name"], str, f"{item}.name"):
        raise FaultError(f"{item}.name: expected a name, got none")
    if group is not None:
        typed(group, str, f"{item}.group")
    if pin not in (None, "first", "last"):
        raise FaultError(f"{item}.stage: expected 'first' or 'last', got {show(pin)}")
    graph.names.append(node["name"])
    graph.work.append(scaled(node["work"], unit, f"{item}.work", whole=False))
    graph.groups.append(group)
    graph.pins.append(pin)
    graph.replicable.append(typed(replicable, bool, f"{item}.replicable"))


def load_nodes(values: Any, count: int, item: str) -> list[int]:
    """Return a sorted list of distinct node indices."""
    nodes = sorted(index(v, count, item) for v in typed(values, list, item))
    if len(set(nodes)) < len(nodes):
        raise FaultError(f"{item}: expected each node once, got one twice")
    return nodes


# --- the plan file ------------------------------------------------------------------------------


@dataclass
class Machine:
    """The machine that the plan was made for."""

    stages: int
    bandwidth: int | None
    latency: int
    memory: int | None
    limit: int | None = None
    reserved: tuple[int, ...] = ()

    def transfer(self, nbytes: int) -> int:
        """Return the picoseconds that `nbytes` take on a link, without latency, rounded up."""
        return -(-nbytes * SECOND // (self.bandwidth or 1))


@dataclass
class Plan:
    """The plan file's content: nodes as indices, times in picoseconds."""

    document: dict[str, Any]
    machine: Machine
    bottleneck: int
    lower_bound: int
    stages: list[list[int]] = field(default_factory=list)
    stated: list[dict[str, int]] = field(default_factory=list)
    bounds: list[dict[str, Any]] = field(default_factory=list)


def load_plan(data: Any, graph: Graph) -> Plan:
    """Read a plan document; FaultError where it breaks the format or names unknown nodes."""
    texts = ("format", "graph_sha256", "status", "stopped_because", "version")
    others = ("machine", "bottleneck", "lower_bound", "gap", "stages", "bounds", "seconds", "seed")
    extra = ("source", "notes", "operator_level", "history")  # nothing verified depends on them
    machine_data = data.get("machine") if isinstance(data, dict) else None
    placed = isinstance(machine_data, dict) and "devices" in machine_data
    keys(data, "plan", (*texts, *others), (*extra, "training", "objective") if placed else extra)
    for key in texts:
        typed(data[key], str, key)
    if data["format"] != "stagewright-plan/1":
        raise FaultError(f"format: expected 'stagewright-plan/1', got {show(data['format'])}")
    typed(data["seed"], int, "seed")
    scaled(data["seconds"], SECOND, "seconds", whole=False)
    if data["gap"] is not None:
        scaled(data["gap"], 1, "gap", whole=False)
    bottleneck = scaled(data["bottleneck"], SECOND, "bottleneck", whole=True)
    lower_bound = scaled(data["lower_bound"], SECOND, "lower_bound", whole=True)
    load = beside("check_devices.py")["load_fleet"] if placed else load_machine
    plan = Plan(data, load(data if placed else machine_data, graph), bottleneck, lower_bound)
    node_of = {name: i for i, name in enumerate(graph.names)}
    files = {"check_devices.py": "PLACE", "check_schedule.py": "STAGE_KEYS"} if placed else {}
    more = tuple(key for name, row in files.items() for key in beside(name)[row])
    for i, stage in enumerate(typed(data["stages"], list, "stages")):
        load_stage(plan, stage, node_of, f"stages[{i}]", more)
    for i, bound in enumerate(typed(data["bounds"], list, "bounds")):
        load_bound(plan, bound, graph, f"bounds[{i}]")
    return plan


def load_stage(
    plan: Plan, stage: Any, node_of: dict[str, int], item: str, optional: tuple[str, ...]
) -> None:
    """Append one stage to the plan."""
    keys(stage, item, ("nodes", *STAGE_TIMES, *STAGE_SIZES), optional)
    for name in typed(stage["nodes"], list, f"{item}.nodes"):
        if typed(name, str, f"{item}.nodes") not in node_of:
            raise FaultError(f"{item}.nodes: expected nodes of the graph, got {show(name)}")
    plan.stages.append([node_of[name] for name in stage["nodes"]])
    factors = dict.fromkeys(STAGE_TIMES, SECOND) | dict.fromkeys(STAGE_SIZES, 1)
    plan.stated.append(
        {key: scaled(stage[key], by, f"{item}.{key}", whole=True) for key, by in factors.items()}
    )


def load_bound(plan: Plan, bound: Any, graph: Graph, item: str) -> None:
    """Append one bound to the plan."""
    keys(bound, item, ("method", "value", "seconds", "evidence"), ("witness",))
    typed(bound["method"], str, f"{item}.method")
    if bound["evidence"] not in EVIDENCE:
        known = ", ".join(EVIDENCE)
        raise FaultError(f"{item}.evidence: expected {known}, got {show(bound['evidence'])}")
    scaled(bound["seconds"], SECOND, f"{item}.seconds", whole=False)
    if "witness" in bound:
        beside("check_proofs.py")["load_witness"](bound["witness"], graph, f"{item}.witness")
    value = scaled(bound["value"], SECOND, f"{item}.value", whole=True)
    plan.bounds.append(bound | {"value": value})


def load_machine(data: Any, graph: Graph) -> Machine:
    """Read the machine of a plan document for this graph."""
    keys(
        data, "machine", ("stages", "bandwidth", "latency", "memory"), ("memory_limit", "reserved")
    )
    stages = data["stages"]
    if type(stages) is not int or not 1 <= stages <= 2**20:
        raise FaultError(f"machine.stages: expected 1 to 1048576, got {show(stages)}")
    bandwidth, memory, limit = (
        None if data.get(key) is None else scaled(data[key], 1, f"machine.{key}", whole=True)
        for key in ("bandwidth", "memory", "memory_limit")
    )
    sized = any(not (graph.replicable[t[0]] or t[2] is None) for t in graph.tensors)
    if bandwidth == 0 or (bandwidth is None and (sized or memory is not None)):
        raise FaultError(f"machine.bandwidth: expected a number above 0, got {bandwidth}")
    latency = scaled(data["latency"], SECOND, "machine.latency", whole=True)
    rows = typed(data.get("reserved", []), list, "machine.reserved")
    reserved = tuple(scaled(row, 1, "machine.reserved", whole=True) for row in rows)
    return Machine(stages, bandwidth, latency, memory, limit, reserved)


# --- the comparison -----------------------------------------------------------------------------


def check_texts(
    graph_data: Any, plan_data: Any, *, exhaustive_seconds: float | None = None
) -> Report:
    """Check a parsed plan document against a parsed graph document.

    Both are what ``json.loads`` returns, best with ``parse_float=Decimal`` so times stay exact.
    `exhaustive_seconds` is the time for redoing exhaustive proofs; None for a few seconds' worth.
    UnreadableError if the graph is no graph document; what is wrong with the plan is a problem.
    """
    try:
        graph = load_graph(graph_data)
    except FaultError as fault:
        raise UnreadableError(f"graph file: {fault}") from None
    report = Report()
    try:
        plan = load_plan(plan_data, graph)
        stated, sha256 = plan.document["graph_sha256"], graph.sha256()
        wrong = [f"graph_sha256: states {show(stated)}, the graph's is '{sha256}'"]
        if not report.refuse(wrong if stated != sha256 else []):
            report.verified.append(f"the plan is for the graph with sha256 {sha256}")
        plain = isinstance(plan.machine, Machine)
        check = check_plan if plain else beside("check_devices.py")["check_placed"]
        check(graph, plan, report, exhaustive_seconds)
    except FaultError as fault:
        report.refuse([str(fault)])
    return report


@cache
def beside(name: str) -> dict[str, Any]:
    """Return the names that another file of the checker defines."""
    path = Path(__file__).with_name(name)
    if not path.is_file():
        raise UnreadableError(f"{name}: expected beside {__file__}, which needs it, got no file")
    # By its path: the checker works as plain files and needs no package.
    return runpy.run_path(str(path), {"tools": SimpleNamespace(**globals())})


def check_plan(graph: Graph, plan: Plan, report: Report, allowed: float | None) -> None:
    """Check the stages, their numbers, and what the plan says about bounds."""
    machine, count, parts = plan.machine, len(plan.stages), beside("check_stages.py")
    if report.refuse(parts["structure_problems"](graph, machine, plan.stages)):
        return
    report.verified.append(
        f"{count} stages hold every node once, in an order that works, within all constraints"
    )
    costs = parts["tensor_costs"](graph, machine)
    numbers = parts["stage_numbers"](graph, machine, costs, plan.stages)
    wrong = parts["number_problems"](machine, plan.stated, numbers)
    bottleneck = max(number["total"] for number in numbers)
    if not report.refuse(wrong):
        report.verified.append(
            f"the costs of all stages for {machine.stages} devices, bandwidth {machine.bandwidth} "
            f"bytes/s, latency {seconds(machine.latency)}, memory {machine.memory} bytes"
            + ("" if machine.limit is None else f", all within {machine.limit} bytes")
        )
    bounds = [bound["value"] for bound in plan.bounds]
    stated = plan.bottleneck, plan.lower_bound
    if not report.refuse(parts["summary_problems"](plan.document, stated, bounds, bottleneck)):
        report.verified.append(f"the bottleneck is {seconds(bottleneck)}; gap and status follow")
    if report.valid:  # redoing a proof may take long
        check_bounds(graph, plan, costs, report, allowed)


def check_bounds(
    graph: Graph, plan: Plan, costs: list[int], report: Report, allowed: float | None
) -> None:
    """Redo the proofs of the bounds."""
    judge = beside("check_proofs.py")["judge"]
    record(report, judge(graph, plan.machine, costs, plan.bounds, allowed))


def record(report: Report, judged: Iterable[tuple[dict[str, Any], bool | None, str]]) -> None:
    """Sort what was found about each bound."""
    for bound, answer, why in judged:
        text = f"bound {show(bound['method'])} of {seconds(bound['value'])} "
        text += f"({bound['evidence']}): {why}"
        if answer is None:
            report.not_verified.append(text)
        elif not report.refuse([] if answer else [text]):
            report.verified.append(text)


def read_json(path: str | Path) -> Any:
    """Read a JSON file, plain or gzipped, with exact numbers and no key twice in an object."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key stands twice in an object")
        return found

    try:
        with Path(path).open("rb") as file:
            data = file.read(READ_LIMIT + 1)
        if data[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as unpacked:
                data = unpacked.read(READ_LIMIT + 1)
        if len(data) > READ_LIMIT:
            raise ValueError(f"more than {READ_LIMIT} bytes")
        return json.loads(data.decode("utf-8-sig"), parse_float=Decimal, object_pairs_hook=once)
    except (OSError, EOFError, zlib.error, ValueError, ArithmeticError, RecursionError) as error:
        raise UnreadableError(f"{path}: expected a JSON file, got {error}") from None


def check_files(
    graph_path: str | Path, plan_path: str | Path, *, exhaustive_seconds: float | None = None
) -> Report:
    """Check a plan file against a graph file; see :func:`check_texts`."""
    graph_data, plan_data = read_json(graph_path), read_json(plan_path)
    return check_texts(graph_data, plan_data, exhaustive_seconds=exhaustive_seconds)


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Check a plan file against its graph file.")
    parser.add_argument("graph", help="graph file (.json or .json.gz)")
    parser.add_argument("plan", help="plan file")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--exhaustive", type=float, metavar="SECONDS", help="time for redoing exhaustive proofs"
    )
    given = parser.parse_args(arguments)
    try:
        report = check_files(given.graph, given.plan, exhaustive_seconds=given.exhaustive)
    except UnreadableError as error:
        sys.stderr.write(f"{error}\n".encode("ascii", "backslashreplace").decode())
        return 2
    found = asdict(report)
    lines = [f"{key.replace('_', ' ')}: {text}" for key in list(found)[1:] for text in found[key]]
    lines.append("the plan is valid" if report.valid else "the plan is INVALID")
    text = json.dumps(found, indent=1) if given.json else "\n".join(lines)
    sys.stdout.write(text.encode("ascii", "backslashreplace").decode() + "\n")
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
