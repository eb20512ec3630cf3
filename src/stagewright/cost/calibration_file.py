# SPDX-License-Identifier: Apache-2.0
"""Writing a device as a catalogue file; :mod:`.catalogue_file` reads it back to an equal device."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from ..files import write_whole
from .catalogue import Device, Reach

__all__ = ["device_text", "save_device"]


def save_device(device: Device, path: str | Path) -> None:
    """Write a catalogue file with one device; it appears whole or not at all.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    write_whole(path, device_text(device))


def device_text(device: Device) -> str:
    """Return the TOML text of a catalogue file with one device."""
    return "\n".join(_lines(device)) + "\n"


def _lines(device: Device) -> Iterator[str]:
    name = f"devices.{_quoted(device.name)}"
    yield "# A device for --device FILE.toml; docs/costs.md explains the keys."
    yield f"[{name}]"
    yield f"kind = {_quoted(device.kind)}"
    yield f'memory_bandwidth = "{device.memory_bandwidth} B/s"'
    yield f'memory = "{"none" if device.memory is None else f"{device.memory} B"}"'
    yield f'overhead = "{device.overhead} ps"'
    yield f"compute_efficiency = {device.compute_efficiency!r}"
    yield f"bandwidth_efficiency = {device.bandwidth_efficiency!r}"
    yield f"link = {_quoted(device.link)}"
    yield f"source = {_quoted(device.source)}"
    if device.caches:
        yield "caches = ["
        for size, rate in device.caches:
            yield f'  {{ size = "{size} B", bandwidth = "{rate} B/s" }},'
        yield "]"
    yield f"\n[{name}.peak]"
    yield from (f'{dtype} = "{rate} OP/s"' for dtype, rate in device.peak.items())
    for title, reach in device.classes.items():
        yield f"\n[{name}.classes.{_quoted(title)}]"
        yield from _reach_lines(reach)
    if device.calibration:
        yield f"\n[{name}.calibration]"
        yield from (f"{_quoted(k)} = {_quoted(v)}" for k, v in device.calibration.items())


def _reach_lines(reach: Reach) -> Iterator[str]:
    if reach.compute is not None:
        yield f"compute_efficiency = {reach.compute!r}"
    if reach.bandwidth is not None:
        yield f"bandwidth_efficiency = {reach.bandwidth!r}"
    if reach.overhead is not None:
        yield f'overhead = "{reach.overhead} ps"'


def _quoted(text: str) -> str:
    """Return a TOML basic string: JSON's escapes are valid there."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
