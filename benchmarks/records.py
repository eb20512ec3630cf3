# SPDX-License-Identifier: Apache-2.0
"""Results of long runs, one JSON line each, so that a run that was stopped goes on where it was.

A result belongs to the code that made it: every key carries a digest of the installed package, so that results of
other code are never mixed in.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stagewright.benching.results import code_digest

__all__ = ["Records", "add_option", "code_digest"]

DEFAULT = Path("build") / "benchmarks"


def add_option(parser: argparse.ArgumentParser, name: str) -> None:
    """Add ``--records FILE``."""
    parser.add_argument(
        "--records",
        type=Path,
        metavar="FILE",
        default=DEFAULT / f"{name}.jsonl",
        help=f"where results are kept, so that a stopped run goes on ({DEFAULT / name}.jsonl)",
    )


class Records:
    """A file of results; each is computed once.

    Parameters
    ----------
    path
        The file, made when the first result comes.  Lines of other code, and a last line that was torn
        when a run was killed, are passed over.
    """

    def __init__(self, path: Path, digest: str | None = None) -> None:
        self.path = path
        self.digest = digest or code_digest()
        self.reused = 0
        self._known: dict[str, dict[str, Any]] = {}
        if path.exists():
            for line in path.read_text("utf-8").splitlines():
                self._read(line)

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
            self._known[self._name(entry["key"], entry["code"])] = entry["result"]
        except (ValueError, KeyError, TypeError):
            return

    @staticmethod
    def _name(key: Mapping[str, Any], digest: str) -> str:
        return json.dumps([digest, key], sort_keys=True)

    def once(self, key: Mapping[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the result of `key`, computed and written down if it is new."""
        name = self._name(key, self.digest)
        if name in self._known:
            self.reused += 1
            return self._known[name]
        result = compute()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"code": self.digest, "key": dict(key), "result": result})
        with self.path.open("a+b") as file:
            # A torn line must not swallow the next one.
            if file.tell() and not _ends_line(self.path):
                file.write(b"\n")
            file.write(line.encode() + b"\n")
        self._known[name] = result
        return result


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
