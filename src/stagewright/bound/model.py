# SPDX-License-Identifier: Apache-2.0
"""A mixed-integer linear model that no solver has to be installed for.

Columns have bounds and are integer or not, rows have bounds and are sparse, one column is
minimised.  It travels to the solver's process as plain arrays.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["INFINITY", "Expression", "Model", "ModelBuilder"]

INFINITY = math.inf
Floats = npt.NDArray[np.float64]


class Expression:
    """A linear form: column -> coefficient, plus a constant."""

    def __init__(self, terms: Mapping[int, float] | None = None, constant: float = 0.0) -> None:
        self.terms = dict(terms or {})
        self.constant = constant

    @classmethod
    def of(cls, column: int) -> Expression:
        """Return the value of one column."""
        return cls({column: 1.0})

    def add(self, other: Expression, factor: float = 1.0) -> Expression:
        """Add `factor` times another form to this one, in place."""
        for column, value in other.terms.items():
            self.terms[column] = self.terms.get(column, 0.0) + factor * value
        self.constant += factor * other.constant
        return self

    def minus(self, other: Expression) -> Expression:
        """Return the difference as a new form."""
        return Expression(self.terms, self.constant).add(other, -1.0)


@dataclass(frozen=True, eq=False)
class Model:
    """Minimise column `objective` subject to row and column bounds.

    Attributes
    ----------
    lower, upper, integer
        Per column.  All columns are bounded, so that a solver's dual tolerance has something to be
        multiplied with.
    magnitude
        Columns that measure time, in units; the others lie between 0 and 1.
    objective
        The column that is minimised.
    row_lower, row_upper, start, index, value
        Rows in CSR form.
    unit
        Picoseconds per unit of time, a power of two.
    """

    lower: Floats
    upper: Floats
    integer: npt.NDArray[np.bool_]
    magnitude: npt.NDArray[np.bool_]
    objective: int
    row_lower: Floats
    row_upper: Floats
    start: npt.NDArray[np.int64]
    index: npt.NDArray[np.int32]
    value: Floats
    unit: int

    @property
    def num_columns(self) -> int:
        """Number of variables."""
        return len(self.lower)

    @property
    def num_rows(self) -> int:
        """Number of constraints."""
        return len(self.row_lower)

    @property
    def total_range(self) -> float:
        """Sum of all columns' ranges: what a tolerance on reduced costs is multiplied with."""
        return float((self.upper - self.lower).sum())

    def relaxed(self) -> Model:
        """Return the LP relaxation."""
        return replace(self, integer=np.zeros(self.num_columns, np.bool_))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the model as arrays for a child process (without the unit)."""
        return {
            "lower": self.lower,
            "upper": self.upper,
            "integer": self.integer,
            "magnitude": self.magnitude,
            "objective": np.array(self.objective, np.int64),
            "row_lower": self.row_lower,
            "row_upper": self.row_upper,
            "start": self.start,
            "index": self.index,
            "value": self.value,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Model:
        """Read what :meth:`to_arrays` wrote; the unit is 1."""
        fields: dict[str, Any] = {**arrays, "objective": int(arrays["objective"]), "unit": 1}
        return cls(**fields)


class ModelBuilder:
    """Collects columns and rows."""

    def __init__(self) -> None:
        self._columns: list[tuple[float, float, bool, bool]] = []
        self._row_lower: list[float] = []
        self._row_upper: list[float] = []
        self._start = [0]
        self._index: list[int] = []
        self._value: list[float] = []

    def flag(self, *, integer: bool = False) -> int:
        """Add a column between 0 and 1 and return its number."""
        self._columns.append((0.0, 1.0, integer, False))
        return len(self._columns) - 1

    def magnitude(self, upper: float, lower: float = 0.0) -> int:
        """Add a time between `lower` and `upper` units and return its number."""
        self._columns.append((lower, upper, False, True))
        return len(self._columns) - 1

    def at_least(self, form: Expression, bound: float = 0.0) -> None:
        """Demand form >= bound."""
        terms = [(column, value) for column, value in form.terms.items() if value != 0.0]
        bound -= form.constant
        if not terms and bound <= 0:
            return
        self._index += [column for column, _ in terms]
        self._value += [value for _, value in terms]
        self._start.append(len(self._index))
        self._row_lower.append(bound)
        self._row_upper.append(INFINITY)

    def not_below(self, form: Expression, others: Iterable[Expression]) -> None:
        """Demand that `form` is at least each of the others."""
        for other in others:
            self.at_least(form.minus(other))

    def build(self, objective: int, unit: int) -> Model:
        """Return the model that minimises the column `objective`."""
        lower, upper, integer, magnitude = zip(*self._columns, strict=True)
        return Model(
            lower=np.array(lower, np.float64),
            upper=np.array(upper, np.float64),
            integer=np.array(integer, np.bool_),
            magnitude=np.array(magnitude, np.bool_),
            objective=objective,
            row_lower=np.array(self._row_lower, np.float64),
            row_upper=np.array(self._row_upper, np.float64),
            start=np.array(self._start, np.int64),
            index=np.array(self._index, np.int32),
            value=np.array(self._value, np.float64),
            unit=unit,
        )
