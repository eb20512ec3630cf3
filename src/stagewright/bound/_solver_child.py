# SPDX-License-Identifier: Apache-2.0
"""The process in which a solver runs: `python -m stagewright.bound._solver_child`.

Solver libraries clash when two are loaded into one process, swallow signals and overrun their own
limits, so each job has a process of its own that can be killed.

Reads from stdin one npz archive (never pickled objects): ``job``, JSON as bytes, and the arrays of model i
under names ``i.field``.  Writes to stdout one JSON object per line: ``{"model": i, "dual": value}``
while a model is being solved, where the solver can tell, and ``{"model": i, "status", "primal",
"dual", "seconds", "solver", "columns"}`` when it is done; columns are those of its best solution, if the job
asks for them.  What solvers print goes to stderr.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .backends import BACKENDS
from .model import Model

__all__ = ["main"]


def main() -> None:
    """Solve the job on stdin."""
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # solvers print to stdout whatever they are told
    with np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False) as archive:
        job = json.loads(archive["job"].tobytes())
        arrays = {name: archive[name] for name in archive.files}
    models = [_model(arrays, i) for i in range(job["models"])]
    if hasattr(signal, "setitimer"):
        # Should the parent be gone, the kernel ends this process, whatever the solver does.
        signal.setitimer(signal.ITIMER_REAL, job["kill_after"])

    def send(entry: dict[str, Any]) -> None:
        results.write(json.dumps(entry) + "\n")
        results.flush()

    _solve_all(models, job, send)


def _model(arrays: dict[str, Any], number: int) -> Model:
    prefix = f"{number}."
    return Model.from_arrays(
        {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
    )


def _solve_all(
    models: list[Model], job: dict[str, Any], send: Callable[[dict[str, Any]], None]
) -> None:
    """Share the time among the models; with `minimum` only those below the best one matter."""
    backend = BACKENDS[job["solver"]]
    end = time.monotonic() + job["seconds"]
    best = float("inf")
    for i, model in enumerate(models):
        start = time.monotonic()
        share = max(0.0, end - start) / (len(models) - i)

        def progress(dual: float, i: int = i) -> None:
            send({"model": i, "dual": _finite(dual)})

        cutoff = best if job["minimum"] else float("inf")
        if cutoff < model.upper[model.objective]:
            # Within its tolerance a solver may go below the lower bound; they must not cross.
            model.upper[model.objective] = max(cutoff, model.lower[model.objective])
        found = backend(model, share, progress)
        if found.status == "infeasible" and cutoff < float("inf"):
            found.dual = cutoff
        if found.primal is not None:
            best = min(best, found.primal)
        send(
            {
                "model": i,
                "status": found.status,
                "primal": _finite(found.primal),
                "dual": _finite(found.dual),
                "seconds": time.monotonic() - start,
                "solver": found.solver,
                "columns": found.columns if job["columns"] else None,
            }
        )


def _finite(value: float | None) -> float | None:
    """Return the value, None where it says nothing: JSON knows no infinity."""
    return value if value is not None and abs(value) < 1e15 else None


if __name__ == "__main__":
    main()
