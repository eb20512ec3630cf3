# SPDX-License-Identifier: Apache-2.0
"""The build's search for a compiler, and what it says when there is none."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

import dev
import toolchain


def stub_compiler(folder: Path, name: str, status: int) -> Path:
    script = folder / name
    script.write_text(f"#!/bin/sh\nexit {status}\n")
    script.chmod(0o755)
    return script


def test_first_compiler_that_knows_cxx20_is_taken(tmp_path: Path) -> None:
    stub_compiler(tmp_path, "c++", status=1)
    newer = stub_compiler(tmp_path, "g++-13", status=0)
    found = toolchain.system_compiler({"PATH": str(tmp_path)})
    assert found == toolchain.Compiler(str(newer), {"CXX": str(newer)})


def test_chosen_compiler_is_not_silently_replaced(tmp_path: Path) -> None:
    stub_compiler(tmp_path, "c++", status=0)
    with pytest.raises(toolchain.ToolchainError, match="CXX=/no/such does not compile C\\+\\+20"):
        toolchain.system_compiler({"PATH": str(tmp_path), "CXX": "/no/such"})


def test_without_any_compiler_one_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(toolchain, "zig_binary", lambda: None)
    with pytest.raises(toolchain.ToolchainError) as caught:
        toolchain.find_compiler(tmp_path)
    assert str(caught.value) == (
        "stagewright needs a C++20 compiler and found none (tried c++, g++, clang++ and their "
        "versioned names): install one (apt install g++), or run `pip install ziglang`, which "
        "brings one."
    )


def test_zig_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    zig = tmp_path / "zig"
    zig.write_text('#!/bin/sh\necho "$@"\n')
    zig.chmod(0o755)
    monkeypatch.setattr(toolchain, "zig_binary", lambda: zig)
    compiler = toolchain.find_compiler(tmp_path / "bin")
    said = subprocess.run(
        [compiler.environment["CXX"], "-c", "x y.cpp"], capture_output=True, text=True, check=True
    ).stdout
    assert said == "c++ -mcpu=baseline -fno-sanitize=undefined -c x y.cpp\n"
    assert {path.name for path in (tmp_path / "bin").iterdir()} == {"c++", "cc", "ar", "ranlib"}


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++ to try the probe on")
def test_probe_tells_standards_apart() -> None:
    assert toolchain.compiles_cxx20(["g++"])
    assert not toolchain.compiles_cxx20(["g++", "-nostdinc++"])


def test_python_without_venv_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(toolchain.ToolchainError, match=r"apt install python3-venv"):
        dev.create_venv()


def test_arguments_after_a_command_belong_to_its_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(dev, "ensure_environment", lambda: None)
    monkeypatch.setitem(dev.COMMANDS, "test", seen.append)
    assert dev.main(["test", "--help", "-k", "a or b"]) == 0
    assert seen == [["--help", "-k", "a or b"]]


def test_failing_tool_gives_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "ensure_environment", lambda: None)
    monkeypatch.setitem(dev.COMMANDS, "test", lambda _: dev.call(["sh", "-c", "exit 5"]))
    assert dev.main(["test"]) == 5


def test_every_make_target_is_a_command_of_dev() -> None:
    makefile = (toolchain.ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {line.partition(":")[0] for line in makefile.splitlines() if ": ; @" in line}
    assert targets == {*dev.COMMANDS, "help"}
