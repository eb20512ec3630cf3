# SPDX-License-Identifier: Apache-2.0
"""The paper's experiments as a page: docs/testbed.md with its pictures, from results of grids.

python -m benchmarks.report                         from benchmarks/results
python -m benchmarks.report --take FILE...          take over results of `stagewright bench` into that folder first
python -m benchmarks.report --page PAGE RESULTS...  another page from other results, without pictures
"""  # fmt: skip

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import bounds, searches, times
from benchmarks.report.pictures import PICTURES, draw
from benchmarks.report.rows import VIEWS, Ask, markdown

from stagewright.benching.grid import Grid
from stagewright.benching.results import Results
from stagewright.benching.tables import asking, contradictions, query
from stagewright.errors import InputError
from stagewright.files import write_whole

__all__ = ["page"]

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
GRIDS = ROOT / "benchmarks" / "grids"
WANTED = RESULTS / "wanted.json"
PAGE = ROOT / "docs" / "testbed.md"
_NAMED = 16  # methods whose missing runs are named
_EXPERIMENTS = ("testbed", "synthetic", "growth", "published")

HEAD = """# The paper's experiments

*Written by `python -m benchmarks.report` from `benchmarks/results`; not edited by hand.*

The experiments of Archer, Fahrbach, Liu and Prabhu, "Practical Performance Guarantees for Pipelined DNN Inference" (ICML 2024), on open
graphs, with the [bounds and searches](method.md) of that paper and those that go past it. Words are those of [concepts](concepts.md); how the
graphs were made is in [reproducing](reproducing.md), other measurements are in [benchmarks](benchmarks.md).
"""


def page(files: Sequence[Path], wanted: Path | None = WANTED) -> str:
    """Return the page that results make."""
    with asking(files, VIEWS) as ask:
        parts = [HEAD, *_provenance(ask, files)]
        for title, section in (
            ("## Beside the paper's abstract", bounds.abstract(ask)),
            ("## The graphs", bounds.graphs(ask)),
            ("## Lower bounds", bounds.quality(ask)),
            ("### By area", bounds.areas(ask)),
            ("### Where the gaps are widest", bounds.worst(ask)),
            ("### How soon optimality is proven", times.proven_within(ask)),
            ("## The paper's searches", searches.searches(ask)),
            ("### What random orders cover", searches.coverage(ask)),
            ("## Beside what one would otherwise take", searches.peers(ask)),
            ("## Integrality gaps", bounds.integrality(ask)),
            ("## With overflow and without", searches.overflow(ask)),
            ("## Other costs than those planned with", searches.other_costs(ask)),
            ("## Running times", times.running_times(ask)),
            ("## Growth", times.growth(ask)),
            ("## What was run, and what was not", _missing(ask, wanted)),
        ):
            parts += [title, *section]
            parts += [f"![{PICTURES[name]}](pictures/{name}.svg)" for name in _AFTER.get(title, ())]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


_AFTER = {
    "## Lower bounds": ("testbed_bounds",),
    "### How soon optimality is proven": ("testbed_proven",),
    "## Growth": ("testbed_parts",),
}


def _provenance(ask: Ask, files: Sequence[Path]) -> Iterator[str]:
    rows = ask("""
        SELECT "set", count(*) AS runs, count(error) AS failed, count(DISTINCT instance) AS graphs,
            count(*) FILTER (stopped LIKE 'skipped%') AS skipped, min(finished)[:10] AS first, max(finished)[:10] AS last,
            string_agg(DISTINCT version, ', ') AS versions, count(DISTINCT code) AS codes,
            string_agg(DISTINCT processor || ', ' || cores || ' cores', '; ') AS machines, max(threads) AS threads
        FROM results GROUP BY "set" ORDER BY "set"
    """)
    names = ", ".join(f"`{path.name}`" for path in files)
    yield f"Results: {names}. Runs that died or found no answer in time are `failed`; those with more stages than nodes are `not run`."
    yield markdown(
        ["set", "graphs", "runs", "failed", "not run", "dates", "version", "states of the code", "on", "threads"],
        [[r["set"], r["graphs"], r["runs"], r["failed"], r["skipped"],
          r["first"] if r["first"] == r["last"] else f"{r['first']} to {r['last']}",
          r["versions"], r["codes"], r["machines"], r["threads"]] for r in rows],
    )  # fmt: skip
    yield (
        "Other work ran on the machine's two cores at the same time: seconds are upper limits, and what is open got less than its share. "
        "Bounds, plans and counts do not depend on it, unless a limit ended a run."
    )
    faults = ask("SELECT count(*) AS n FROM ratios WHERE lower > best ")
    yield f"Bounds above a plan of the same instance (a fault): {faults[0]['n']}."


def _missing(ask: Ask, wanted: Path | None) -> Iterator[str]:
    """Yield, for each grid, how much of it was run, and what all of it would take."""
    counts = json.loads(wanted.read_text()) if wanted and wanted.exists() else []
    have = {
        (r["set"], r["machine"], r["k"], r["method"]): (r["n"], r["none"], r["s"])
        for r in ask("""SELECT "set", machine, k, method, count(DISTINCT (instance, seed)) AS n,
            count(DISTINCT (instance, seed)) FILTER (stopped LIKE 'skipped%') AS none,
            avg(seconds) FILTER (NOT coalesce(stopped LIKE 'skipped%', false)) AS s FROM results GROUP BY ALL""")
    }
    known = {
        (r["set"], r["method"]): r["s"]
        for r in ask("""SELECT "set", method, avg(seconds) AS s FROM results
            GROUP BY GROUPING SETS (("set", method), (method))""")
    }
    table, rest = [], []
    for grid, entries in counts:
        total, done, without, hours = 0, 0, 0, 0.0
        open_methods: Counter[str] = Counter()
        for own_set, machine, k, method, n in entries:
            elsewhere = known.get((own_set, method), known.get((None, method), 1.0))
            there, none, each = have.get((own_set, machine, k, method), (0, 0, elsewhere))
            none, each = min(n, none), each or 0.0
            total, done, without = total + n, done + min(n, there) - none, without + none
            hours += n * each / 3600
            if there < n:
                open_methods[f"`{method}`"] += n - there
        table.append(
            [
                f"`benchmarks/grids/{grid}.toml`",
                total,
                done,
                without,
                f"{hours / 2:.1f}" if done else "-",
            ]
        )
        if open_methods:
            most = [f"{what} ({n:,})" for what, n in open_methods.most_common(_NAMED)]
            more = (
                [f"{len(open_methods) - _NAMED} more methods"] if len(open_methods) > _NAMED else []
            )
            rest.append(f"- {grid}: {', '.join([*most, *more])}")
    yield (
        "The grids hold the whole experiment; a grid runs its most telling parts first and goes on where it was stopped. "
        "Hours are of the whole grid on two cores, by the mean seconds of its methods so far (longer runs of open cases left out)."
    )
    yield markdown(["grid", "runs", "done", "fewer nodes than stages", "hours, two cores"], table)
    if rest:
        yield "Not run yet, by method:"
        yield "\n".join(rest)
    else:
        yield "All of it has run."
    yield "How to repeat, and to go on:"
    commands = [
        f"$ stagewright bench benchmarks/grids/{name}.toml -o {name}.parquet --any-code"
        for name in _EXPERIMENTS
    ]
    taken = " ".join(f"{name}.parquet" for name in _EXPERIMENTS)
    yield "\n".join(["<!-- not run: the grids take hours -->", "```console", *commands, f"$ python -m benchmarks.report --take {taken}", "```"])  # fmt: skip


def grids() -> Iterator[tuple[str, Grid]]:
    """Yield the grids of the experiments whose files are at hand."""
    for name in _EXPERIMENTS:
        try:
            yield name, Grid.load(GRIDS / f"{name}.toml")
        except InputError as error:
            print(f"{name}.toml is left out: {error}", file=sys.stderr)


def take(files: Sequence[Path]) -> None:
    """Put the rows of results, the latest of each run, into the folder of results.

    Rows of graphs that the grids hold no longer, or with another content, are left out.  What the grids want is
    written down beside them.
    """
    RESULTS.mkdir(exist_ok=True)
    found = dict(grids())
    current = {(i.set, i.name, i.digest) for grid in found.values() for i in grid.instances}
    sets = {own_set for own_set, _, _ in current}

    def holds(row: dict[str, Any]) -> bool:
        return row["set"] not in sets or (row["set"], row["instance"], row["source_digest"]) in current  # fmt: skip

    for path in files:
        rows = query(path, "SELECT * FROM results")
        target = Results(RESULTS / path.name, any_code=True)
        before = len(target)
        target.take(rows)
        dropped = target.keep(holds)
        target.close()
        print(f"{path.name}: {before} runs before, {len(target)} now, {dropped} of graphs that are no more")  # fmt: skip
    counts = []
    for name, grid in found.items():
        # What is asked for with several limits is one answer.
        asked = {
            (j.instance.set, j.instance.machine, j.stages, j.method, j.instance.name, j.seed)
            for j in grid.jobs()
        }
        own = Counter(case[:4] for case in asked)
        counts.append([name, [[*key, n] for key, n in sorted(own.items())]])
    WANTED.write_text(json.dumps(counts, separators=(",", ":")).replace("]],", "]],\n") + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="*", type=Path)
    parser.add_argument("--take", nargs="+", type=Path, default=[], metavar="FILE")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    if options.take:
        take(options.take)
    files = options.results or sorted(RESULTS.glob("*.parquet"))
    write_whole(options.page or PAGE, page(files))
    if options.page is None:
        with asking(files, VIEWS) as ask:
            draw(ask, PAGE.parent / "pictures")
    wrong = [fault for path in files for fault in contradictions(path)]
    for fault in wrong:
        print(f"contradiction: {fault}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
