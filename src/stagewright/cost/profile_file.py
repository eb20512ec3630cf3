# SPDX-License-Identifier: Apache-2.0
"""What a profile holds, and its file ``stagewright-profile/1`` (docs/costs.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from ..errors import InputError
from ..files import write_whole
from ..units import INT64_MAX

__all__ = ["FORMAT", "Profile", "Time"]

FORMAT: Final = "stagewright-profile/1"


@dataclass(frozen=True)
class Time:
    """Picoseconds over the repetitions: the median, and the 10th and 90th percentile."""

    median: int
    p10: int
    p90: int


@dataclass(frozen=True)
class Profile:
    """Measured node times of one model on one machine.

    Attributes
    ----------
    model_sha256
        SHA-256 of the model file (not of external data beside it); of the nodes where PyTorch
        measured (:func:`.measured.graph_sha256`).
    nodes
        Time of every node of the model by the name that the reader gives it; 0 for nodes that the
        runtime folds away.  The medians add up to `cpu_time` with one thread, else to the
        median of `session`.
    session
        Time of a whole run without tracing.
    cpu_time
        Median picoseconds of processor time of an untraced run, all threads together.
    traced_session, trace_overhead
        Median picoseconds of a whole run while tracing, and those that were subtracted from each
        kernel for it (less than 0: added for the runtime's own time between kernels).
    attributed
        Median over the runs of (time of kernels that found their nodes) / (time of the traced
        run).  The rest is the runtime's own time between kernels.
    shapes
        Shape of each input that the model was measured with.
    threads, level, runtime
        Session options, and the runtime with its version; PyTorch runs eagerly, at ``disabled``.
    warmup, repetitions, seed
        Runs before the measured ones, measured runs, seed of the inputs.
    cpu, cores
        Name of the processor, and the cores this process could use.
    fused
        Names of the nodes of each kernel that the runtime made of several nodes.  Older files have
        none.
    pinned, others
        Cores the process was held to (``free`` for all), and the mean number of cores that other
        programs kept busy meanwhile.  Older files lack both.
    provider
        Where the runtime ran: ``cpu`` or ``cuda``.
    tuned
        How many measured pipelines corrected the node times (``stagewright tune``); they no longer add up to
        `session` then, for they hold while other stages run.
    bandwidth, latency
        Bytes per second and picoseconds of the hops in those pipelines; 0 bandwidth for unknown.
    """

    model_sha256: str
    nodes: Mapping[str, Time]
    session: Time
    cpu_time: int
    traced_session: int
    trace_overhead: int
    attributed: float
    shapes: Mapping[str, tuple[int, ...]]
    threads: int
    level: str
    runtime: str
    warmup: int
    repetitions: int
    seed: int
    cpu: str
    cores: int
    fused: tuple[tuple[str, ...], ...] = ()
    pinned: str = "free"
    others: float = 0.0
    provider: str = "cpu"
    tuned: int = 0
    bandwidth: int = 0
    latency: int = 0

    @property
    def kernels(self) -> int:
        """Sum of the median node times, picoseconds."""
        return sum(time.median for time in self.nodes.values())

    @property
    def disturbed(self) -> bool:
        """Whether one thread had its core for less than nine tenths of the time: measure again."""
        return self.threads == 1 and self.cpu_time < 0.9 * self.session.median

    def save(self, path: str | Path) -> None:
        """Write the profile; a file of that name is replaced at once or not at all.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        content["session"] = asdict(self.session)
        nodes = [{"name": name, **asdict(time)} for name, time in self.nodes.items()]
        del content["nodes"]
        document = {"format": FORMAT, "time_unit": "ps", **content, "nodes": nodes}
        write_whole(path, json.dumps(document, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Read a profile.

        Raises
        ------
        InputError
            If the file cannot be read or breaks the format; the message names file and key.
        """
        document = _parse(Path(path))
        values: dict[str, Any] = {}
        for field in fields(cls):
            item = f"{path}: {field.name}"
            if field.name not in document:
                if field.default is not MISSING:
                    continue
                raise InputError(item, "a value", "no such key")
            values[field.name] = _reader(field)(document.pop(field.name), item)
        if document:
            raise InputError(f"{path}: {next(iter(document))}", "no further key", "an unknown key")
        return cls(**values)


def _parse(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(str(path), "a readable profile", error.strerror or str(error)) from None
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), "a profile (JSON)", f"a fault: {error}") from None
    if not isinstance(document, dict):
        raise InputError(str(path), "a JSON object", type(document).__name__)
    for key, expected in (("format", FORMAT), ("time_unit", "ps")):
        found = document.pop(key, None)
        if found != expected:
            raise InputError(f"{path}: {key}", f"'{expected}'", repr(found))
    return document


def _count(value: Any, item: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= INT64_MAX:
        raise InputError(item, "a whole number from 0 to 2**63 - 1", repr(value))
    return value


def _signed(value: Any, item: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > INT64_MAX:
        raise InputError(item, "a whole number of 64 bits", repr(value))
    return value


def _text(value: Any, item: str) -> str:
    if not isinstance(value, str):
        raise InputError(item, "a text", repr(value))
    return value


def _fraction(value: Any, item: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise InputError(item, "a fraction from 0 to 1", repr(value))
    return float(value)


def _object(value: Any, item: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(item, "an object", repr(value))
    return value


def _time(value: Any, item: str) -> Time:
    table = _object(value, item)
    if set(table) != {"median", "p10", "p90"}:
        raise InputError(item, "the keys median, p10 and p90", ", ".join(table) or "none")
    return Time(**{key: _count(number, f"{item}.{key}") for key, number in table.items()})


def _shapes(value: Any, item: str) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for name, sizes in _object(value, item).items():
        if not isinstance(sizes, list):
            raise InputError(f"{item}.{name}", "a list of sizes", repr(sizes))
        shapes[name] = tuple(_count(size, f"{item}.{name}") for size in sizes)
    return shapes


def _nodes(value: Any, item: str) -> dict[str, Time]:
    if not isinstance(value, list):
        raise InputError(item, "a list of nodes", repr(value))
    nodes: dict[str, Time] = {}
    for index, entry in enumerate(value):
        here = f"{item}[{index}]"
        rest = dict(_object(entry, here))
        name = _text(rest.pop("name", None), f"{here}.name")
        if name in nodes:
            raise InputError(f"{here}.name", "a unique name", f"'{name}' again")
        nodes[name] = _time(rest, here)
    return nodes


def _kernels(value: Any, item: str) -> tuple[tuple[str, ...], ...]:
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        raise InputError(item, "a list of lists of names", repr(value))
    return tuple(tuple(_text(name, f"{item}[{i}]") for name in row) for i, row in enumerate(value))


def _reader(field: Field[Any]) -> Callable[[Any, str], Any]:
    """Return the parser for a field of a profile; annotations are texts in this module."""
    return _SPECIAL.get(field.name) or _READERS[str(field.type)]


def _cores(value: Any, item: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e6:
        raise InputError(item, "a number of cores", repr(value))
    return float(value)


_SPECIAL: Final = {"trace_overhead": _signed, "others": _cores}
_READERS: Final[dict[str, Callable[[Any, str], Any]]] = {
    "str": _text,
    "int": _count,
    "float": _fraction,
    "Time": _time,
    "Mapping[str, Time]": _nodes,
    "tuple[tuple[str, ...], ...]": _kernels,
    "Mapping[str, tuple[int, ...]]": _shapes,
}
