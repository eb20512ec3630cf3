# SPDX-License-Identifier: Apache-2.0
"""The door of catalogue files: TOML tables of devices and links (docs/costs.md)."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from ..errors import InputError
from ..units import INT64_MAX, parse_bandwidth, parse_bytes, parse_time
from .catalogue import Catalogue, Device, Link, Reach
from .classes import CLASSES

__all__ = ["BUILT_IN", "read_catalogue"]

BUILT_IN: Final = Path(__file__).parent / "devices.toml"

_Table = Mapping[str, Any]
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kMGTP]?)(?:FL)?OP/s")
_PREFIXES: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_DTYPES: Final = (
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "float8",
    "float4",
    "int8",
    "uint8",
    "int4",
)


def read_catalogue(path: Path, base: Catalogue) -> Catalogue:
    """Return `base` with the entries of a catalogue file added.

    Raises
    ------
    InputError
        As :func:`stagewright.cost.catalogue.load_catalogue`.
    """
    document = _parse(path)
    unknown = sorted(set(document) - {"devices", "links"})
    if unknown:
        raise InputError(
            f"{path}: {unknown[0]}", "only the tables 'devices' and 'links'", "another"
        )
    links = dict(base.links)
    for name, table in _tables(document, "links", path):
        links[name] = _link(name, table, f"{path}: links.{name}")
    devices = dict(base.devices)
    raw = dict(_tables(document, "devices", path))
    done: set[str] = set()
    for name in raw:
        _add_device(name, raw, devices, done, (), path)
    for name in raw:
        if devices[name].link not in links:
            raise InputError(
                f"{path}: devices.{name}.link",
                "the name of a link in the catalogue",
                repr(devices[name].link),
                "Add a table for the link, or use one that 'stagewright devices' lists.",
            )
    return Catalogue(devices, links, tuple(devices[name] for name in raw))


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            str(path), "a readable catalogue file", error.strerror or str(error)
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(str(path), "a TOML file", f"a fault: {error}") from None


def _tables(document: _Table, kind: str, path: Path) -> list[tuple[str, _Table]]:
    tables = _table(document.get(kind, {}), f"{path}: {kind}")
    return [(name, _table(table, f"{path}: {kind}.{name}")) for name, table in tables.items()]


def _table(value: Any, item: str) -> _Table:
    if not isinstance(value, dict):
        raise InputError(item, "a table", repr(value))
    return value


def _add_device(
    name: str,
    raw: Mapping[str, _Table],
    devices: dict[str, Device],
    done: set[str],
    path_here: tuple[str, ...],
    path: Path,
) -> None:
    """Read one device into `devices`, after the one that it extends.

    A device may extend one of its own name: the one of the catalogue read before.
    """
    if name in done:
        return
    item = f"{path}: devices.{name}"
    table = dict(raw[name])
    parent: Device | None = None
    if "extends" in table:
        wanted = _text(table.pop("extends"), f"{item}.extends")
        if wanted in path_here:
            circle = " -> ".join((*path_here, name, wanted))
            raise InputError(f"{item}.extends", "a device that does not extend this one", circle)
        if wanted in raw and wanted != name:
            _add_device(wanted, raw, devices, done, (*path_here, name), path)
        if wanted not in devices:
            raise InputError(
                f"{item}.extends",
                "the name of a device in the catalogue",
                repr(wanted),
                "The command 'stagewright devices' lists them all.",
            )
        parent = devices[wanted]
    devices[name] = _device(name, table, parent, item)
    done.add(name)


def _device(name: str, table: _Table, parent: Device | None, item: str) -> Device:
    values = _values(table, _DEVICE_KEYS, item, needed=parent is None)
    if parent is not None:
        inherited = {key: getattr(parent, key) for key in _DEVICE_KEYS}
        for key in ("peak", "classes"):
            values[key] = {**inherited[key], **values.get(key, {})}
        values = {**inherited, **values}
    return Device(name=name, **values)


def _link(name: str, table: _Table, item: str) -> Link:
    return Link(name=name, **_values(table, _LINK_KEYS, item, needed=True))


def _values(
    table: _Table, keys: Mapping[str, Callable[[Any, str], Any]], item: str, *, needed: bool
) -> dict[str, Any]:
    """Read the keys of a table, each with its own parser; refuse others."""
    for key in table:
        if key not in keys:
            raise InputError(
                f"{item}.{key}", f"one of the keys {', '.join(keys)}", "an unknown key"
            )
    for key in keys:
        if needed and key not in table and key not in _OPTIONAL:
            raise InputError(f"{item}.{key}", "a value", "no such key")
    return {key: keys[key](value, f"{item}.{key}") for key, value in table.items()}


def _text(value: Any, item: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(item, "a non-empty text", repr(value))
    return value


def _with_unit(example: str, value: Any, item: str) -> str:
    """Demand a text: a bare number would leave its unit to guessing."""
    if not isinstance(value, str):
        raise InputError(item, f"a text with a unit such as '{example}'", repr(value))
    return value


def _operations(value: Any, item: str) -> int:
    text = _with_unit("989 TFLOP/s", value, item)
    match = _RATE.fullmatch(text.strip())
    rate = int(Decimal(match[1]) * _PREFIXES[match[2]]) if match else 0
    if not 0 < rate <= INT64_MAX:
        raise InputError(item, "a rate above 0 such as '989 TFLOP/s' or '4 TOP/s'", repr(text))
    return rate


def _peak(value: Any, item: str) -> dict[str, int]:
    table = _table(value, item)
    for dtype in table:
        if dtype not in _DTYPES:
            raise InputError(
                f"{item}.{dtype}", f"an element type out of {', '.join(_DTYPES)}", "another"
            )
    if not table:
        raise InputError(item, "a rate for at least one element type", "none")
    return {dtype: _operations(rate, f"{item}.{dtype}") for dtype, rate in table.items()}


def _classes(value: Any, item: str) -> dict[str, Reach]:
    """Read what operators of some classes reach."""
    reach = {}
    for name, table in _table(value, item).items():
        if name not in CLASSES:
            raise InputError(f"{item}.{name}", f"a class out of {', '.join(CLASSES)}", "another")
        here = f"{item}.{name}"
        keys = _values(_table(table, here), _REACH_KEYS, here, needed=False)
        reach[name] = Reach(
            keys.get("compute_efficiency"), keys.get("bandwidth_efficiency"), keys.get("overhead")
        )
    return reach


def _caches(value: Any, item: str) -> tuple[tuple[int, int], ...]:
    """Read the caches: a list of tables with size and bandwidth, the smallest first."""
    if not isinstance(value, list):
        raise InputError(item, "a list of tables", repr(value))
    caches = []
    for index, entry in enumerate(value):
        here = f"{item}[{index}]"
        keys = _values(_table(entry, here), _CACHE_KEYS, here, needed=True)
        if keys["size"] is None:
            raise InputError(f"{here}.size", "a size such as '32 MiB'", "'none'")
        caches.append((keys["size"], keys["bandwidth"]))
    if caches != sorted(caches, key=lambda cache: (cache[0], -cache[1])):
        raise InputError(item, "caches in ascending order of size", "another order")
    return tuple(caches)


def _texts(value: Any, item: str) -> dict[str, str]:
    return {key: _text(text, f"{item}.{key}") for key, text in _table(value, item).items()}


def _bandwidth(value: Any, item: str) -> int:
    text = _with_unit("3.35 TB/s", value, item)
    if not text.strip().endswith(("/s", "bps")):
        raise InputError(item, "a rate such as '3.35 TB/s' or '100 Gbit/s'", repr(text))
    return parse_bandwidth(text, item=item)


def _memory(value: Any, item: str) -> int | None:
    text = _with_unit("80 GB", value, item)
    if text == "none":
        return None
    if not text.strip().upper().endswith("B"):
        raise InputError(item, "a size such as '80 GB', or 'none' for no limit", repr(text))
    return parse_bytes(text, item=item)


def _time(value: Any, item: str) -> int:
    text = _with_unit("3 us", value, item)
    if not text.strip().endswith("s"):
        raise InputError(item, "a time such as '3 us'", repr(text))
    return parse_time(text, item=item)


def _fraction(value: Any, item: str, most: float = 1.0) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 < value <= most:
        raise InputError(item, f"a fraction above 0 and at most {most:g}", repr(value))
    return float(value)


def _gain(value: Any, item: str) -> float:
    """Read a fraction of the peak; a faster algorithm than the plain one may exceed it."""
    return _fraction(value, item, 4.0)


_DEVICE_KEYS: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "kind": _text,
    "memory_bandwidth": _bandwidth,
    "memory": _memory,
    "overhead": _time,
    "compute_efficiency": _fraction,
    "bandwidth_efficiency": _fraction,
    "link": _text,
    "source": _text,
    "peak": _peak,
    "classes": _classes,
    "caches": _caches,
    "calibration": _texts,
}
_OPTIONAL: Final = frozenset({"classes", "caches", "calibration"})
_REACH_KEYS: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "compute_efficiency": _gain,
    "bandwidth_efficiency": _fraction,
    "overhead": _time,
}
_CACHE_KEYS: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "size": _memory,
    "bandwidth": _bandwidth,
}
_LINK_KEYS: Final[Mapping[str, Callable[[Any, str], Any]]] = {
    "bandwidth": _bandwidth,
    "latency": _time,
    "source": _text,
}
