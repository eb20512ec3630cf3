# SPDX-License-Identifier: Apache-2.0
"""Exact quantities: picoseconds and bytes as integers, and the texts people write for them.

Times are int64 picoseconds, sizes int64 bytes.  A time that is not a whole number of picoseconds
is rounded **up**, once, where it enters: a cost is never understated.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal, InvalidOperation, localcontext
from typing import Final

from .errors import InputError

__all__ = [
    "INT64_MAX",
    "PS_PER_SECOND",
    "TIME_UNITS",
    "exact_decimal",
    "format_bytes",
    "format_rate",
    "format_time",
    "parse_bandwidth",
    "parse_bytes",
    "parse_time",
    "seconds_from_ps",
    "to_ps",
]

INT64_MAX: Final = 2**63 - 1
PS_PER_SECOND: Final = 10**12
TIME_UNITS: Final[dict[str, int]] = {"s": 10**12, "ms": 10**9, "us": 10**6, "ns": 10**3, "ps": 1}

_SIZE_UNITS: Final[dict[str, int]] = {
    "": 1,
    "b": 1,
    **{f"{p}b": 1000 ** (i + 1) for i, p in enumerate("kmgtp")},
    **{f"{p}ib": 1024 ** (i + 1) for i, p in enumerate("kmgtp")},
}
_QUANTITY = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-zµ/]*)\s*")


def exact_decimal(value: int | float | str | Decimal) -> Decimal:
    """Return `value` as the decimal number its shortest text denotes (0.1 is one tenth)."""
    return value if isinstance(value, Decimal) else Decimal(str(value))


def to_ps(value: int | float | Decimal, unit: str = "s", *, item: str = "time") -> int:
    """Convert a time to integer picoseconds, rounding up.

    Raises
    ------
    InputError
        If `value` is negative, not finite, or does not fit in int64 picoseconds.
    """
    if unit not in TIME_UNITS:
        raise InputError(item, f"a time unit out of {', '.join(TIME_UNITS)}", repr(unit))
    number = exact_decimal(value)
    if not number.is_finite() or number < 0:
        raise InputError(item, "a finite number >= 0", str(value))
    if number.adjusted() > 30:
        raise InputError(item, "at most 2**63 - 1 picoseconds (106 days)", f"{value} {unit}")
    with localcontext() as context:
        context.prec = 80
        ps = int((number * TIME_UNITS[unit]).to_integral_value(rounding=ROUND_CEILING))
    if ps > INT64_MAX:
        raise InputError(item, "at most 2**63 - 1 picoseconds (106 days)", f"{value} {unit}")
    return ps


def seconds_from_ps(ps: int) -> Decimal:
    """Return picoseconds as an exact decimal number of seconds."""
    return Decimal(int(ps)).scaleb(-12)


def _parse(text: str, item: str, expected: str) -> tuple[Decimal, str]:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise InputError(item, expected, repr(text))
    try:
        return Decimal(match[1]), match[2]
    except InvalidOperation:
        raise InputError(item, expected, repr(text)) from None


def _whole(number: Decimal, item: str, text: str) -> int:
    if number > INT64_MAX:
        raise InputError(item, "a value below 2**63", repr(text))
    return int(number.to_integral_value(rounding=ROUND_CEILING))


def parse_bytes(value: int | float | str, *, item: str = "size") -> int:
    """Read a size such as ``16GiB``, ``8MB`` or a plain number of bytes."""
    expected = "a size such as 16GiB, 8MB or a number of bytes"
    number, unit = _parse(str(value), item, expected)
    if unit.lower() not in _SIZE_UNITS:
        raise InputError(item, expected, repr(value))
    return _whole(number * _SIZE_UNITS[unit.lower()], item, str(value))


def parse_bandwidth(value: int | float | str, *, item: str = "bandwidth") -> int:
    """Read a bandwidth such as ``25GB/s``, ``100Gbit/s``, ``10Gbps`` or plain bytes per second."""
    expected = "a bandwidth above 0 such as 25GB/s, 100Gbit/s or a number of bytes per second"
    number, unit = _parse(str(value), item, expected)
    base = unit.lower().removesuffix("/s")
    divisor = 1
    if base.endswith(("bps", "bit")):
        base, divisor = base[:-2], 8
    if base not in _SIZE_UNITS or (unit and unit.lower() == base):
        raise InputError(item, expected, repr(value))
    rate = _whole(number * _SIZE_UNITS[base] / divisor, item, str(value))
    if rate <= 0:
        raise InputError(item, expected, repr(value))
    return rate


def parse_time(value: int | float | str, *, item: str = "time") -> int:
    """Read a time such as ``5us``, ``10ms`` or a plain number of seconds; picoseconds."""
    expected = "a time such as 5us, 10ms or a number of seconds"
    number, unit = _parse(str(value), item, expected)
    unit = {"": "s", "µs": "us"}.get(unit, unit)
    if unit not in TIME_UNITS:
        raise InputError(item, expected, repr(value))
    return to_ps(number, unit, item=item)


def format_time(ps: int) -> str:
    """Write picoseconds for people: ``1.234 ms``."""
    for unit, size in TIME_UNITS.items():
        if abs(ps) >= size:
            return f"{ps / size:.4g} {unit}" if abs(ps) < 1000 * size else f"{ps / size:.0f} {unit}"
    return "0 s"


def format_bytes(nbytes: int) -> str:
    """Write a size for people: ``1.5 MiB``."""
    value = float(nbytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"


def format_rate(nbytes: int) -> str:
    """Write a bandwidth for people: ``25 GB/s``."""
    value = float(nbytes)
    for unit in ("B/s", "kB/s", "MB/s", "GB/s"):
        if value < 1000:
            return f"{value:.4g} {unit}"
        value /= 1000
    return f"{value:.4g} TB/s"
