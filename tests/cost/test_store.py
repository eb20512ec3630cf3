# SPDX-License-Identifier: Apache-2.0
"""The store of measured kernels: keys, several writers, and files that are none."""

from __future__ import annotations

import dataclasses
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from stagewright.cost.store import (
    Conditions,
    KernelUse,
    Measurement,
    ModelKey,
    Store,
    default_store,
)
from stagewright.errors import InputError

HERE = Conditions("a processor", 1, "onnxruntime 1.2.3", "cached")
TAKEN = Measurement(100, 90, 120, 9, 2, "free", 2, 0.25, "2026-01-01T00:00:00+00:00")
MODEL = ModelKey("ab", "{}", "onnxruntime 1.2.3", "cpu", 1, "all")


def test_what_was_added_is_found_again(tmp_path: Path) -> None:
    with Store(tmp_path / "new" / "store.sqlite") as store:
        assert store.find("k", HERE) is None
        store.add("k", HERE, TAKEN, op="Conv")
    with Store(tmp_path / "new" / "store.sqlite", create=False) as store:
        assert store.find("k", HERE) == TAKEN
        assert store.count() == 1


@pytest.mark.parametrize(
    "change",
    [
        {"device": "another"},
        {"threads": 2},
        {"runtime": "onnxruntime 1.2.4"},
        {"parameters": "streamed"},
    ],
)
def test_other_conditions_are_other_measurements(tmp_path: Path, change: dict[str, object]) -> None:
    other = dataclasses.replace(HERE, **change)  # type: ignore[arg-type]  # one known field
    with Store(tmp_path / "store.sqlite") as store:
        store.add("k", HERE, TAKEN)
        assert store.find("k", other) is None
        store.add("k", other, dataclasses.replace(TAKEN, median=7))
        assert store.find("k", HERE) == TAKEN
        assert store.count() == 2


def test_the_later_of_two_stays(tmp_path: Path) -> None:
    with Store(tmp_path / "store.sqlite") as store:
        store.add("k", HERE, TAKEN)
        store.add("k", HERE, dataclasses.replace(TAKEN, median=7))
        assert store.find("k", HERE) == dataclasses.replace(TAKEN, median=7)
        assert store.count() == 1


def test_models_are_remembered(tmp_path: Path) -> None:
    uses = [KernelUse("k", "Conv", {"conv1": 0.75, "relu1": 0.25}), KernelUse("l", "Gemm", {})]
    with Store(tmp_path / "store.sqlite") as store:
        store.add_model(MODEL, 42, uses)
        assert store.find_model(MODEL) == (42, uses)
        assert store.find_model(dataclasses.replace(MODEL, shapes='{"x": [1]}')) is None
        assert store.find_model(dataclasses.replace(MODEL, level="basic")) is None


WRITER = """
import sys
from stagewright.cost.store import Conditions, Measurement, Store
path, name = sys.argv[1:]
conditions = Conditions("a processor", 1, "runtime", "cached")
for i in range(40):
    with Store(path) as store:  # opened anew each time: also making the file is contended
        taken = Measurement(i, i, i, 9, 2, "free", 2, 0.0, "now")
        store.add(f"{name}-{i}", conditions, taken)
        store.add("shared", conditions, taken)
"""


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], stderr=subprocess.PIPE)
        for name in "abcd"
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors.decode()
    conditions = Conditions("a processor", 1, "runtime", "cached")
    with Store(path) as store:
        assert store.count() == 4 * 40 + 1
        for name in "abcd":
            for i in range(40):
                found = store.find(f"{name}-{i}", conditions)
                assert found is not None
                assert found.median == i


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(InputError, match="got a damaged file") as caught:
        Store(path)
    assert str(caught.value).startswith(str(path))
    assert "Delete it" in str(caught.value)


def test_a_file_damaged_inside_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        for i in range(200):
            store.add(f"k{i}", HERE, TAKEN, signature="x" * 200)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(InputError, match="got a damaged file"), Store(path) as store:
        store.find("k7", HERE)


def test_a_foreign_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE holidays (day TEXT)")
    with pytest.raises(InputError, match="an SQLite file of another program"):
        Store(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("holidays",)]


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(InputError, match="a store of version 1, got version 99"):
        Store(path)


def test_a_file_to_read_from_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"got no such file\. Fill one: stagewright profile"):
        Store(tmp_path / "none.sqlite", create=False)
    assert not (tmp_path / "none.sqlite").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="expected a place to write to"):
        Store(tmp_path / "file" / "store.sqlite")


def test_the_default_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_store() == tmp_path / "stagewright" / "kernels.sqlite"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_store() == tmp_path / "home" / ".cache" / "stagewright" / "kernels.sqlite"
