# SPDX-License-Identifier: Apache-2.0
"""The testbed: cost graphs of open model definitions, made without weights or downloads.

python -m benchmarks.testbed make     trace what is not there yet, small models first; goes on where it was stopped
python -m benchmarks.testbed pack     put what was made into the packs beside this file
python -m benchmarks.testbed table    n, m, width, ideals after reduction, communication to work
"""  # fmt: skip

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.testbed.catalogue import entries, make
from benchmarks.testbed.entries import Entry
from benchmarks.testbed.statistics import PACKS, packed

from stagewright.benching.packs import SUFFIX, line_of, name_of_line, write_pack
from stagewright.files import write_whole

REFUSED = PACKS.parent / "refused.txt"
BUILT = Path("build") / "testbed"
WARM_UP = {
    "model_type": "bert",
    "num_hidden_layers": 1,
    "hidden_size": 64,
    "num_attention_heads": 1,
}


def built(folder: Path) -> dict[str, str]:
    """Return the lines made so far and not packed; one torn by a kill is left out."""
    found = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            if line.endswith("}}"):
                found[name_of_line(line)[0]] = line
    return found


def apart(entry: Entry, limit: float) -> tuple[str, str]:
    """Return the line of an entry, or why there is none, from a process of its own."""
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe(duplex=False)

    def send() -> None:
        try:
            theirs.send((line_of(make(entry), entry.name), ""))
        except Exception as error:  # noqa: BLE001 - what cannot be read is listed, and the rest goes on
            text = re.sub(rf"{tempfile.gettempdir()}/\w+\W", "", " ".join(str(error).split()))
            theirs.send(("", f"{type(error).__name__}: {text[:300]}"))

    process = context.Process(target=send)
    process.start()
    theirs.close()
    found = ("", f"no answer within {limit:g} s")
    if mine.poll(limit):
        try:
            found = mine.recv()
        except EOFError:
            found = ("", "the process died")
    process.kill()
    process.join()
    return found


def refused_of(path: Path) -> dict[str, str]:
    """Return why entries could not be made, by name."""
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split(": ", 1) for line in lines)


def make_all(options: argparse.Namespace) -> int:
    """Trace what is missing."""
    import torch

    torch.set_num_threads(1)
    # What reading imports by and by is imported here once, for all processes forked from this one.
    warm_up = Entry("", "bert", "", "config", WARM_UP, {"sequence": 8}, 0)
    make(warm_up)
    BUILT.mkdir(parents=True, exist_ok=True)
    refusals = BUILT / "refused.txt"
    refused = {} if options.retry else refused_of(REFUSED) | refused_of(refusals)
    known = packed() | built(BUILT)
    wanted = [e for e in entries() if options.only in e.name and e.name not in known]
    wanted = [e for e in wanted if e.name not in refused]
    for number, entry in enumerate(wanted, start=1):
        start = time.perf_counter()
        line, reason = apart(entry, options.limit)
        if line:
            with (BUILT / f"{entry.area}.jsonl").open("a") as file:
                file.write(line + "\n")
        else:
            with refusals.open("a") as file:
                file.write(f"{entry.name}: {reason}\n")
        seconds = time.perf_counter() - start
        done = f"{len(line) / 1e3:.0f} kB" if line else reason
        print(f"{number}/{len(wanted)} {entry.name}: {done}, {seconds:.1f} s", flush=True)
    return 0


def pack(options: argparse.Namespace) -> int:
    """Write a pack for each area; graphs of the same content are kept once."""
    PACKS.mkdir(exist_ok=True)
    wanted = {entry.name for entry in entries()}
    lines: dict[str, list[str]] = {}
    known = packed() | built(BUILT)
    for name, line in known.items():
        if name in wanted:
            lines.setdefault(name.partition("/")[0], []).append(line)
    total = 0
    for area, own in sorted(lines.items()):
        path = PACKS / f"{area}{SUFFIX}"
        count = write_pack(path, own)
        total += count
        print(f"{area}: {count} graphs, {path.stat().st_size / 1e3:.0f} kB")
    refused = refused_of(REFUSED) | refused_of(BUILT / "refused.txt")
    left = sorted((name, why) for name, why in refused.items() if name in wanted - known.keys())
    write_whole(REFUSED, "".join(f"{name}: {why}\n" for name, why in left))
    missing = len(wanted - known.keys()) - len(left)
    print(f"{total} of {len(wanted)} entries; {len(left)} refused, {missing} not traced yet")
    return 0


def table(options: argparse.Namespace) -> int:
    """Print what the graphs are like, and keep what was counted for it."""
    from dataclasses import astuple, fields

    from benchmarks import common
    from benchmarks.testbed.statistics import (
        COLUMNS,
        FORMS,
        Statistics,
        load,
        renewed,
        save,
        summary,
    )

    common.header("The testbed")
    lines, kept = packed(), load()
    found = []
    for one in renewed(lines, kept, anew=options.anew):
        found.append(one)
        if len(found) % 50 == 0 and one not in kept:
            save([*found, *(other for other in kept if other.name > one.name)])
    if found != kept:
        save(found)
    for form in FORMS:
        own = [one for one in found if one.form == form and options.only in one.name]
        distinct = len({one.digest for one in own})
        print(f"\n{len(own)} graphs ({form}), {distinct} of them distinct:\n")
        common.table(COLUMNS)
        for cells in summary(own):
            common.row(cells)
        if options.rows:
            print()
            common.table([column.name for column in fields(Statistics)])
            for one in own:
                common.row("many" if value is None else value for value in astuple(one))
    print("\ncommunication/work: sending once all that may be sent over all work, geometric mean.")
    return 0


def names(options: argparse.Namespace) -> int:
    """Print all entries as JSON."""
    print(json.dumps([entry.name for entry in entries()], indent=1))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    for name, command in (("make", make_all), ("pack", pack), ("table", table), ("names", names)):
        own = commands.add_parser(name)
        own.add_argument("--only", default="", help="names that contain this")
        own.set_defaults(command=command)
        if name == "make":
            own.add_argument("--limit", type=float, default=240.0, help="of each graph, seconds")
            own.add_argument("--retry", action="store_true", help="what was refused before, too")
        if name == "table":
            own.add_argument("--anew", action="store_true", help="count all graphs again")
            own.add_argument("--rows", action="store_true", help="a row for each graph")
    options = parser.parse_args()
    code: int = options.command(options)
    return code


if __name__ == "__main__":
    sys.exit(main())
