# SPDX-License-Identifier: Apache-2.0
"""What somebody sees when a stage of a running pipeline raises, dies or stalls.

Three stages; the middle one computes as many rounds of a loop as the item says.  Every item carries its number
through, so that one that is lost, repeated or in another's place is found.  Seconds run from the fault (for what
never ends or is stopped: from the limit) to the first error that the caller gets; with restart, to the first answer
after it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import onnx.parser
from benchmarks.common import header, row, table

from stagewright import api
from stagewright.errors import RunError, StagewrightError
from stagewright.plans import Plan
from stagewright.runtime import Pipeline
from stagewright.splitting import split_onnx

_MODEL = """<ir_version: 8, opset_import: ["" : 17]>
faults (int64 times, int64[1] i, float[1, 256] x) => (float[1, 256] y) {
    [first] p = Neg(x)
    [go] c = Constant<value = bool {1}>()
    [loop] q = Loop(times, c, p) <body = body (int64 k, bool go, float[1, 256] v) =>
        (bool going, float[1, 256] w) { going = Identity(go) w = Identity(v) }>
    [pick] r = Gather<axis = 1>(q, i)
    [spread] s = Sub(q, r)
    [add] t = Add(s, r)
    [last] y = Neg(t)
}"""
_FOREVER = 1 << 60
_STALL = 0.5


@dataclass
class Seen:
    """What came of the items, in the caller's eyes."""

    asked: int = 0
    right: int = 0
    failed: int = 0
    wrong: int = 0
    unanswered: int = 0
    fault_at: float = 0.0
    told_after: float | None = None
    texts: list[str] = field(default_factory=list)

    def add(self, number: int, answer: Any) -> None:
        """Judge the answer in the place of item `number`."""
        if isinstance(answer, Exception):
            self.failed += 1
            self.texts.append(str(answer))
        elif answer["y"].shape == (1, 256) and (answer["y"] == number).all():
            self.right += 1
        else:
            self.wrong += 1
        if self.fault_at and self.told_after is None:
            self.told_after = time.perf_counter() - self.fault_at


def item(number: int, times: int = 20, index: int = 0) -> dict[str, Any]:
    return {
        "times": np.array(times),
        "i": np.array([index]),
        "x": np.full((1, 256), number, np.float32),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=10_000, help="in the run without fault")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    header("Faults in a running pipeline")
    table(
        [
            "fault",
            "restart",
            "items",
            "right",
            "failed",
            "wrong or out of order",
            "no answer",
            "times",
            "seconds, median",
            "longest",
            "what the caller reads",
        ]
    )
    fine = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = _folder(Path(temporary))
        for name, restart, times, trial in _trials(options):
            found = [trial(folder, random.Random(options.seed + t)) for t in range(times)]
            fine &= _show(name, restart, found)
        _bounded(folder)
    print(f"\nLeft behind: {_left_behind()}.")
    return 0 if fine else 1


Trial = Callable[[Path, random.Random], Seen]


def _trials(options: argparse.Namespace) -> Iterator[tuple[str, int, int, Trial]]:
    def stream(folder: Path, rng: random.Random) -> Seen:
        with Pipeline(folder) as pipeline:
            return _listen(pipeline, (item(i) for i in range(options.items)), Seen())

    yield "none", 0, 1, stream
    yield "a kernel raises (item 7 of 20)", 0, 5, _raises
    yield "killed (SIGKILL)", 0, options.kills, _killed
    yield "killed (SIGKILL)", 3, 5, lambda f, r: _killed(f, r, restart=3)
    storm = options.kills  # restarts in a row, for kills may come faster than a stage can start
    yield f"killed {storm} times in a stream", storm, 1, lambda f, r: _storm(f, r, storm)
    yield f"an item never ends (limit {_STALL} s)", 0, 3, _stalls
    yield f"an item never ends (limit {_STALL} s)", 1, 3, lambda f, r: _stalls(f, r, restart=1)
    yield f"stopped (SIGSTOP, limit {_STALL} s)", 1, 3, _stopped


def _folder(temporary: Path) -> Path:
    """Write the stages; the cut is chosen here, for the fault has to be in the middle."""
    path = temporary / "faults.onnx"
    onnx.save(onnx.parser.parse_model(_MODEL), path)
    graph = api.read(path, device="h100-sxm")
    groups = (["first"], ["loop", "pick"], ["spread", "add", "last"])
    plan = Plan(tuple(tuple(graph.index_of[n] for n in group) for group in groups))
    split_onnx(path, graph, plan, temporary / "stages", document=None)
    return temporary / "stages"


def _listen(pipeline: Pipeline, items: Iterator[dict[str, Any]], seen: Seen) -> Seen:
    """Stream items through and judge each answer; an item without one is counted as such."""
    taken = answered = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal taken
        for each in items:
            taken += 1
            yield each

    try:
        for number, answer in enumerate(pipeline.map(counted(), on_error="yield")):
            seen.add(number, answer)
            answered += 1
    except StagewrightError as fault:
        # The pipeline is down: the item that could not enter any more is told of by this error.
        if taken > answered:
            seen.add(answered, fault)
            answered += 1
    seen.asked, seen.unanswered = taken, taken - answered
    return seen


def _raises(folder: Path, rng: random.Random) -> Seen:
    seen = Seen(asked=20)
    with Pipeline(folder) as pipeline:
        pipeline.run(item(0))
        start = time.perf_counter()
        futures = [pipeline.submit(item(i, index=999 * (i == 7))) for i in range(20)]
        for number, future in enumerate(futures):
            fault = future.exception(timeout=30)
            seen.add(number, fault if fault is not None else future.result())
            if fault is not None:
                seen.told_after = time.perf_counter() - start
    return seen


def _endless(stop: threading.Event) -> Iterator[dict[str, Any]]:
    for number in itertools.count():
        if stop.is_set():
            return
        yield item(number)


def _killed(folder: Path, rng: random.Random, restart: int = 0) -> Seen:
    """Kill one worker at some time in a stream."""
    return _struck(folder, rng, signal.SIGKILL, restart)


def _stopped(folder: Path, rng: random.Random) -> Seen:
    return _struck(folder, rng, signal.SIGSTOP, 1)


def _struck(folder: Path, rng: random.Random, what: signal.Signals, restart: int) -> Seen:
    seen, stop = Seen(), threading.Event()
    with Pipeline(folder, restart=restart, stall_after=_STALL) as pipeline:
        pids = pipeline._engine.processes  # type: ignore[attr-defined]

        def strike() -> None:
            time.sleep(rng.uniform(0.02, 0.1))
            os.kill(rng.choice(pids), what)
            # Results that had left already are no news.
            time.sleep(0.002)
            seen.fault_at = time.perf_counter() - 0.002
            while restart and not pipeline.faults:
                time.sleep(0.001)
            if restart:
                # From here on every result is one of after the restart.
                seen.told_after = None
                if what == signal.SIGSTOP:
                    seen.fault_at += _STALL
                time.sleep(1)
            stop.set()

        striker = threading.Thread(target=strike)
        striker.start()
        _listen(pipeline, _endless(stop), seen)
        striker.join()
        seen.texts += pipeline.faults if restart else ()
    return seen


def _storm(folder: Path, rng: random.Random, kills: int) -> Seen:
    seen, stop = Seen(), threading.Event()
    with Pipeline(folder, restart=kills) as pipeline:

        def strike() -> None:
            try:
                for _ in range(kills):
                    time.sleep(rng.uniform(0, 0.6))
                    try:
                        os.kill(rng.choice(pipeline._engine.processes), signal.SIGKILL)  # type: ignore[attr-defined]
                    except ProcessLookupError:
                        continue
                time.sleep(0.5)
            finally:
                stop.set()

        striker = threading.Thread(target=strike)
        striker.start()
        _listen(pipeline, _endless(stop), seen)
        striker.join()
        seen.texts += pipeline.faults
    return seen


def _stalls(folder: Path, rng: random.Random, restart: int = 0) -> Seen:
    """Item 4 of 12 would compute for ever."""
    seen = Seen(asked=12)
    with Pipeline(folder, restart=restart, stall_after=_STALL) as pipeline:
        items = (item(i, times=_FOREVER if i == 4 else 20) for i in range(12))
        start = time.perf_counter()
        futures = []
        try:
            for each in items:
                futures.append(pipeline.submit(each))
        except RunError as fault:
            # Refused at the door: told like those inside.
            for number in range(len(futures), seen.asked):
                seen.add(number, fault)
        for number, future in enumerate(futures):
            error = future.exception(timeout=60)
            seen.add(number, error if error is not None else future.result())
            if error is not None and seen.told_after is None:
                seen.told_after = time.perf_counter() - start - _STALL * (restart + 1)
    return seen


def _show(name: str, restart: int, found: list[Seen]) -> bool:
    asked = sum(s.asked for s in found)
    right, failed = sum(s.right for s in found), sum(s.failed for s in found)
    wrong, unanswered = sum(s.wrong for s in found), sum(s.unanswered for s in found)
    told = sorted(s.told_after for s in found if s.told_after is not None)
    texts = [t for s in found for t in s.texts]
    first = min(texts, key=len, default="")
    row(
        [
            name,
            restart or "no",
            asked,
            right,
            failed,
            wrong,
            unanswered,
            len(found),
            f"{told[len(told) // 2]:.3f}" if told else "",
            f"{told[-1]:.3f}" if told else "",
            shorten(first.splitlines()[0], 110, placeholder=" ...") if first else "",
        ]
    )
    return not wrong and not unanswered and right + failed == asked


def _bounded(folder: Path) -> None:
    """Say how far a consumer that takes nothing lets the pipeline run ahead."""
    taken = itertools.count()

    def items() -> Iterator[dict[str, Any]]:
        while True:
            next(taken)
            yield item(0)

    with Pipeline(folder) as pipeline:
        results = pipeline.map(items())
        next(results)
        time.sleep(0.3)
        early = next(taken)
        time.sleep(0.7)
        late = next(taken) - 1
        results.close()
    print(
        f"\nA consumer that takes one result and then none for a second: the pipeline has taken in {early} items "
        f"after 0.3 s and {late} after 1 s; three stages, queues of 2."
    )


def _left_behind() -> str:
    """Name processes and shared memory of ours that are still there."""
    found = []
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    if children.is_file():
        found.append(f"{len(children.read_text().split())} processes")
        maps = Path("/proc/self/maps").read_text()
        found.append(f"{maps.count('memfd:stagewright')} pieces of shared memory")
        found.append(f"{threading.active_count() - 1} threads")
    return ", ".join(found) or "not looked at on this system"


if __name__ == "__main__":
    sys.exit(main())
