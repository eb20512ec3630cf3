# SPDX-License-Identifier: Apache-2.0
"""Solving models in a process of their own, and what may be believed of the answer."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import math
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ..errors import InputError, LimitError, MissingDependencyError
from .backends import TOLERANCE
from .model import Model

__all__ = ["SOLVERS", "Outcome", "require_solver", "safe_bound", "solve_models"]

# Name on the command line -> what is imported, its package, the extra that brings it.
SOLVERS = {
    "highs": ("highspy", "highspy", "solvers"),
    "cpsat": ("ortools", "ortools", "solvers"),
    "scip": ("pyscipopt", "pyscipopt", "scip"),
    "gurobi": ("gurobipy", "gurobipy", "gurobi"),
}
# Relative error that is granted to a solver's dual bound besides its tolerances.
_RELATIVE = 1e-6
# Seconds; timers know no infinity.
_LONGEST = 1e7
# Seconds for starting the process and for a solver that overruns its limit.
GRACE = 5.0


@dataclass(frozen=True)
class Outcome:
    """What a solver says of one model.

    Attributes
    ----------
    status
        ``optimal``, ``infeasible``, ``limit`` (its own time limit), ``failed``, or ``killed``.
    primal, dual
        Value of its best solution and its bound on all of them, units of the model; None where
        there is none.
    seconds
        Time it took.
    solver
        Its name and version, empty when it was killed.
    columns
        Values of the columns in its best solution, if asked for and it has one.
    """

    status: str
    primal: float | None
    dual: float | None
    seconds: float
    solver: str
    columns: list[float] | None = None


def require_solver(solver: str) -> None:
    """Check that a solver exists and is installed.

    Raises
    ------
    InputError, MissingDependencyError
    """
    if solver not in SOLVERS:
        raise InputError("solver", " | ".join(SOLVERS), repr(solver))
    module, package, extra = SOLVERS[solver]
    # Looked for, not imported: two solvers in one process can crash it.
    if importlib.util.find_spec(module) is None:
        raise MissingDependencyError(package, extra, f"the solver '{solver}'")


def solve_models(
    models: Sequence[Model],
    solver: str,
    seconds: float,
    *,
    minimum: bool = False,
    columns: bool = False,
    grace: float = GRACE,
    told: Callable[[Mapping[str, Any]], None] | None = None,
) -> list[Outcome]:
    """Solve models one after another in one child process, killed at `seconds` + `grace`.

    Parameters
    ----------
    seconds
        For all models together; each gets an equal share of what is left.
    minimum
        Only the smallest of the optima is asked for: each model is given the best value so far as its
        ceiling.  All must have the same unit.
    columns
        Whether the best solutions themselves are wanted.
    told
        Called with every line of the child (:mod:`._solver_child`) as it comes, from a thread of its own.

    Returns
    -------
    outcomes
        In the order of `models`; those not reached are ``killed`` with nothing known.

    Raises
    ------
    InputError, MissingDependencyError
        If there is no such solver, or it is not installed.
    LimitError
        If the solver's process died of itself.
    """
    require_solver(solver)
    seconds = min(seconds, _LONGEST)
    job = {
        "solver": solver,
        "seconds": seconds,
        "kill_after": seconds + 2 * abs(grace) + 1,
        "minimum": minimum,
        "columns": columns,
        "models": len(models),
    }
    arrays = {"job": np.frombuffer(json.dumps(job).encode(), np.uint8)}
    for i, model in enumerate(models):
        arrays.update({f"{i}.{name}": array for name, array in model.to_arrays().items()})
    payload = io.BytesIO()
    np.savez(payload, allow_pickle=False, **arrays)
    start = time.monotonic()
    lines = _run_child(payload.getvalue(), seconds + grace, solver, told or (lambda _: None))
    return _outcomes(lines, len(models), time.monotonic() - start)


def _run_child(
    payload: bytes, kill_after: float, solver: str, told: Callable[[Mapping[str, Any]], None]
) -> list[dict[str, Any]]:
    """Return the lines that the child wrote before it ended or was killed."""
    command = [sys.executable, "-m", f"{__package__}._solver_child"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A Ctrl-C is this process's to handle: it kills the child.
        start_new_session=True,
    ) as child:
        talk = _Talk(child, payload, told)
        try:
            child.wait(max(0.0, kill_after))
        except subprocess.TimeoutExpired:
            child.kill()
        except BaseException:
            child.kill()
            raise
        finally:
            talk.end()
    if not talk.lines and child.returncode not in (0, -signal.SIGKILL, -signal.SIGALRM):
        last = talk.errors.decode(errors="replace").strip().rpartition("\n")[2]
        raise LimitError(
            f"the solver '{solver}' ended with status {child.returncode} before any answer: "
            f"{last[:300] or 'no message'}"
        )
    return talk.lines


class _Talk:
    """Feeds a child its job and takes its lines as they come, so that no pipe fills up."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        payload: bytes,
        told: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self.lines: list[dict[str, Any]] = []
        self.errors = b""
        self._child, self._payload, self._told = child, payload, told
        self._threads = [
            threading.Thread(target=target, daemon=True)
            for target in (self._write, self._read, self._read_errors)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Wait for what the child, which has ended, wrote at last."""
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        if self._child.stdin is not None:
            with contextlib.suppress(OSError), self._child.stdin as stream:
                stream.write(self._payload)

    def _read(self) -> None:
        for line in self._child.stdout or ():
            # The last line may be torn where the process was killed.
            with contextlib.suppress(ValueError):
                self.lines.append(json.loads(line))
                self._told(dict(self.lines[-1]))

    def _read_errors(self) -> None:
        if self._child.stderr is not None:
            self.errors = self._child.stderr.read()


def _outcomes(lines: Sequence[dict[str, Any]], count: int, seconds: float) -> list[Outcome]:
    found = [Outcome("killed", None, None, seconds, "")] * count
    for line in lines:
        i = line["model"]
        if "status" in line:
            del line["model"]
            found[i] = Outcome(**line)
        elif line["dual"] is not None:
            found[i] = Outcome("killed", None, line["dual"], seconds, "")
    return found


def safe_bound(model: Model, dual: float) -> int:
    """Return the picoseconds below which, by the solver's claim, no whole optimum lies.

    A dual bound in floating point is short of a proof by what the solver's tolerance on reduced costs,
    times the range of every column, can add to it; that and a relative 1e-6 are taken off.  (Tolerances
    on rows only widen what is allowed, so they lower the bound themselves.)  Optima are whole
    picoseconds, so what is left is rounded up.
    """
    margin = TOLERANCE * model.total_range + _RELATIVE * abs(dual)
    return max(0, math.ceil(Fraction(dual - margin) * model.unit))
