# SPDX-License-Identifier: Apache-2.0
"""What results say: bounds over the best plan, share proven optimal, quality of plans, seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InputError
from .results import COLUMNS, database, opened_results

__all__ = ["GROUPS", "asking", "contradictions", "query", "summary"]

Row = dict[str, Any]

GROUPS = ("set", "machine", "instance", "seed")
"""What a table may have rows for, besides k, method and time limit."""

_RATIOS = """
    WITH best AS (
        -- A published optimum is rounded; it is judged, not judged by.
        SELECT "set", instance, machine, k, min(upper) FILTER (method <> 'published') AS best,
            regexp_extract(machine_options, '^[^}]*}') AS costs, source_digest
        FROM results GROUP BY ALL
    )
    SELECT results.*, best,
        CASE WHEN best = 0 THEN 1.0 ELSE lower::DOUBLE / best END AS bound_ratio,
        CASE WHEN best = 0 THEN 1.0 ELSE upper::DOUBLE / best END AS plan_ratio,
        -- What gives no bounds proves nothing and fails at nothing.
        CASE WHEN lower IS NULL AND (upper IS NOT NULL OR details IS NOT NULL) THEN NULL
            ELSE coalesce(lower >= coalesce(upper, best), false) END AS proven
    FROM results JOIN best USING ("set", instance, machine, k, source_digest)
    WHERE regexp_extract(machine_options, '^[^}]*}') = costs
        -- What was not run, or does not apply, is no failure of its method.
        AND coalesce(upper::VARCHAR, lower::VARCHAR, error, details) IS NOT NULL
"""


def summary(path: str | Path, by: Sequence[str] = ("set",)) -> list[Row]:
    """Return a row for each group, k, method and time limit.

    ``bound`` is the geometric mean of the lower bound over the best plan that any method found for the instance,
    ``bound_least`` the least of these; ``proven`` the share of runs whose bound equals their own plan, or the
    best one if they make none; ``plan`` the geometric mean of the plan over the best one.

    Raises
    ------
    InputError
        If the file holds no results, or there is no such group.
    """
    for name in by:
        if name not in GROUPS:
            raise InputError("--by", f"some of {', '.join(GROUPS)}", repr(name))
    groups = ", ".join(f'"{name}"' for name in (*by, "k", "method", "time_limit"))
    # A bound of 0 makes the mean 0; the logarithm is not asked.
    mean = "CASE WHEN min({0}) = 0 THEN 0 ELSE exp(avg(ln(nullif({0}, 0)))) END"
    return query(
        path,
        f"""
        SELECT {groups}, count(*) AS runs, count(error) AS failed,
            {mean.format("bound_ratio")} AS bound, min(bound_ratio) AS bound_least,
            avg(proven::INTEGER) AS proven, {mean.format("plan_ratio")} AS plan,
            max(plan_ratio) AS plan_worst, avg(seconds) AS seconds, max(seconds) AS seconds_most,
            max(peak_mib) AS peak_mib
        FROM ratios GROUP BY {groups} ORDER BY {groups}
        """,
    )


def contradictions(path: str | Path) -> list[Row]:
    """Return the runs whose lower bound is above a plan of the same instance: one of the two is wrong."""
    return query(
        path,
        """SELECT "set", instance, machine, k, method, lower, best FROM ratios WHERE lower > best
        ORDER BY ALL""",
    )


def query(path: str | Path, text: str) -> list[Row]:
    """Return what an SQL query says of the tables ``results`` and ``ratios``.

    ``results`` has the columns of the file; ``ratios`` these and ``best``, ``bound_ratio``, ``plan_ratio``, ``proven``.

    Raises
    ------
    InputError
        If the file holds no results, or the query cannot be run.
    """
    with asking([path]) as ask:
        return ask(text)


@contextmanager
def asking(
    paths: Sequence[str | Path], views: Mapping[str, str] | None = None
) -> Iterator[Callable[[str], list[Row]]]:
    """Yield what answers SQL queries over the rows of several files, the latest of each run.

    Parameters
    ----------
    views
        Queries by the names under which further ones know them, besides ``results`` and ``ratios``.

    Raises
    ------
    InputError
        If a file holds no results, or a query cannot be run.
    """
    for path in map(Path, paths):
        if not path.is_file():
            raise InputError(str(path), "a file of results", "none", "Run a grid: stagewright bench.")  # fmt: skip
    with database() as opened:
        opened_results(opened, [Path(path) for path in paths])
        for name, text in {"ratios": _RATIOS, **(views or {})}.items():
            opened.execute(f'CREATE VIEW "{name}" AS {text}')
        # A query may be the user's: it may read the tables, and no files.
        opened.execute("SET enable_external_access = false")
        yield partial(_answered, opened)


def _answered(opened: Any, text: str) -> list[Row]:
    import duckdb

    try:
        found = opened.execute(text)
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        expected = f"SQL over the columns {', '.join(COLUMNS)}"
        raise InputError("query", expected, reason) from None
