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
import sys
import time
from pathlib import Path

from benchmarks.testbed.catalogue import entries, make
from benchmarks.testbed.entries import Entry

from stagewright.benching.packs import SUFFIX, line_of, lines_of_pack, name_of_line, write_pack

PACKS = Path(__file__).resolve().parent / "graphs"
BUILT = Path("build") / "testbed"
WARM_UP = {
    "model_type": "bert",
    "num_hidden_layers": 1,
    "hidden_size": 64,
    "num_attention_heads": 1,
}


def packed() -> dict[str, str]:
    """Return the lines of all packs by name."""
    found: dict[str, str] = {}
    for path in sorted(PACKS.glob(f"*{SUFFIX}")):
        found |= lines_of_pack(path)
    return found


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
            theirs.send(("", f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"))

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


def make_all(options: argparse.Namespace) -> int:
    """Trace what is missing."""
    import torch

    torch.set_num_threads(1)
    # What reading imports by and by is imported here once, for all processes forked from this one.
    warm_up = Entry("", "bert", "", "config", WARM_UP, {"sequence": 8}, 0)
    make(warm_up)
    BUILT.mkdir(parents=True, exist_ok=True)
    refusals = BUILT / "refused.txt"
    refused = refusals.read_text() if refusals.exists() and not options.retry else ""
    known = packed() | built(BUILT)
    wanted = [e for e in entries() if options.only in e.name and e.name not in known]
    wanted = [e for e in wanted if f"{e.name}: " not in refused]
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
    for name, line in (packed() | built(BUILT)).items():
        if name in wanted:
            lines.setdefault(name.partition("/")[0], []).append(line)
    total = 0
    for area, own in sorted(lines.items()):
        path = PACKS / f"{area}{SUFFIX}"
        count = write_pack(path, own)
        total += count
        print(f"{area}: {count} graphs, {path.stat().st_size / 1e3:.0f} kB")
    print(f"{total} of {len(wanted)} entries")
    return 0


def table(options: argparse.Namespace) -> int:
    """Print what the graphs are like."""
    from benchmarks.testbed.statistics import print_table

    print_table(packed(), options)
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
            own.add_argument("--ideals", type=int, default=100_000, help="count up to so many")
            own.add_argument("--rows", action="store_true", help="a row for each graph")
    options = parser.parse_args()
    code: int = options.command(options)
    return code


if __name__ == "__main__":
    sys.exit(main())
