# SPDX-License-Identifier: Apache-2.0
"""The store of measured kernels: an SQLite file that several programs may use at once.

A measurement is filed under what it depends on: the kernel's signature (operator, attributes,
element types, shapes), the device, the threads, the version of the runtime, and whether parameters
came from a cache or from memory.  What was noted beside it (pinning, other programs, repetitions)
says how far to trust it.  Which kernels a model runs is remembered too, so that a model that was
seen before is costed without running it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Final, Self

from ..errors import InputError

__all__ = [
    "Conditions",
    "KernelUse",
    "Measurement",
    "ModelKey",
    "Store",
    "default_store",
    "store_path",
]

_VERSION: Final = 1
_APPLICATION: Final = 0x53574B53  # "SWKS": the file is one of ours
_PATIENCE_S: Final = 60.0
"""Seconds to wait for another writer."""


@dataclass(frozen=True)
class Conditions:
    """What all measurements of one filling have in common, and are filed under.

    Attributes
    ----------
    device
        Name of the processor or GPU.
    threads
        Threads inside an operator.
    runtime
        The runtime with its version.
    parameters
        ``cached`` or ``streamed`` (:mod:`.alone`).
    """

    device: str
    threads: int
    runtime: str
    parameters: str


@dataclass(frozen=True)
class Measurement:
    """A kernel's time in picoseconds and how it was taken.

    Attributes
    ----------
    median, low, high
        The median and the interval that holds it with 95 %.
    runs, warmup
        Measured and unmeasured runs.
    pinned
        Cores the process was held to, ``free`` for all.
    cores
        Cores that the process could use.
    others
        Mean number of cores that other programs kept busy meanwhile.
    taken
        Date and time, ISO 8601, UTC.
    """

    median: int
    low: int
    high: int
    runs: int
    warmup: int
    pinned: str
    cores: int
    others: float
    taken: str


@dataclass(frozen=True)
class ModelKey:
    """What decides which kernels a model runs."""

    sha256: str
    shapes: str
    runtime: str
    provider: str
    threads: int
    level: str


@dataclass(frozen=True)
class KernelUse:
    """A kernel of a model: its key and the nodes it stands for with fractions that sum to one."""

    key: str
    op: str
    shares: Mapping[str, float]


def default_store() -> Path:
    """Return where the user's store is: below ``XDG_CACHE_HOME``, ``~/.cache`` by default."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification tells to ignore relative paths.
    folder = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return folder / "stagewright" / "kernels.sqlite"


def store_path(text: str | Path) -> Path:
    """Return the path that ``--store`` means: ``default`` is the user's own."""
    return default_store() if text == "default" else Path(text)


_COLUMNS: Final = [field.name for field in fields(Measurement)]
_CONDITIONS: Final = [field.name for field in fields(Conditions)]
_MODEL: Final = [field.name for field in fields(ModelKey)]

_SCHEMA: Final = f"""
CREATE TABLE measurement (
  key TEXT NOT NULL, op TEXT NOT NULL, dtype TEXT NOT NULL, shapes TEXT NOT NULL,
  signature TEXT NOT NULL, device TEXT NOT NULL, threads INTEGER NOT NULL, runtime TEXT NOT NULL,
  parameters TEXT NOT NULL, median INTEGER NOT NULL, low INTEGER NOT NULL, high INTEGER NOT NULL,
  runs INTEGER NOT NULL, warmup INTEGER NOT NULL, pinned TEXT NOT NULL, cores INTEGER NOT NULL,
  others REAL NOT NULL, taken TEXT NOT NULL,
  PRIMARY KEY (key, {", ".join(_CONDITIONS)})
) WITHOUT ROWID;
CREATE TABLE model (
  sha256 TEXT NOT NULL, shapes TEXT NOT NULL, runtime TEXT NOT NULL, provider TEXT NOT NULL,
  threads INTEGER NOT NULL, level TEXT NOT NULL, weight_bytes INTEGER NOT NULL,
  kernels TEXT NOT NULL,
  PRIMARY KEY ({", ".join(_MODEL)})
) WITHOUT ROWID;
"""


class Store:
    """An open store; use it in a ``with`` statement.

    Parameters
    ----------
    path
        The file, made if there is none.
    create
        False refuses a file that is not there: one that is only read from was meant to exist.

    Raises
    ------
    InputError
        If the file cannot be opened, is damaged, no store, or of another version.
    """

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        self.path = Path(path)
        if not create and not self.path.is_file():
            raise InputError(
                str(self.path),
                "a store of measured kernels",
                "no such file",
                "Fill one: stagewright profile MODEL --fill.",
            )
        with self._faults():
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(
                    str(self.path), "a place to write to", error.strerror or str(error)
                ) from None
            self._connection = sqlite3.connect(self.path, timeout=_PATIENCE_S, isolation_level=None)
            try:
                self._open()
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def find(self, key: str, conditions: Conditions) -> Measurement | None:
        """Return the measurement of a kernel, None if there is none."""
        where = " AND ".join(f"{name} = ?" for name in _CONDITIONS)
        with self._faults():
            row = self._connection.execute(
                f"SELECT {', '.join(_COLUMNS)} FROM measurement WHERE key = ? AND {where}",
                (key, *astuple(conditions)),
            ).fetchone()
        return None if row is None else Measurement(*row)

    def add(
        self,
        key: str,
        conditions: Conditions,
        measurement: Measurement,
        *,
        op: str = "",
        dtype: str = "",
        shapes: str = "",
        signature: str = "",
    ) -> None:
        """File a measurement; of two for one key the later stays.

        The texts describe the kernel to people who look into the file.
        """
        columns = ["key", "op", "dtype", "shapes", "signature", *_CONDITIONS, *_COLUMNS]
        row = (key, op, dtype, shapes, signature, *astuple(conditions), *astuple(measurement))
        self._write(
            f"INSERT OR REPLACE INTO measurement ({', '.join(columns)}) "
            f"VALUES ({', '.join('?' * len(columns))})",
            row,
        )

    def find_model(self, key: ModelKey) -> tuple[int, list[KernelUse]] | None:
        """Return the bytes of a model's parameters and its kernels; None for an unknown model."""
        where = " AND ".join(f"{name} = ?" for name in _MODEL)
        with self._faults():
            row = self._connection.execute(
                f"SELECT weight_bytes, kernels FROM model WHERE {where}", astuple(key)
            ).fetchone()
            if row is None:
                return None
            try:
                return int(row[0]), [KernelUse(*entry) for entry in json.loads(row[1])]
            except (TypeError, ValueError):
                raise self._damaged("a list of kernels that cannot be read") from None

    def add_model(self, key: ModelKey, weight_bytes: int, kernels: Iterable[KernelUse]) -> None:
        """Remember the kernels of a model."""
        text = json.dumps([[use.key, use.op, dict(use.shares)] for use in kernels])
        columns = [*_MODEL, "weight_bytes", "kernels"]
        self._write(
            f"INSERT OR REPLACE INTO model ({', '.join(columns)}) "
            f"VALUES ({', '.join('?' * len(columns))})",
            (*astuple(key), weight_bytes, text),
        )

    def count(self) -> int:
        """Return the number of measurements."""
        with self._faults():
            (number,) = self._connection.execute("SELECT count(*) FROM measurement").fetchone()
        return int(number)

    def _open(self) -> None:
        """Check what the file is; make the tables in a new one."""
        run = self._connection.execute
        # Readers and one writer at a time work side by side; where the file system cannot do
        # this, SQLite stays with locks on the whole file, which is slower and as safe.
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run("BEGIN IMMEDIATE")
        try:
            (application,) = run("PRAGMA application_id").fetchone()
            (version,) = run("PRAGMA user_version").fetchone()
            (tables,) = run("SELECT count(*) FROM sqlite_master").fetchone()
            if not tables and not application:
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    run(statement)
                run(f"PRAGMA application_id = {_APPLICATION}")
                run(f"PRAGMA user_version = {_VERSION}")
            elif application != _APPLICATION:
                raise InputError(
                    str(self.path),
                    "a store of measured kernels",
                    "an SQLite file of another program",
                )
            elif version != _VERSION:
                raise InputError(
                    str(self.path),
                    f"a store of version {_VERSION}",
                    f"version {version}",
                    "Use another file, or the release of Stagewright that made this one.",
                )
            run("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                run("ROLLBACK")
            raise

    def _write(self, statement: str, values: Sequence[Any]) -> None:
        with self._faults():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.execute(statement, values)
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise InputError(
                str(self.path),
                "a store that can be opened and written",
                str(error),
                "Give another file (--store PATH).",
            ) from None
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from None

    def _damaged(self, what: str) -> InputError:
        return InputError(
            str(self.path),
            "a store of measured kernels",
            f"a damaged file ({what})",
            "Delete it; stagewright profile MODEL --fill measures anew.",
        )
