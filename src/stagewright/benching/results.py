# SPDX-License-Identifier: Apache-2.0
"""Results of a grid: a row for each run, in a Parquet file, with a journal beside it while runs go on.

Each answer is appended to the journal (lines of JSON) as it comes, so that a run that was stopped or killed loses
nothing; the journal is folded into the Parquet file when the run ends.  A row says which code made it,
and on what machine.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError, MissingDependencyError

__all__ = ["COLUMNS", "Results", "code_digest", "database", "processor_name", "provenance"]

Row = dict[str, Any]

KEYS = {
    "set": "VARCHAR",
    "instance": "VARCHAR",
    "machine": "VARCHAR",
    "source_digest": "VARCHAR",
    "machine_options": "VARCHAR",
    "k": "INTEGER",
    "method": "VARCHAR",
    "seed": "BIGINT",
    "time_limit": "DOUBLE",
    "threads": "INTEGER",
}
_LATER = {
    "reduced_nodes": "BIGINT",
    "ideals": "BIGINT",
    "close_seconds": "DOUBLE",
    "details": "VARCHAR",
}
"""Columns that files of earlier versions lack."""

COLUMNS = KEYS | {
    "graph_sha256": "VARCHAR",
    "nodes": "BIGINT",
    "edges": "BIGINT",
    "upper": "BIGINT",
    "lower": "BIGINT",
    "evidence": "VARCHAR",
    "stopped": "VARCHAR",
    "error": "VARCHAR",
    "seconds": "DOUBLE",
    "peak_mib": "DOUBLE",
    "code": "VARCHAR",
    "version": "VARCHAR",
    "python": "VARCHAR",
    "processor": "VARCHAR",
    "cores": "INTEGER",
    "finished": "VARCHAR",
    **_LATER,
}
"""The columns with their SQL types; `upper` and `lower` are picoseconds, `close_seconds` until the gap was 2 %,
`details` JSON."""

_MEASURED = ("seconds", "peak_mib", "close_seconds")
_DIGITS = 4
"""Digits that are kept of what is measured: no clock says more twice, and the rest is half of a file."""


def database() -> Any:
    """Return a connection to an empty database in memory.

    Raises
    ------
    MissingDependencyError
        If duckdb is not installed.
    """
    try:
        import duckdb
    except ImportError:
        raise MissingDependencyError("duckdb", "bench", "reading and writing results") from None
    opened = duckdb.connect()
    # One thread sums in one order, so that means have the same last digit each time.
    opened.execute("SET threads = 1")
    return opened


def code_digest() -> str:
    """Return a digest of the package's Python files and of its native module."""
    root = Path(__file__).resolve().parents[1]
    found = hashlib.sha256()
    for path in sorted([*root.rglob("*.py"), *root.glob("_native*.so"), *root.glob("*.pyd")]):
        found.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:16]


def provenance() -> Row:
    """Return the columns that say what made a row, and where."""
    return {
        "code": code_digest(),
        "version": __version__,
        "python": platform.python_version(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
    }


def processor_name() -> str:
    """Return the processor's name as the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


class Results:
    """The rows of a file, the latest of each key.

    Parameters
    ----------
    path
        The Parquet file; made when the results are closed.
    any_code
        Whether rows that other code made count as done.
    again_open
        Of these, a row of ``plan`` that left a gap does not: newer code may close it.

    Raises
    ------
    InputError
        If the file is there and holds no results.
    MissingDependencyError
        If duckdb is not installed.
    """

    def __init__(
        self, path: str | Path, *, any_code: bool = False, again_open: bool = False
    ) -> None:
        self.path = Path(path)
        self.journal = self.path.with_name(self.path.name + ".journal")
        self.made_by = provenance()
        self.any_code, self.again_open = any_code, again_open
        self._rows: dict[str, Row] = {}
        if not self.path.parent.is_dir():
            found = f"no folder '{self.path.parent}'"
            raise InputError(str(path), "a file in an existing folder", found)
        with database() as opened:
            if self.path.exists():
                for row in _rows_of(opened, self.path):
                    self._rows[_name(row)] = row
        self._read_journal()

    def _read_journal(self) -> None:
        if not self.journal.exists():
            return
        for line in self.journal.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # torn when a run was killed
                row = json.loads(line)
                self._rows[_name(row)] = {column: row.get(column) for column in COLUMNS}

    def __len__(self) -> int:
        return len(self._rows)

    def has(self, key: Mapping[str, Any]) -> bool:
        """Whether a run is done, and by this code unless any will do."""
        row = self._rows.get(_name(key))
        if row is None or row["code"] == self.made_by["code"]:
            return row is not None
        stale = self.again_open and row["method"] == "plan" and self.leaves_gap(key)
        return self.any_code and not stale

    def leaves_gap(self, key: Mapping[str, Any]) -> bool:
        """Whether a run is known and its bound stayed below its plan."""
        row = self._rows.get(_name(key))
        return row is not None and row["upper"] is not None and row["upper"] != row["lower"]

    def add(self, key: Mapping[str, Any], answer: Mapping[str, Any]) -> Row:
        """Keep a run, on disk too, and return its row."""
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        row = dict.fromkeys(COLUMNS) | dict(key) | dict(answer) | self.made_by | {"finished": now}
        row = _rounded(row)
        if unknown := set(row) - set(COLUMNS):
            raise ValueError(f"expected columns of {list(COLUMNS)}, got {sorted(unknown)}")
        with self.journal.open("a+b") as file:
            if file.tell():  # a torn line must not swallow the next one
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(json.dumps(row).encode() + b"\n")
        self._rows[_name(row)] = row
        return row

    def take(self, rows: Iterable[Row]) -> None:
        """Take over rows of other results as they are; of the same run the one finished last stays."""
        for row in rows:
            known = self._rows.get(_name(row))
            if known is None or known["finished"] <= row["finished"]:
                self._rows[_name(row)] = _rounded(row)

    def keep(self, wanted: Callable[[Row], bool]) -> int:
        """Leave out the rows that are not wanted; return how many they are."""
        before = len(self._rows)
        self._rows = {name: row for name, row in self._rows.items() if wanted(row)}
        return before - len(self._rows)

    def close(self) -> None:
        """Write the Parquet file and end the journal."""
        if not self._rows:
            return
        lines = self.path.with_name(f".{self.path.name}.{os.getpid()}.jsonl")
        whole = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            lines.write_text("".join(f"{json.dumps(r)}\n" for r in self._rows.values()))
            with database() as opened:
                types = ", ".join(f"'{name}': '{kind}'" for name, kind in COLUMNS.items())
                opened.execute(
                    f"COPY (SELECT * FROM read_json({_quoted(lines)}, format='newline_delimited', "
                    f"columns={{{types}}}) ORDER BY ALL) TO {_quoted(whole)} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 19)"
                )
            whole.replace(self.path)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(str(self.path), "a writable file", reason) from None
        finally:
            lines.unlink(missing_ok=True)
            whole.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)


def _rounded(row: Row) -> Row:
    """Return the row without digits of its measurements that say nothing."""

    def short(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: short(inner) for name, inner in value.items()}
        return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value

    details = row["details"] and json.dumps(short(json.loads(row["details"])))
    return row | {name: short(row[name]) for name in _MEASURED} | {"details": details}


def _rows_of(opened: Any, path: Path) -> list[Row]:
    found = opened_results(opened, [path]).execute("SELECT * FROM results")
    return [dict(zip(COLUMNS, row, strict=True)) for row in found.fetchall()]


def opened_results(opened: Any, paths: Sequence[Path]) -> Any:
    """Give a database the table ``results``: the rows of some files, the latest of each run.

    Raises
    ------
    InputError
        If a file cannot be read or holds other columns.
    """
    import duckdb

    types = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())
    opened.execute(f"CREATE TABLE every ({types})")
    for path in paths:
        try:
            described = opened.execute(f"DESCRIBE SELECT * FROM read_parquet({_quoted(path)})")
            there = {name for name, *_ in described.fetchall()}
            columns = ", ".join(
                "NULL" if name in _LATER and name not in there else f'"{name}"' for name in COLUMNS
            )
            opened.execute(f"INSERT INTO every SELECT {columns} FROM read_parquet({_quoted(path)})")
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise InputError(str(path), "results of `stagewright bench`", reason) from None
    keys = ", ".join(f'"{name}"' for name in KEYS)
    opened.execute(
        "CREATE TABLE results AS SELECT * FROM every "
        f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY finished DESC) = 1"
    )
    return opened


def _name(row: Mapping[str, Any]) -> str:
    return json.dumps([row[key] for key in KEYS])


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
