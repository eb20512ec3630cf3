# SPDX-License-Identifier: Apache-2.0
"""Starting a stage's actor on some machine of a Ray cluster, and saying why one did not start or is gone."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

import numpy as np

from ..errors import RunError
from .ray_actor import StageSetup
from .stage_loop import StageSettings
from .wiring import Route

__all__ = [
    "LOOK_SECONDS",
    "PURPOSE",
    "Placement",
    "reason",
    "start_actors",
    "wait_until_ready",
]

LOOK_SECONDS: Final = 0.5
PURPOSE: Final = "Running stages on a Ray cluster"


@dataclass(frozen=True)
class Placement:
    """Where the actors of a pipeline run; see :func:`.ray_engine.ray_engine` for the attributes."""

    address: str | None = None
    resources: Sequence[Mapping[str, float]] = ()
    start_seconds: float = 60.0
    ship: bool | None = None


def start_actors(
    ray: Any,
    actor: type,
    stages: Sequence[StageSettings],
    routes: Sequence[Route],
    placement: Placement,
    options: Mapping[str, Any],
    actors: list[Any],
    secret: bytes = b"",
) -> None:
    """Ask for an actor per stage, spread over the machines; each handle is added to `actors` at once.

    Parameters
    ----------
    actor
        A class that takes a :class:`.ray_actor.StageSetup`.
    options
        Of Ray, beside those that say where.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    elsewhere = any(node["NodeManagerHostname"] != socket.gethostname() for node in nodes)
    ship = elsewhere if placement.ship is None else placement.ship
    remote = ray.remote(actor)
    for number, settings in enumerate(stages):
        given = placement.resources
        wanted = dict(given[number]) if number < len(given) else {}
        gpus = 1.0 if settings.provider == "cuda" else 0.0
        setup = StageSetup(
            number,
            settings,
            tuple(r for r in routes if r.target == number),
            tuple(r for r in routes if r.source == number),
            _files(ray, settings.path) if ship else None,
            secret,
        )
        handle = remote.options(
            num_cpus=wanted.pop("CPU", settings.threads),
            num_gpus=wanted.pop("GPU", gpus),
            resources=wanted,
            scheduling_strategy="SPREAD",
            **options,
        ).remote(setup)
        actors.append(handle)


def _files(ray: Any, path: str) -> dict[str, Any]:
    """Put a stage file and its data where every machine of the cluster can get it."""
    file = Path(path)
    return {
        part.name: ray.put(np.fromfile(part, np.uint8))
        for part in sorted(file.parent.glob(f"{file.name}*"))
    }


def wait_until_ready(ray: Any, references: Sequence[Any], seconds: float) -> list[Any]:
    """Return what a call to each stage's actor gave, once it has started.

    Raises
    ------
    RunError
        If a stage did not start, with what the cluster has left; or failed, with Ray's cause.
    """
    deadline = monotonic() + seconds
    answers = []
    for number, reference in enumerate(references):
        try:
            answers.append(ray.get(reference, timeout=max(0.0, deadline - monotonic())))
        except ray.exceptions.GetTimeoutError:
            raise RunError(
                f"stage {number} did not start within {seconds:g} s: the cluster has "
                f"{_said(ray.available_resources())} free. Add machines, or ask for less."
            ) from None
        except ray.exceptions.RayError as fault:
            raise RunError(f"stage {number} failed: {reason(fault)}") from None
    return answers


def reason(fault: Exception | None) -> str:
    """Return what a person needs of Ray's long messages."""
    text = str(fault).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(fault).__name__]
    if "__init__()" in text:  # the last line is what it raised
        return lines[-1]
    found = re.search(r"(?:is dead|died|unavailable) because (.+)", text)
    # What follows are guesses.
    return found[1].partition(" Some common causes")[0].strip() if found else lines[0]


def _said(resources: Mapping[str, float]) -> str:
    shown = [
        f"{n:g} {name}" for name, n in sorted(resources.items()) if not name.startswith("node:")
    ]
    return ", ".join(shown) or "nothing"
