# SPDX-License-Identifier: Apache-2.0
"""Devices and links: what the catalogue holds, and how it is looked up."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

from ..errors import InputError

__all__ = ["ENVIRONMENT_VARIABLE", "Catalogue", "Device", "Link", "Reach", "load_catalogue"]

ENVIRONMENT_VARIABLE: Final = "STAGEWRIGHT_DEVICES"
"""Names a catalogue file to add to the built-in one."""

_FALLBACK: Final[Mapping[str, tuple[str, ...]]] = {
    "float64": ("float64",),
    "float32": ("float32",),
    "float16": ("float16", "bfloat16", "float32"),
    "bfloat16": ("bfloat16", "float16", "float32"),
    "float8": ("float8", "bfloat16", "float16", "float32"),
    "int8": ("int8", "bfloat16", "float16", "float32"),
    "uint8": ("uint8", "int8", "bfloat16", "float16", "float32"),
    "int4": ("int4", "int8", "bfloat16", "float16", "float32"),
    "uint4": ("int4", "int8", "bfloat16", "float16", "float32"),
    "float4": ("float4", "float8", "int8", "bfloat16", "float16", "float32"),
}


@dataclass(frozen=True)
class Reach:
    """What operators of one class reach on a device; None for what all operators do.

    Attributes
    ----------
    compute, bandwidth
        Fractions of the peak rate and of the memory's rate.  `compute` may exceed 1: operations are
        counted for the plain algorithm, and a faster one (Winograd's) does fewer.
    overhead
        Picoseconds to start one operator.
    """

    compute: float | None = None
    bandwidth: float | None = None
    overhead: int | None = None


@dataclass(frozen=True)
class Device:
    """One kind of device.

    Attributes
    ----------
    name, kind
        Name in the catalogue, and a word such as ``gpu``.
    peak
        Operations per second by element type, dense, at the data sheet's clock.
    memory_bandwidth
        Bytes per second between the device's memory and its arithmetic units.
    memory
        Bytes of fast memory as the planner uses it: device memory of a GPU or TPU, on-chip memory
        of an edge accelerator.  None for no limit.
    overhead
        Picoseconds to start one operator; an assumption.
    compute_efficiency, bandwidth_efficiency
        Fractions of `peak` and `memory_bandwidth` that operators reach; assumptions.
    link
        Name of the link between two such devices unless another is asked for.
    source
        The public documents of the figures.
    classes
        What operators of some classes (:mod:`.classes`) reach, where they differ from the others.
    caches
        Pairs of bytes and bytes per second, ascending in size: what fits into a cache moves at its
        rate, times the same efficiency as in memory.
    calibration
        How the figures were measured, as texts by name; empty for figures from documents.
    """

    name: str
    kind: str
    peak: Mapping[str, int]
    memory_bandwidth: int
    memory: int | None
    overhead: int
    compute_efficiency: float
    bandwidth_efficiency: float
    link: str
    source: str
    classes: Mapping[str, Reach] = field(default_factory=dict)
    caches: tuple[tuple[int, int], ...] = ()
    calibration: Mapping[str, str] = field(default_factory=dict)

    def peak_rate(self, dtype: str) -> Fraction:
        """Return operations per second at peak for an element type, ``""`` for unknown.

        A type that the catalogue does not list for the device runs at the rate of the next wider
        type that it lists; float64 at half of float32; integers of 16 bits and more, and unknown
        types, as float32.  A device that lists nothing wide enough runs everything at its slowest
        listed rate: a model of float32 on an int8 device is planned as the int8 model that it has
        to become.
        """
        base = next((b for b in ("float8", "float4") if dtype.startswith(b)), dtype)
        for candidate in _FALLBACK.get(base, ("float32",)):
            if candidate in self.peak:
                return Fraction(self.peak[candidate])
        if base == "float64" and "float32" in self.peak:
            return Fraction(self.peak["float32"], 2)
        return Fraction(min(self.peak.values()))

    def compute_rate(self, dtype: str) -> Fraction:
        """Return the operations per second that operators of `dtype` reach."""
        return self.peak_rate(dtype) * Fraction(str(self.compute_efficiency))

    def reach(self, name: str) -> tuple[Fraction, Fraction, int]:
        """Return the fractions of compute and memory rates, and the overhead, of a class."""
        found = self.classes.get(name, _PLAIN)
        compute = self.compute_efficiency if found.compute is None else found.compute
        bandwidth = self.bandwidth_efficiency if found.bandwidth is None else found.bandwidth
        overhead = self.overhead if found.overhead is None else found.overhead
        return Fraction(str(compute)), Fraction(str(bandwidth)), overhead

    @property
    def memory_rate(self) -> Fraction:
        """The bytes per second that operators reach."""
        return self.memory_bandwidth * Fraction(str(self.bandwidth_efficiency))


_PLAIN: Final = Reach()


@dataclass(frozen=True)
class Link:
    """One kind of link between two devices.

    Attributes
    ----------
    bandwidth
        Nominal bytes per second in one direction.
    latency
        Picoseconds added to each tensor sent; an assumption.
    source
        The public document of the bandwidth.
    """

    name: str
    bandwidth: int
    latency: int
    source: str


@dataclass(frozen=True)
class Catalogue:
    """Devices and links by name; `own` are the devices of the file read last."""

    devices: Mapping[str, Device]
    links: Mapping[str, Link]
    own: tuple[Device, ...] = ()

    def device(self, name: str) -> Device:
        """Return a device.

        Parameters
        ----------
        name
            A name in the catalogue, or the path of a TOML file that holds one device (such as
            ``stagewright calibrate`` writes).

        Raises
        ------
        InputError
            If there is none of that name (the message lists similar ones), or the file cannot be
            used.
        """
        if name.endswith(".toml"):
            from .catalogue_file import read_catalogue

            own = read_catalogue(Path(name), self).own
            if len(own) != 1:
                raise InputError(name, "a file with one device", f"{len(own)} devices")
            return own[0]
        if name not in self.devices:
            raise _unknown("device", name, self.devices)
        return self.devices[name]

    def link(self, name: str) -> Link:
        """Return a link; errors as in :meth:`device`."""
        if name not in self.links:
            raise _unknown("link", name, self.links)
        return self.links[name]


def _unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    matches = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    meant = f"Did you mean {' or '.join(matches)}? " if matches else ""
    return InputError(
        f"{what} '{name}'",
        f"the name of a {what} in the catalogue",
        "an unknown one",
        f"{meant}The command 'stagewright devices' lists them all.",
    )


def load_catalogue(extra: str | Path | None = None) -> Catalogue:
    """Return the built-in catalogue with the user's devices and links added.

    The file named by the environment variable ``STAGEWRIGHT_DEVICES`` is added first, then
    `extra`.  An entry replaces one of the same name.

    Raises
    ------
    InputError
        If a file cannot be read or breaks the schema; the message names the file and the key.
    """
    from .catalogue_file import BUILT_IN, read_catalogue

    catalogue = read_catalogue(BUILT_IN, Catalogue({}, {}))
    from_environment = os.environ.get(ENVIRONMENT_VARIABLE)
    for path in (from_environment, extra):
        if path:
            catalogue = read_catalogue(Path(path), catalogue)
    return catalogue
