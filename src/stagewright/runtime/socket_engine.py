# SPDX-License-Identifier: Apache-2.0
"""Stages as Ray actors that are connected with each other: Ray places them and starts them again, and no more.

The engine works as that of local processes does.  Each actor runs the loop of a stage; a connection per route
carries the items (:mod:`.sockets`).  An actor whose process or machine dies closes its connections and so ends
the work of all; the others keep their loaded stages, Ray starts the one that is gone again, and all are connected
anew.  A machine that vanishes without a word is noticed by Ray's health checks.
"""

from __future__ import annotations

import secrets
import select
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from time import monotonic, perf_counter
from typing import Any, Final

from ..errors import RunError
from ..raylink import cluster
from .channels import Receiver, Sender
from .engines import Failure
from .ray_start import LOOK_SECONDS, PURPOSE, Placement, reason, start_actors, wait_until_ready
from .socket_actor import SocketActor, control_line, times_line
from .socket_link import Link
from .sockets import (
    SECRET_BYTES,
    Address,
    Line,
    SocketReceiver,
    SocketSender,
    UnreachableError,
    connect,
)
from .stage_loop import RECORDS_BYTES, StageSettings, Times
from .stalls import Watch
from .wiring import OUTSIDE, Route

__all__ = ["SocketEngine"]

# Who waits for the news of a fault does so for two seconds: until then the neighbours have said what they
# know of it, or Ray has said why.
_SAY_SECONDS: Final = 1.0
_CAUSE_SECONDS: Final = 1.5
_DOOR_CALLS: Final = (
    4  # calls of an actor at once: work, the work before it, listen, and one to spare
)


class SocketEngine:
    """One actor per stage, connected with its neighbours.

    Parameters
    ----------
    stages, routes, restart
        As of :data:`.engines.MakeEngine`.
    placement
        Where the actors run.

    Raises
    ------
    UnreachableError
        If machines cannot connect with each other.
    RunError
        If a stage does not start.
    """

    def __init__(
        self,
        stages: Sequence[StageSettings],
        routes: Sequence[Route],
        restart: int,
        placement: Placement,
    ) -> None:
        self.failure = Failure()
        self.feeds: Sequence[SocketSender] = ()
        self.results: Sequence[SocketReceiver] = ()
        self._stages, self._routes, self._restart = stages, routes, restart
        self._seconds = placement.start_seconds
        self._times = [Times(bytearray(RECORDS_BYTES)) for _ in stages]
        self._links: list[Link] = []
        self._asking = threading.Lock()
        self._generation = self._fruitless = 0
        self._closing = self._wired = False
        self._secret = secrets.token_bytes(SECRET_BYTES)
        self._actors: list[Any] = []
        self._watch = Watch([s.stall_after for s in stages], routes, _Seen(self))
        self._wake_out, self._wake_in = socket.socketpair()
        self._monitor = threading.Thread(target=self._look, name="pipeline monitor", daemon=True)
        self._stack = ExitStack()
        self._ray = self._stack.enter_context(cluster(placement.address, PURPOSE))
        options = {
            # Restarts in a row are counted here.
            "max_restarts": -1 if restart else 0,
            "max_concurrency": _DOOR_CALLS,
        }
        try:
            start_actors(
                self._ray,
                SocketActor,
                stages,
                routes,
                placement,
                options,
                self._actors,
                self._secret,
            )
            self._wire()
            self._monitor.start()
        except BaseException:
            self.close()
            raise

    @property
    def times(self) -> Sequence[Times]:
        """The times of the stages, asked for now."""
        self._ask()
        return self._times

    # --- connecting ----------------------------------------------------------------------------

    def _wire(self) -> None:
        """Connect all stages and wait until they work.

        Raises
        ------
        RunError
            If one of them is gone, or cannot load its stage, or be reached.
        """
        self._generation += 1
        found = wait_until_ready(self._ray, [self._listen(a) for a in self._actors], self._seconds)
        addresses = [address for address, _ in found]
        now = time.time() - perf_counter()
        for one in self._times:
            one.restart()
        links = []
        try:
            for number, (actor, (address, zero)) in enumerate(
                zip(self._actors, found, strict=True)
            ):
                work = actor.work.remote(self._generation, addresses, self._seconds)
                links.append(
                    Link(
                        number,
                        work,
                        self._connect(address, control_line(self._generation, number)),
                        self._connect(address, times_line(self._generation, number)),
                        zero - now,
                    )
                )
            self._connect_ends(addresses)
            self._wait_until_working(links)
        except BaseException:
            for link in links:
                link.close()
            raise
        with self._asking:
            self._links = links
        self._wired = True

    def _listen(self, actor: Any) -> Any:
        # Asked again of the process that Ray starts in place of one that died.
        return actor.listen.options(max_task_retries=-1 if self._restart else 0).remote()

    def _connect(self, address: Address, line: Line) -> socket.socket:
        return connect(address, self._secret, line)

    def _connect_ends(self, addresses: Sequence[Address]) -> None:
        feeds, results = [], []
        try:
            for route in self._routes:
                line = Line(self._generation, route.source, route.target)
                if route.source == OUTSIDE:
                    feeds.append(SocketSender(route, self._connect(addresses[route.target], line)))
                elif route.target == OUTSIDE:
                    sock = self._connect(addresses[route.source], line)
                    results.append(SocketReceiver(route, sock))
        finally:
            self.feeds, self.results = feeds, results

    def _wait_until_working(self, links: Sequence[Link]) -> None:
        # Whoever still computes for the time before may do so as long as with any item.
        deadline = monotonic() + max(self._seconds, *(s.stall_after for s in self._stages))
        for link in links:
            while not link.ready(LOOK_SECONDS):
                self._raise_if_ended(links)
                if monotonic() > deadline:
                    self._end(link.number)
                    raise RunError(f"stage {link.number} stalled: it did not let go of its work")

    def _raise_if_ended(self, links: Sequence[Link]) -> None:
        if self._closing:
            raise RunError("the pipeline was closed")
        for link in links:
            done, _ = self._ray.wait([link.work], timeout=0)
            if done:
                try:
                    self._ray.get(link.work)
                except self._ray.exceptions.RayTaskError as fault:
                    if isinstance(fault.cause, UnreachableError):
                        raise UnreachableError(str(fault.cause)) from None
                    raise RunError(f"stage {link.number} failed: {reason(fault.cause)}") from None
                except self._ray.exceptions.RayError as fault:
                    raise RunError(f"stage {link.number} died: {reason(fault)}") from None
        for link in links:
            if link.gone:
                raise RunError(f"stage {link.number} died: its process has gone")

    # --- watching ------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Bring the times up to date, of the stages that answer."""
        with self._asking:
            for link in self._links:
                link.ask(self._times[link.number], _SAY_SECONDS)

    def _look(self) -> None:
        """Look for stages that die, fail or stall, until the engine closes; runs in a thread."""
        while not self._closing:
            links = self._links if self._wired else []
            watched = {link.control: link for link in links}
            try:
                ready, _, _ = select.select(
                    [self._wake_out, *watched], [], [], self._watch.interval
                )
            except (OSError, ValueError):  # closed meanwhile
                continue
            if self._wake_out in ready:
                self._wake_out.recv(1)
                continue
            gone = [watched[control] for control in ready]
            if gone:
                self._fail(gone[0].number, "died", self._words(gone[0]))
            elif links and self._wired:
                self._look_at_work(links)

    def _look_at_work(self, links: Sequence[Link]) -> None:
        over, _ = self._ray.wait([k.work for k in links], num_returns=len(links), timeout=0)
        for link in links:
            if link.work in over and (words := self._words(link)):
                self._fail(link.number, "failed" if link.failed else "died", words)
                return
        if over:  # all processes are there, and a connection broke
            number = next(link.number for link in links if link.work in over)
            self._fail(number, "ended", "a connection broke")
            return
        self._ask()
        for number, text in self._watch.stalled():
            self._fail(number, "stalled", text)
            self._end(number)
            return

    def _words(self, link: Link) -> str:
        """Return why a stage's work ended, in Ray's words; nothing if it ended as it should."""
        errors = self._ray.exceptions
        try:
            # Who starts it again need not know.
            self._ray.get(link.work, timeout=0 if self._restart else _CAUSE_SECONDS)
        except (errors.GetTimeoutError, errors.ActorUnavailableError):
            return "its process has gone"
        except errors.RayTaskError as fault:
            link.failed = True
            return f"{type(fault.cause).__name__}: {fault.cause}"
        except errors.RayError as fault:
            return reason(fault)
        return "its process has gone" if link.gone else ""

    def _fail(self, number: int, what: str, words: str) -> None:
        self._wired = False
        for link in self._links:
            link.let_go()
        item = self._item_in_hands(number) if self._restart else None
        if not self._closing:
            self.failure.set(f"stage {number} {what}: {words}", number, item)
        self._stop_ends()
        if not self._restart:
            self._kill_actors()

    def _item_in_hands(self, number: int) -> int | None:
        """Return the item that a stage had and had not computed, as its neighbours know; None if they do not."""
        given = []
        deadline = monotonic() + _SAY_SECONDS
        for route in self._routes:
            if route.target != number:
                continue
            if route.source == OUTSIDE:
                (feed,) = (f for f in self.feeds if f.route.target == number)
                feed.count_places()
                given.append((feed.sent, feed.released))
                continue
            link = self._links[route.source]
            with self._asking:
                while not link.places_are_final and monotonic() < deadline:
                    if not link.ask(self._times[route.source], deadline - monotonic()):
                        break
                if not link.places_are_final:
                    return None
                given.append(link.places.get(number, (0, 0)))
        item = min(released for _, released in given)
        return item if all(sent > item for sent, _ in given) else None

    def _end(self, number: int) -> None:
        """End a stage's process; Ray starts it again if it may."""
        with suppress(Exception):  # it may be gone, or the cluster
            self._ray.kill(self._actors[number], no_restart=not self._restart)

    # --- starting again, and ending ------------------------------------------------------------

    def revive(self) -> None:
        """Have Ray start the stages that are gone again, and connect all anew.

        Raises
        ------
        RunError
            If a stage cannot be loaded, or dies more often in a row than it may without an item coming out.
        """
        got = min((r.released for r in self.results), default=0)
        self._fruitless = 0 if got else self._fruitless + 1
        if self._fruitless > self._restart:
            raise RunError(f"{self.failure.news(0).text}, and no item came out in between")
        for attempt in range(self._restart + 1):
            self._unwire()
            self.failure.clear()
            self._watch.restart()
            try:
                self._wire()
            except RunError as fault:
                if attempt == self._restart or " failed: " in str(fault) or self._closing:
                    self.kill()
                    raise
            else:
                self._wake_in.send(b".")
                return

    def _unwire(self) -> None:
        self._wired = False
        with self._asking:
            links, self._links = self._links, []
        for link in links:
            link.close()
        ends: list[SocketSender | SocketReceiver] = [*self.feeds, *self.results]
        for one in ends:
            one.close()

    def kill(self) -> None:
        """End all actors; whoever waits for an item is told."""
        self._closing = True
        self._stop_ends()
        self._kill_actors()
        with suppress(OSError):
            self._wake_in.send(b".")

    def _stop_ends(self) -> None:
        ends: list[SocketSender | SocketReceiver] = [*self.feeds, *self.results]
        for one in ends:
            one.stop()

    def _kill_actors(self) -> None:
        # Once the cluster was left, the first call would start another.
        actors, self._actors = self._actors, []
        for actor in actors if self._ray.is_initialized() else ():
            with suppress(Exception):  # it may be gone, or the cluster
                self._ray.kill(actor)

    def close(self) -> None:
        """End all actors, and leave the cluster if this engine joined it."""
        if not self._closing:
            self._ask()  # what they did is told once more afterwards
        self.kill()
        if self._monitor.is_alive():
            self._monitor.join()
        self._unwire()
        self._wake_in.close()
        self._wake_out.close()
        self._stack.close()


class _Seen:
    """The engine as the watch looks at it: with the times that are known, without asking for each."""

    def __init__(self, engine: SocketEngine) -> None:
        self._engine = engine

    @property
    def times(self) -> Sequence[Times]:
        return self._engine._times

    @property
    def feeds(self) -> Sequence[Sender]:
        return self._engine.feeds

    @property
    def results(self) -> Sequence[Receiver]:
        return self._engine.results
