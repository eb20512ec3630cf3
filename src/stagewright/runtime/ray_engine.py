# SPDX-License-Identifier: Apache-2.0
"""Stages as Ray actors, on the machines of a cluster: by which channel they hand items on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal

from ..errors import InputError
from .engines import Engine, MakeEngine
from .ray_objects import ObjectEngine
from .ray_start import Placement
from .socket_engine import SocketEngine
from .sockets import UnreachableError
from .stage_loop import StageSettings
from .wiring import Route

__all__ = ["RayChannel", "ray_engine"]

RayChannel = Literal["auto", "sockets", "objects"]
"""How stages on a cluster hand items on."""

_CHANNELS = ("auto", "sockets", "objects")


def ray_engine(
    address: str | None = None,
    *,
    resources: Sequence[Mapping[str, float]] = (),
    start_seconds: float = 60.0,
    ship: bool | None = None,
    channel: RayChannel = "auto",
) -> MakeEngine:
    """Return what :class:`~stagewright.runtime.Pipeline` takes as ``engine`` to run on a Ray cluster.

    Parameters
    ----------
    address
        ``host:port``, ``local``, or None for the cluster that this machine belongs to.
    resources
        For each stage what its actor asks for, ``{"CPU": 2, "GPU": 1, "big": 1}``; by default as many CPUs
        as it has threads, and a GPU where the provider is ``cuda``.  Stages spread over the machines.
    start_seconds
        How long a stage may wait for a machine.
    ship
        Whether stage files are sent through Ray; by default where some machine is another than this.
    channel
        ``sockets``: stages connect with each other.  ``objects``: what a stage gives is an object of Ray, and an
        item is a call per stage; slower, but all that Ray connects suffices.  ``auto``: sockets, and objects with
        a warning where machines cannot connect.

    Raises
    ------
    InputError
        If `channel` is none of these.

    Examples
    --------
    >>> engine = ray_engine("10.0.0.1:6379")
    >>> with Pipeline("stages", engine=engine, restart=3) as pipeline:  # doctest: +SKIP
    ...     outputs = pipeline.run({"x": array})
    """
    if channel not in _CHANNELS:
        raise InputError("channel", " or ".join(map(repr, _CHANNELS)), repr(channel))
    placement = Placement(address, resources, start_seconds, ship)

    def make(stages: Sequence[StageSettings], routes: Sequence[Route], restart: int) -> Engine:
        if channel != "objects":
            try:
                return SocketEngine(stages, routes, restart, placement)
            except UnreachableError as fault:
                if channel == "sockets":
                    raise
                warnings.warn(f"{fault}; items go through Ray's objects instead", stacklevel=2)
        return ObjectEngine(stages, routes, restart, placement)

    return make
