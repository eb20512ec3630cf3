# SPDX-License-Identifier: Apache-2.0
"""Sections on plans: the paper's searches, what random orders cover, usual splits and solvers, other costs, overflow."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks.report.rows import CASE, KNOWN, Ask, Row, markdown, mean, number, seconds, share

from stagewright.benching.methods import METHODS

__all__ = ["coverage", "other_costs", "overflow", "peers", "searches"]

_SEARCHES = tuple(m for m in METHODS if m.startswith(("random-", "brkga-", "islands-")))
_SPLITS = ("equal-layers", "equal-parameters", "equal-work", "metis", "one-order")
_SOLVERS = ("published", "cpsat", "highs")


def _compared(ask: Ask, methods: tuple[str, ...]) -> list[Row]:
    """Return how the methods' plans compare with the best plan of the same instances, by instances and k."""
    return ask(f"""
        SELECT label, k, method, count(*) AS n, count(upper) AS plans, {mean("upper / best")} AS ratio,
            max(upper / best) AS most, count(*) FILTER (upper = best) AS equal, avg(seconds) AS seconds,
            count(*) FILTER (lower >= best * (1 - 1e-5)) AS proven, count(lower) AS bounds
        FROM answers WHERE method IN {("plan", *methods)} AND best > 0
            AND {_ran_with("answers", methods)}
        GROUP BY label, k, method ORDER BY label, k, CASE WHEN any_value(method) = 'plan' THEN 0 ELSE 1 END, ratio
    """)


def _ran_with(table: str, methods: tuple[str, ...]) -> str:
    """Return SQL for the cases that one of the methods was run on, so that all columns hold the same ones."""
    same = " AND ".join(
        f'other.{name} = {table}.{name}' for name in ('"set"', "instance", "machine", "k", "source_digest")
    )  # fmt: skip
    return f"EXISTS (SELECT 1 FROM answers other WHERE {same} AND other.method IN {methods})"


def searches(ask: Ask) -> Iterator[str]:
    """Yield the searches of the paper, cold and warm, against the best plan known."""
    found = [r for r in _compared(ask, _SEARCHES) if r["label"] != "growth"]
    yield (
        "The searches run over the graph as it is, without reductions; `-warm` starts from the best of 30 depth-first and random orders, "
        "the others cold. `plan` is the whole method with its proofs, on the same instances."
    )
    yield markdown(
        ["instances", "k", "search", "n", "plan over the best, mean", "largest", "equal the best", "mean seconds"],
        [[r["label"], r["k"], f"`{r['method']}`", r["n"], r["ratio"], r["most"], f"{r['equal']} of {r['n']}",
          seconds(r["seconds"])] for r in found],
    )  # fmt: skip


def coverage(ask: Ask) -> Iterator[str]:
    """Yield how much of the space of orders 10,000 random ones see."""
    rows = ask(
        "SELECT label, instance, k, nodes, details, best FROM answers WHERE method = 'coverage-10000' ORDER BY ALL"
    )
    found = [{**row, **json.loads(row["details"])} for row in rows]
    yield (
        "Measured: 10,000 random Kahn orders of the graph as it is, each sliced optimally. `orders`, `plans`, `values` are the "
        "distinct ones among them (a plan is the block of every node); the number of all topological orders is estimated by Knuth's "
        "estimator from 100 of them. `spread` is the worst over the best value; `as good` is the share of the 10,000 orders "
        "that reach what BRKGA reaches in 100 and in 10,000 evaluations: where it is 0, random orders never get there."
    )
    yield markdown(
        ["graph", "nodes", "topological orders", "orders", "plans", "values", "spread", "random-10000", "brkga-10000",
         "as good as brkga-100", "as good as brkga-10000"],
        [[f"`{r['instance']}`", r["nodes"], f"10^{r['log10_orders']:.0f}", r["orders"], r["plans"], r["values"],
          r["most"] / r["least"], r["random-10000"] / r["best"], r["brkga-10000"]["value"] / r["best"],
          share(r["brkga-100"]["as_good"]), share(r["brkga-10000"]["as_good"])] for r in found],
    )  # fmt: skip
    if found:
        yield _covered_words(found)


def _covered_words(found: list[dict[str, Any]]) -> str:
    logs = sorted(r["log10_orders"] for r in found)
    never = sum(r["brkga-10000"]["as_good"] == 0 for r in found)
    curve = [
        f"{size:,} evaluations {_mean(r[f'random-{size}'] / r['best'] for r in found):.4f} random, "
        f"{_mean(r[f'brkga-{size}']['value'] / r['best'] for r in found):.4f} BRKGA"
        for size in (100, 10_000)
    ]
    return (
        f"Of the {len(found)} graphs the median has 10^{statistics.median(logs):.0f} topological orders, of which 10,000 see a share of "
        f"10^{4 - statistics.median(logs):.0f}; on {never} no random order is as good as BRKGA after 10,000 evaluations. "
        f"Over the best plan known, geometric mean: {'; '.join(curve)}."
    )


def _mean(values: Iterator[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def peers(ask: Ask) -> Iterator[str]:
    """Yield usual splits, solvers and published optima on the same instances, limit and thread."""
    yield (
        "`equal-layers` and `equal-parameters` are how frameworks split by default, `equal-work` the best balance along the model's order, "
        "`one-order` that order cut optimally with communication, `metis` a balanced partition made acyclic. All plans are validated and "
        "priced by the plain reference; `plan` stands on the same instances."
    )
    yield _peers_table(_compared(ask, _SPLITS))
    yield (
        "`cpsat` and `highs` are handed the exact model of the *reduced* problem and the limit of the grid, one thread. `proven` counts bounds within "
        "1e-5 of the best plan; theirs are claims. `published` are published optima, rounded to six to eight digits."
    )
    yield _peers_table(_compared(ask, _SOLVERS))


def _peers_table(found: list[Row]) -> str:
    return markdown(
        ["instances", "k", "method", "n", "plans", "plan over the best, mean", "largest", "equal the best", "proven", "mean seconds"],
        [[r["label"], r["k"], f"`{r['method']}`", r["n"], r["plans"], r["ratio"], r["most"], r["equal"],
          r["proven"] if r["bounds"] else "-", "-" if r["method"] == "published" else seconds(r["seconds"])]
         for r in found],
    )  # fmt: skip


def overflow(ask: Ask) -> Iterator[str]:
    """Yield the edge device with its memory against the same with room for everything."""
    rows = ask(f"""
        SELECT a.k, count(*) AS n, count(*) FILTER (a.upper > b.upper) AS slower, {mean("a.upper / b.upper")} AS ratio,
            max(a.upper / b.upper) AS most, {mean("CASE WHEN a.upper = 0 THEN 1 ELSE a.lower / a.upper END")} AS bounded,
            {mean("CASE WHEN b.upper = 0 THEN 1 ELSE b.lower / b.upper END")} AS roomy,
            avg((a.lower >= a.upper)::INTEGER) AS proven, avg((b.lower >= b.upper)::INTEGER) AS proven_roomy
        FROM cases a JOIN cases b USING ("set", instance, k, source_digest)
        WHERE a.machine = 'edge' AND b.machine = 'edge-roomy' AND b.upper > 0 GROUP BY a.k ORDER BY a.k
    """)
    yield (
        "The same device and link, once with its 8 MiB of memory, where what a stage holds beyond is streamed for every inference, "
        "and once with room for everything."
    )
    yield markdown(
        ["k", "n", "slower through overflow", "period with / without, mean", "largest", "bound / plan with", "without",
         "proven with", "without"],
        [[r["k"], r["n"], r["slower"], r["ratio"], r["most"], r["bounded"], r["roomy"], share(r["proven"]),
          share(r["proven_roomy"])] for r in rows],
    )  # fmt: skip


def other_costs(ask: Ask) -> Iterator[str]:
    """Yield what plans lose whose costs were not those of the machine."""
    rows = ask(
        f"""
        SELECT t.machine, t.k, count(*) AS n, {mean("t.upper / c.upper")} AS regret, max(t.upper / c.upper) AS most,
            count(*) FILTER (t.upper <= 1.05 * c.upper) AS near, avg(({KNOWN} >= 1)::INTEGER) AS proven,
            {mean("c.upper / f.upper")} AS period
        FROM (SELECT * FROM answers WHERE method = 'plan@fast') t JOIN cases c USING ({CASE})
            JOIN (SELECT "set", instance, k, upper FROM cases WHERE machine = 'fast') f
            ON f."set" = t."set" AND f.instance = t.instance AND f.k = t.k
        WHERE c.upper > 0 AND f.upper > 0 GROUP BY ALL ORDER BY ALL
    """.replace(KNOWN, "c.lower / c.upper")
    )
    yield (
        "Plans made for `fast`, priced where one figure of the cost model is another: the link's bandwidth, the arithmetic rate, the memory's "
        "rate. `loss` is their period over the best plan known there; `period` is that best plan over the best one on `fast`. "
        "Work that errs by node, operator or altogether is in [robustness](robustness.md), with its own benchmark (`python -m benchmarks.robust`)."
    )
    yield markdown(
        ["machine", "k", "n", "loss, mean", "largest", "within 5 %", "optimum there proven", "period"],
        [[f"`{r['machine']}`", r["k"], r["n"], r["regret"], r["most"], f"{r['near']} of {r['n']}", share(r["proven"]),
          number(r["period"])] for r in rows],
    )  # fmt: skip
