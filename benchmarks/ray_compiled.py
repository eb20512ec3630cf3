# SPDX-License-Identifier: Apache-2.0
"""Stages in a compiled graph of Ray, to compare: what the package itself does not use, and why."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import ray

from stagewright.runtime.ray_actor import StageActor
from stagewright.runtime.ray_start import Placement, start_actors, wait_until_ready
from stagewright.runtime.settings import stage_settings
from stagewright.runtime.wiring import OUTSIDE, routes_of
from stagewright.splitting.manifest import Manifest

DEPTH = 2
# Between machines a channel holds few items: with more inside, the caller waits for a place for ever.
INSIDE = 6


class BareStage(StageActor):
    """A stage that returns what it hands on, and no times."""

    def run(self, *received: Any) -> Any:
        """Compute an item; return the values of each route out of the stage."""
        made = super().run(*received)[1:]
        return made[0] if len(made) == 1 else made

    def process(self) -> int:
        """Return the number of this process."""
        return os.getpid()


class CompiledStages:
    """Runs a folder of stage files as one compiled graph."""

    def __init__(self, folder: Path) -> None:
        from ray.dag import InputNode, MultiOutputNode

        manifest = Manifest.load(folder)
        self._routes = routes_of(manifest, DEPTH)
        self._feeds = [r for r in self._routes if r.source == OUTSIDE]
        self._results = [r for r in self._routes if r.target == OUTSIDE]
        settings = stage_settings(manifest, folder, 1, "all", pin_cores=False)
        self.actors: list[Any] = []
        options = {"max_concurrency": 1}
        start_actors(ray, BareStage, settings, self._routes, Placement(), options, self.actors)
        wait_until_ready(ray, [actor.ready.remote() for actor in self.actors], 60.0)
        nodes: dict[tuple[int, int], Any] = {}
        with InputNode() as given:
            for place, route in enumerate(self._feeds):
                nodes[-1, route.target] = given if len(self._feeds) == 1 else given[place]
            for number, actor in enumerate(self.actors):
                takes = [nodes[r.source, number] for r in self._routes if r.target == number]
                gives = [r for r in self._routes if r.source == number]
                made = actor.run.options(num_returns=len(gives)).bind(*takes)
                for place, route in enumerate(gives):
                    nodes[number, route.target] = made if len(gives) == 1 else made[place]
            last = MultiOutputNode([nodes[r.source, OUTSIDE] for r in self._results])
        most = max((t.nbytes or 0) * len(r.tensors) for r in self._routes for t in r.tensors)
        self._graph = last.experimental_compile(
            _buffer_size_bytes=2 * most + 2**16, _max_inflight_executions=INSIDE
        )

    def map(self, items: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Send items through and yield the outputs of each, in order."""
        inside: deque[Any] = deque()
        for item in items:
            values = [[item[name] for name in route.names] for route in self._feeds]
            inside.append(self._graph.execute(*values))
            if len(inside) == INSIDE:
                yield self._outputs(inside.popleft())
        while inside:
            yield self._outputs(inside.popleft())

    def _outputs(self, references: list[Any]) -> dict[str, Any]:
        found = {}
        for route, values in zip(self._results, ray.get(references), strict=True):
            # What is not let go of keeps the channel, and then the graph waits for ever.
            found.update({n: np.array(v) for n, v in zip(route.names, values, strict=True)})
        return found

    def close(self) -> None:
        """End the graph and its actors."""
        with suppress(Exception):  # a graph that hangs may end its machines with it
            self._graph.teardown()
        for actor in self.actors:
            ray.kill(actor)


def first_outputs(folder: Path, feeds: list[Mapping[str, Any]]) -> str:
    """Return whether items come out of a graph at all, and if not what is raised."""
    stages = CompiledStages(folder)
    try:
        return f"{len(list(stages.map(feeds)))} of {len(feeds)} items came out"
    except Exception as fault:  # noqa: BLE001  # whatever it raises is what is asked for
        return f"{type(fault).__name__} after {ray.dag.DAGContext.get_current().get_timeout} s"
    finally:
        stages.close()


def kill_a_process(folder: Path, feeds: list[Mapping[str, Any]]) -> tuple[int, str, float, int]:
    """Kill the middle stage's process after a quarter of a stream.

    Returns
    -------
    tuple
        Items that came out, what was raised, seconds from the kill until then, and machines that the cluster lost.
    """
    stages = CompiledStages(folder)
    process = ray.get(stages.actors[len(stages.actors) // 2].process.remote())
    machines = _alive()
    done, said, killed = 0, "nothing", 0.0
    try:
        for _ in stages.map(feeds):
            done += 1
            if done == len(feeds) // 4:
                killed = time.perf_counter()
                os.kill(process, signal.SIGKILL)
    except Exception as fault:  # noqa: BLE001  # whatever it raises is what is asked for
        said = type(fault).__name__
    seconds = time.perf_counter() - killed
    stages.close()
    time.sleep(4)  # until the cluster knows who has gone
    return done, said, seconds, machines - _alive()


def _alive() -> int:
    return sum(node["Alive"] for node in ray.nodes())
