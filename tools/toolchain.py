# SPDX-License-Identifier: Apache-2.0
"""Find a C++20 compiler and drive CMake; standard library only, because it runs before anything is installed."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD_DIR = ROOT / "build" / "dev"
ZIG_DIR = ROOT / "build" / "zig"
ZIG_REQUIREMENT = "ziglang>=0.13"
CANDIDATES = (
    "c++",
    "g++",
    "clang++",
    *(f"g++-{version}" for version in range(16, 10, -1)),
    *(f"clang++-{version}" for version in range(22, 13, -1)),
)


class ToolchainError(Exception):
    """Something that the build needs is missing; the message is one sentence with the remedy."""


@dataclass(frozen=True)
class Compiler:
    """A C++20 compiler and the environment that makes CMake use it."""

    name: str
    environment: Mapping[str, str]


def compiles_cxx20(command: list[str]) -> bool:
    """Whether `command` compiles the probe with its own standard library."""
    with tempfile.TemporaryDirectory() as folder:
        probe = [str(ROOT / "tools" / "cxx20_probe.cpp"), "-o", str(Path(folder) / "probe.o")]
        try:
            done = subprocess.run(
                [*command, "-std=c++20", "-c", *probe], capture_output=True, check=False
            )
        except OSError:
            return False
        return done.returncode == 0


def system_compiler(environment: Mapping[str, str] = os.environ) -> Compiler | None:
    """Return the compiler that CXX names, else the first usable candidate on PATH.

    Raises
    ------
    ToolchainError
        If CXX is set and does not name a C++20 compiler: the choice is not silently replaced.
    """
    chosen = environment.get("CXX")
    if chosen:
        if not compiles_cxx20(shlex.split(chosen)):
            raise ToolchainError(
                f"stagewright needs a C++20 compiler and CXX={chosen} does not compile C++20: "
                "point CXX to g++ >= 11 or clang++ >= 14, or unset it."
            )
        return Compiler(chosen, {})
    for name in CANDIDATES:
        path = shutil.which(name, path=environment.get("PATH"))
        if path and compiles_cxx20([path]):
            return Compiler(path, {"CXX": path})
    return None


def zig_binary() -> Path | None:
    """Return the compiler driver of the `ziglang` wheel if it can be imported here."""
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).with_name("zig")


def zig_compiler(zig: Path, folder: Path) -> Compiler:
    """Write wrappers named like the usual tools into `folder`.

    CMake looks for `ar` and `ranlib` beside the compiler first, so one folder serves it all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # zig compiles for the machine it runs on and traps undefined behaviour unless told otherwise.
    portable = " -mcpu=baseline -fno-sanitize=undefined"
    tools = {"c++": f"c++{portable}", "cc": f"cc{portable}", "ar": "ar", "ranlib": "ranlib"}
    for name, subcommand in tools.items():
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(str(zig))} {subcommand} "$@"\n')
        script.chmod(0o755)
    environment = {"CXX": str(folder / "c++"), "CC": str(folder / "cc")}
    return Compiler(f"{folder / 'c++'} (zig)", environment)


def find_compiler(zig_folder: Path) -> Compiler:
    """Return a system compiler, else zig's if the `ziglang` wheel is installed.

    Raises
    ------
    ToolchainError
        If there is neither.
    """
    compiler = system_compiler()
    if compiler is None:
        zig = zig_binary()
        if zig is None:
            raise ToolchainError(
                "stagewright needs a C++20 compiler and found none (tried c++, g++, clang++ and "
                "their versioned names): install one (apt install g++), "
                "or run `pip install ziglang`, which brings one."
            )
        compiler = zig_compiler(zig, zig_folder)
    return compiler


def check_python_headers() -> None:
    """Raise ToolchainError if this interpreter came without its C headers."""
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        raise ToolchainError(
            f"stagewright needs Python's C headers and {header} is missing: "
            "install them (apt install python3-dev)."
        )


def project_table() -> dict[str, object]:
    """Return pyproject.toml as a dictionary."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def package_version() -> str:
    """Return `__version__`, the one place where the version is written."""
    text = (ROOT / "src" / "stagewright" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    if found is None:
        raise ToolchainError('src/stagewright/__init__.py lacks its line `__version__ = "..."`.')
    return found.group(1)


def build_in_place() -> Compiler:
    """Build `stagewright._native` and its stub into src/stagewright, with this interpreter.

    Needs cmake, ninja and nanobind in the environment. A repeated call rebuilds what changed.
    """
    check_python_headers()
    compiler = find_compiler(ZIG_DIR)
    environment = {**os.environ, **compiler.environment}
    cmake, ninja = _build_tool("cmake"), _build_tool("ninja")
    nanobind = subprocess.run(
        [sys.executable, "-m", "nanobind", "--cmake_dir"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    _forget_other_compiler(shlex.split(environment["CXX"])[0])
    configure = [
        *(cmake, "-S", str(ROOT), "-B", str(BUILD_DIR), "-G", "Ninja"),
        f"-DCMAKE_MAKE_PROGRAM={ninja}",
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dnanobind_DIR={nanobind}",
        "-DSTAGEWRIGHT_INPLACE=ON",
    ]
    quiet = ["--log-level=WARNING"]
    _call([*configure, *quiet], environment)
    _call([cmake, "--build", str(BUILD_DIR)], environment)
    return compiler


def _build_tool(name: str) -> str:
    """Return the path of cmake or ninja: beside this interpreter first, then on PATH."""
    beside = Path(sys.executable).parent
    path = shutil.which(name, path=os.pathsep.join([str(beside), os.environ.get("PATH", "")]))
    if path is None:
        raise ToolchainError(f"stagewright's build needs {name}: run `pip install {name}`.")
    return path


def _forget_other_compiler(compiler: str) -> None:
    """Drop CMake's cache if it was made with another compiler, which CMake would silently keep."""
    cache = BUILD_DIR / "CMakeCache.txt"
    if not cache.is_file():
        return
    wanted = shutil.which(compiler)
    for line in cache.read_text(encoding="utf-8").splitlines():
        if line.startswith("CMAKE_CXX_COMPILER:") and line.partition("=")[2] != wanted:
            shutil.rmtree(BUILD_DIR)
            return


def _call(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, env=environment, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode or "warning:" in done.stdout:
        sys.stdout.write(done.stdout)
        sys.stdout.flush()
    if done.returncode:
        raise ToolchainError(f"the native build failed in `{Path(command[0]).name} {command[1]}`.")


if __name__ == "__main__":
    try:
        print(f"built with {build_in_place().name}")
    except ToolchainError as error:
        sys.exit(str(error))
