# SPDX-License-Identifier: Apache-2.0
"""The one door to Ray: joining a cluster, and running independent tasks on it."""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from .errors import InputError, MissingDependencyError, RunError

__all__ = ["LOCAL", "cluster", "over_ray", "ray_module"]

LOCAL: Final = "local"
"""The address that starts a cluster of its own on this machine."""

_KNOCK_SECONDS: Final = 5.0

Task = TypeVar("Task")
Answer = TypeVar("Answer")


def ray_module(purpose: str) -> Any:
    """Import and return ray.

    Raises
    ------
    MissingDependencyError
        If it is not installed; `purpose` begins the message.
    """
    # Nobody asked for reports to its makers; and what fails is told once, as an error.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise MissingDependencyError("ray", "ray", purpose) from None


@contextmanager
def cluster(address: str | None, purpose: str) -> Iterator[Any]:
    """Join a cluster, and leave it again unless the caller had joined before.

    Parameters
    ----------
    address
        ``host:port``, ``local`` for a cluster of its own on this machine, or None for the one that
        ``RAY_ADDRESS`` or this machine's files name.

    Yields
    ------
    ray
        The module.

    Raises
    ------
    InputError
        If there is no cluster at the address.
    """
    ray = ray_module(purpose)
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or "auto"
    try:
        _knock(address)
        ray.init(
            address=address,
            include_dashboard=False if address == LOCAL else None,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (OSError, ValueError, RuntimeError) as fault:
        lines = str(fault).strip().splitlines() or [type(fault).__name__]
        raise InputError(
            f"Ray cluster at '{address}'",
            "one that runs",
            lines[0],
            "Start one with `ray start --head`, or give the address 'local'.",
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError if nobody listens there; Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()


def over_ray(
    function: Callable[[Task], Answer],
    tasks: Iterable[Task],
    *,
    address: str | None = None,
    cores: float = 1,
    retries: int = 3,
) -> Iterator[Answer]:
    """Call a function with each task, anywhere in a cluster; yield the answers in the tasks' order.

    A task whose machine dies is run again elsewhere.  What the function raises is raised here, at its place.

    Parameters
    ----------
    function, tasks
        What is called, and with what; both are sent, so they are picklable, and the package is installed
        on every machine.
    address
        As of :func:`cluster`.
    cores
        Cores that one task takes.
    retries
        How often a task is run again when its machine or process dies.

    Raises
    ------
    RunError
        If a task was lost as often.
    """
    with cluster(address, "Working on several machines") as ray:
        remote = ray.remote(function).options(num_cpus=cores, max_retries=retries)
        waiting = [remote.remote(task) for task in tasks]
        try:
            for number, reference in enumerate(waiting):
                try:
                    answer: Answer = ray.get(reference)
                except ray.exceptions.RayTaskError as fault:
                    raise fault.cause from None
                except ray.exceptions.RayError as fault:
                    reason = str(fault).strip().splitlines()[0]
                    raise RunError(
                        f"task {number} was lost {retries + 1} times: {reason}"
                    ) from None
                yield answer
        finally:
            # Only what is left after an early end; cancelling what is done is not safe in Ray 2.60.
            _, left = (
                ray.wait(waiting, num_returns=len(waiting), timeout=0) if waiting else ([], [])
            )
            for reference in left:
                ray.cancel(reference)
