# SPDX-License-Identifier: Apache-2.0
"""Sections on time and memory: every part against nodes and stages, growth, when plans are proven."""

from __future__ import annotations

import json
from collections.abc import Iterator

from benchmarks.report.rows import Ask, Row, markdown, number, seconds, share

__all__ = ["growth", "parts", "proven_within", "running_times"]

_WITHIN = (0.1, 1.0, 5.0, 60.0)


def running_times(ask: Ask) -> Iterator[str]:
    """Yield the seconds of every method with their growth in nodes and in stages."""
    rows = ask("""
        WITH one AS (SELECT *, greatest(first_seconds, 1e-5) AS s FROM answers WHERE "set" IN ('testbed', 'synthetic')
            AND machine IN ('fast', 'slow', 'edge', '') AND method NOT LIKE 'coverage%'),
        by_k AS (SELECT "set", method, regr_slope(ln(s / own), ln(k)) AS slope FROM (
            SELECT *, exp(avg(ln(s)) OVER (PARTITION BY "set", method, instance, machine)) AS own,
                count(DISTINCT k) OVER (PARTITION BY "set", method, instance, machine) AS ks FROM one)
            WHERE ks > 1 GROUP BY ALL)
        SELECT "set", method, count(*) AS n, median(s) AS middle, avg(s) AS mean, quantile_cont(s, 0.95) AS most95,
            max(s) AS most, regr_slope(ln(s), ln(nodes)) AS slope, regr_r2(ln(s), ln(nodes)) AS fit,
            any_value(by_k.slope) AS k_slope, max(peak_mib) AS peak
        FROM one LEFT JOIN by_k USING ("set", method) WHERE nodes > 1 GROUP BY ALL ORDER BY "set" DESC, middle
    """)
    yield (
        "Seconds of a run without reading, one thread, at the first limit of the grid. `n^x` and `k^x` are least-squares slopes of log seconds "
        "over log nodes and, within each instance, over log k; r2 says how much of the spread the nodes explain. Where limits end runs "
        "(solvers, `cover`, `skeleton`, `plan` on wide graphs) slopes understate the growth."
    )
    yield markdown(
        ["set", "method", "runs", "median s", "mean s", "95 % within s", "longest s", "n^x", "r2", "k^x", "most MiB"],
        [[r["set"], f"`{r['method']}`", r["n"], *map(seconds, (r["middle"], r["mean"], r["most95"], r["most"])),
          _slope(r["slope"]), _slope(r["fit"]), _slope(r["k_slope"]), number(r["peak"], 0)] for r in rows],
    )  # fmt: skip

    timed = ask(f"""
        SELECT "set", part, count(*) AS n, median(s) AS middle, max(s) AS most,
            regr_slope(ln(greatest(s, 1e-6)), ln(nodes)) AS slope, regr_r2(ln(greatest(s, 1e-6)), ln(nodes)) AS fit
        FROM ({_PARTS}) WHERE "set" IN ('testbed', 'synthetic') GROUP BY ALL ORDER BY "set" DESC, middle
    """)
    if timed:
        yield "The parts that every plan goes through, each once on the graph as it is (the method `parts`):"
        yield markdown(
            ["set", "part", "runs", "median s", "longest s", "n^x", "r2"],
            [[r["set"], r["part"], r["n"], seconds(r["middle"]), seconds(r["most"]), _slope(r["slope"]), _slope(r["fit"])]
             for r in timed],
        )  # fmt: skip


# Every part of every run that timed them.
_PARTS = """
    SELECT "set", part, nodes, json_extract(details, '$."' || part || '"')::DOUBLE AS s FROM (
        SELECT "set", nodes, unnest(json_keys(details)) AS part, details FROM answers WHERE method = 'parts')
"""


def _slope(value: float | None) -> str:
    return number(value, 2)


def parts(ask: Ask) -> list[Row]:
    """Return the seconds of each part of every run that timed them: label, instance, nodes, k, part, seconds."""
    rows = ask(
        "SELECT label, instance, nodes, k, details, peak_mib FROM answers WHERE method = 'parts' ORDER BY ALL"
    )
    return [
        {**row, "part": part, "seconds": value}
        for row in rows
        for part, value in json.loads(row["details"]).items()
    ]


def proven_within(ask: Ask) -> Iterator[str]:
    """Yield how many instances are proven optimal within some seconds, search and proof together."""
    counts = ", ".join(
        f"avg((lower >= upper AND seconds <= {t})::INTEGER) AS within_{i}" for i, t in enumerate(_WITHIN)
    )  # fmt: skip
    rows = ask(f"""
        SELECT label, k, count(*) AS n, {counts} FROM answers
        WHERE method = 'plan' AND label <> 'growth' AND upper IS NOT NULL AND lower IS NOT NULL
        GROUP BY ALL ORDER BY ALL
    """)
    yield "Share of runs of `plan` that prove their own plan optimal within so many seconds, one thread; a longer run of what stayed open counts with its sum:"
    yield markdown(
        ["instances", "k", "n", *(f"{t:g} s" for t in _WITHIN)],
        [[r["label"], r["k"], r["n"], *(share(r[f"within_{i}"]) for i in range(len(_WITHIN)))] for r in rows],
    )  # fmt: skip


def growth(ask: Ask) -> Iterator[str]:
    """Yield time and memory of the parts, a search and the proof from 1,000 nodes on."""
    rows = ask("""
        SELECT instance, split_part(instance, '-', 1) AS family, nodes, k, method, first_seconds AS s, peak_mib, details,
            upper, lower, close_seconds FROM answers WHERE "set" = 'growth' ORDER BY family, nodes, method
    """)
    if not rows:
        yield "No runs."
        return
    table, names = [], ("segment costs", "slicing", "compile", "reduce")
    for family, nodes, k in sorted({(r["family"], r["nodes"], r["k"]) for r in rows}):
        own = {r["method"]: r for r in rows if (r["family"], r["nodes"]) == (family, nodes)}
        timed = json.loads(own["parts"]["details"]) if "parts" in own else {}
        plan = own.get("plan")
        gap = "-" if plan is None else _gap(plan)
        peak = {m: number(own[m]["peak_mib"], 0) for m in own}
        table.append([f"`{family}`", nodes, k, *(seconds(timed.get(n)) for n in names),
            *(seconds(own[m]["s"]) if m in own else "-" for m in ("anchor", "brkga-100")),
            gap, seconds(plan["close_seconds"]) if plan else "-", peak.get("parts", "-"), peak.get("plan", "-")])  # fmt: skip
    yield (
        "Synthetic models at 1,500 nodes per stage, seconds, one thread. `segment costs` is one pass over the costs of all segments of an order "
        "within a threshold, `slicing` the order's optimum; `brkga-100` is a search of 100 orders, `anchor` a bound, and the gap is what planning "
        "reaches within its limit (`to 2 %`: when it first had a gap of 2 %). Memory is the process's most, MiB, with 40 to 100 MiB before it reads anything."
    )
    yield markdown(
        ["family", "nodes", "k", *names, "anchor", "brkga-100", "gap of plan", "to 2 %", "MiB of parts", "MiB of plan"], table
    )  # fmt: skip
    yield _exponents(ask)


def _gap(plan: Row) -> str:
    if not plan["lower"]:
        return "-"
    gap = plan["upper"] / plan["lower"] - 1
    return f"{100 * gap:.3f} %" if gap else "proven"


def _exponents(ask: Ask) -> str:
    found = ask("""
        WITH timed AS (
            SELECT split_part(instance, '-', 1) AS family, nodes, unnest(json_keys(details)) AS part, details
            FROM answers WHERE "set" = 'growth' AND method = 'parts'),
        each_part AS (
            SELECT family, part, nodes, json_extract(details, '$."' || part || '"')::DOUBLE AS s FROM timed
            UNION ALL SELECT split_part(instance, '-', 1), method, nodes, first_seconds FROM answers
                WHERE "set" = 'growth' AND method IN ('anchor', 'brkga-100')
            UNION ALL SELECT split_part(instance, '-', 1), 'plan, to 2 %', nodes, close_seconds FROM answers
                WHERE "set" = 'growth' AND method = 'plan')
        SELECT part, avg(slope) AS slope, min(slope) AS least, max(slope) AS most FROM (
            SELECT family, part, regr_slope(ln(greatest(s, 1e-6)), ln(nodes)) AS slope FROM each_part GROUP BY ALL)
        WHERE slope IS NOT NULL GROUP BY part ORDER BY part
    """)
    texts = [f"{r['part']} n^{r['slope']:.2f} ({r['least']:.2f} to {r['most']:.2f})" for r in found]
    return f"Fitted growth, mean of the families (least to most): {'; '.join(texts)}."
