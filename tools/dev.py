#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Everything a developer does here, in one command: `python3 tools/dev.py test`.

Standard library only: it makes the virtual environment that it then works in. Each subcommand
first brings the environment up to date, which takes well under a second when nothing changed.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - an older Python runs this too; before anything newer is imported
    sys.exit("stagewright needs Python 3.11 or later; this is " + sys.version.split()[0])

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import toolchain
from toolchain import ROOT, ToolchainError

VENV = ROOT / ".venv"
BIN = VENV / "bin"
PYTHON = BIN / "python"
STAMPS = VENV / "stagewright-stamps.json"
LINTED = ("src", "tests", "tools", "benchmarks", "examples")
TYPED = ("src", "tests", "tools")
# One complaint a file says enough: `make format` mends them all.
CLANG_CHECK = ("--dry-run", "-Werror", "--ferror-limit=1")
CMAKE_AT_LEAST = (3, 18)
NEEDS_TORCH = ("test", "sweep")


# --- the environment ---------------------------------------------------------------------------


def ensure_environment() -> None:
    """Create or update the virtual environment and the native module, as far as needed."""
    with _lock():
        stamps = _read_stamps()
        dependencies, native = dependencies_hash(), native_hash()
        if not PYTHON.exists():
            stamps = {}
            with step("creating .venv"):
                create_venv()
        if stamps.get("dependencies") != dependencies:
            with step("installing dependencies and the package"):
                install_everything()
            _write_stamps({**stamps, "dependencies": dependencies, "native": native})
        elif stamps.get("native") != native or not _native_is_there():
            build_native()
            _write_stamps({**stamps, "native": native})


def ensure_torch() -> None:
    """Install what tests of readers, exports and the manual need, torch before what depends on it."""
    optional = extras()
    torch = [str(r) for r in optional["torch"]]
    others = [
        str(r)
        for extra in ("hf", "interop", "jax", "consumers", "docs", "frames", "ray")
        for r in optional[extra]
        if not str(r).startswith("stagewright[")
    ]
    wanted = _digest([json.dumps([torch, others]).encode()])
    with _lock():
        stamps = _read_stamps()
        if stamps.get("torch") == wanted:
            return
        with step("installing torch, transformers and others for the tests"):
            pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
            call([*pip, *torch])
            call([*pip, *torch, *others])
        _write_stamps({**stamps, "torch": wanted})


def extras() -> dict[str, list[str]]:
    """Return the optional dependencies by name."""
    project = toolchain.project_table()["project"]
    assert isinstance(project, dict)
    optional: dict[str, list[str]] = project["optional-dependencies"]
    return optional


def ensure_manual() -> None:
    """Install what builds the manual."""
    if not (BIN / "mkdocs").exists():
        with step("installing what builds the manual"):
            install = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
            call([*install, *map(str, extras()["docs"])])


def create_venv() -> None:
    """Create .venv, or say what this Python lacks."""
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise ToolchainError(
            "this Python cannot make virtual environments (venv or ensurepip is missing): "
            "install them (apt install python3-venv)."
        )
    call([sys.executable, "-m", "venv", str(VENV)], quiet=True)


def install_everything() -> None:
    """Install the build requirements, then the package with its developer extras."""
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    call([*pip, *build_requirements()])
    build_native()
    call([*pip, "--no-build-isolation", "--editable", f"{ROOT}[dev]"])


def build_requirements() -> list[str]:
    """Return what the native build needs beyond what the machine already has."""
    build_system = toolchain.project_table()["build-system"]
    assert isinstance(build_system, dict)
    requirements = [str(requirement) for requirement in build_system["requires"]]
    if cmake_version() < CMAKE_AT_LEAST:
        requirements.append("cmake>=" + ".".join(map(str, CMAKE_AT_LEAST)))
    if shutil.which("ninja") is None:
        requirements.append("ninja")
    if toolchain.system_compiler() is None:
        requirements.append(toolchain.ZIG_REQUIREMENT)
    return requirements


def cmake_version() -> tuple[int, ...]:
    """Return the version of the cmake on PATH, (0,) without one."""
    if shutil.which("cmake") is None:
        return (0,)
    text = subprocess.run(["cmake", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in text.split()[2].split("-")[0].split("."))


def build_native() -> None:
    """Build what changed of the native module, with the environment's Python."""
    with step("building stagewright._native"):
        call([str(PYTHON), str(ROOT / "tools" / "toolchain.py")])


# --- what the stamps stand for -----------------------------------------------------------------


def dependencies_hash() -> str:
    """Hash what an installed environment depends on; tool settings are not part of it."""
    table = toolchain.project_table()
    tools = table["tool"]
    assert isinstance(tools, dict)
    relevant = [table["build-system"], table["project"], tools["scikit-build"]]
    relevant.append(toolchain.package_version())
    return _digest([json.dumps(relevant).encode(), str(ROOT).encode()])


def native_hash() -> str:
    """Hash what the native module is built from."""
    files = [ROOT / "CMakeLists.txt", ROOT / "tools" / "toolchain.py"]
    files += sorted(path for path in (ROOT / "native").rglob("*") if path.is_file())
    chunks = [os.environ.get("CXX", "").encode(), toolchain.package_version().encode()]
    for file in files:
        chunks += [str(file.relative_to(ROOT)).encode(), file.read_bytes()]
    return _digest(chunks)


def _digest(chunks: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(len(chunk).to_bytes(8, "little") + chunk)
    return digest.hexdigest()


def _native_is_there() -> bool:
    package = ROOT / "src" / "stagewright"
    return any(package.glob("_native*.so")) and (package / "_native.pyi").exists()


def _read_stamps() -> dict[str, str]:
    try:
        stamps: dict[str, str] = json.loads(STAMPS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamps


def _write_stamps(stamps: dict[str, str]) -> None:
    STAMPS.write_text(json.dumps(stamps, indent=1), encoding="utf-8")


@contextmanager
def _lock() -> Iterator[None]:
    """Let one process at a time work on the environment."""
    import fcntl

    with (ROOT / ".venv.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- running things ----------------------------------------------------------------------------


class CommandFailedError(Exception):
    """A command that we ran ended with a status other than 0."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exit status {status}")
        self.status = status


def call(command: Sequence[str], *, quiet: bool = False) -> None:
    """Run a command in the repository's root; raise CommandFailedError unless it succeeds."""
    out = subprocess.DEVNULL if quiet else None
    # Without standard input, no tool can stop and wait for an answer.
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, check=False)
    if done.returncode:
        raise CommandFailedError(done.returncode if done.returncode > 0 else 128 - done.returncode)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what happens and how long it took."""
    print(f"[dev] {what} ...", file=sys.stderr, flush=True)
    start = time.perf_counter()
    yield
    print(f"[dev] {what}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)


# --- the subcommands ---------------------------------------------------------------------------


def env(_: list[str]) -> None:
    """Create or update .venv and the native module."""
    print(f"[dev] ready: {PYTHON.relative_to(ROOT)}", file=sys.stderr)


def build(_: list[str]) -> None:
    """Build the native module, stamps or not."""
    with _lock():
        build_native()


def test(args: list[str]) -> None:
    """Run pytest [ARGS]."""
    call([str(PYTHON), "-m", "pytest", *args])


def sweep(args: list[str]) -> None:
    """Run the slow tests: pytest -m slow [ARGS]."""
    call([str(PYTHON), "-m", "pytest", "-m", "slow", *args])


def brute(args: list[str]) -> None:
    """Hold devices, schedules and objectives against all plans of 5,000 small graphs per mode (about an hour)."""
    call([str(PYTHON), "-m", "tests.placement.brute", *args])


def lint(_: list[str]) -> None:
    """Check style, types and formatting; all of them, also after a failure."""
    folders = [name for name in LINTED if (ROOT / name).is_dir()]
    typed = [name for name in TYPED if any((ROOT / name).rglob("*.py"))]
    checks = {
        "ruff check": [str(BIN / "ruff"), "check", *folders],
        "ruff format": [str(BIN / "ruff"), "format", "--check", *folders],
        "mypy": [str(PYTHON), "-m", "mypy", "--strict", *typed],
        "clang-format": [str(BIN / "clang-format"), *CLANG_CHECK, *native_files()],
    }
    failed = []
    for name, command in checks.items():
        try:
            with step(name):
                call(command)
        except CommandFailedError:
            failed.append(name)
    if failed:
        raise ToolchainError(f"lint failed: {', '.join(failed)} (some of it: make format)")


def format_sources(_: list[str]) -> None:
    """Rewrite sources the way lint wants them."""
    folders = [name for name in LINTED if (ROOT / name).is_dir()]
    call([str(BIN / "ruff"), "check", "--fix-only", "--quiet", *folders])
    call([str(BIN / "ruff"), "format", *folders])
    call([str(BIN / "clang-format"), "-i", *native_files()])


def demo(args: list[str]) -> None:
    """Run examples/demo.py [ARGS]."""
    call([str(PYTHON), "examples/demo.py", *args])


def bench(args: list[str]) -> None:
    """Run the benchmarks: python -m benchmarks [ARGS]."""
    call([str(PYTHON), "-m", "benchmarks", *args])


def bench_check(args: list[str]) -> None:
    """Compare gaps, proofs and plans of a small subset with what was accepted: python -m benchmarks.check."""
    call([str(PYTHON), "-m", "benchmarks.check", *args])


def docs(_: list[str]) -> None:
    """Build the manual into build/manual; a warning is an error."""
    ensure_manual()
    os.environ["NO_MKDOCS_2_WARNING"] = "1"  # the theme's announcement of its successor
    call([str(BIN / "mkdocs"), "build", "--strict", "--quiet"])
    print("[dev] the manual: build/manual/index.html", file=sys.stderr)


def clean(_: list[str]) -> None:
    """Remove .venv, build trees, the in-place module and caches."""
    package = ROOT / "src" / "stagewright"
    caches = [
        ROOT / name for name in (".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis")
    ]
    for folder in (VENV, ROOT / "build", ROOT / "dist", *caches):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (*package.glob("_native*.so"), package / "_native.pyi"):
        file.unlink(missing_ok=True)


def native_files() -> list[str]:
    """Return the C++ files that clang-format looks after."""
    folder = ROOT / "native"
    return sorted(
        str(path) for pattern in ("*.cpp", "*.h", "*.hpp") for path in folder.rglob(pattern)
    )


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "env": env,
    "build": build,
    "test": test,
    "sweep": sweep,
    "brute": brute,
    "lint": lint,
    "format": format_sources,
    "demo": demo,
    "bench": bench,
    "bench-check": bench_check,
    "docs": docs,
    "clean": clean,
}


def main(argv: list[str]) -> int:
    """Run one subcommand and return the exit status."""
    parser = argparse.ArgumentParser(description="Stagewright's developer commands.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, function in COMMANDS.items():
        subparsers.add_parser(name, help=(function.__doc__ or "").rstrip("."), add_help=False)
    # What follows the command belongs to the tool that it runs, `--help` included.
    chosen, rest = parser.parse_args(argv[:1]), argv[1:]
    try:
        if chosen.command != "clean":
            ensure_environment()
        if chosen.command in NEEDS_TORCH:
            ensure_torch()
        COMMANDS[chosen.command](rest)
    except ToolchainError as error:
        print(f"[dev] {error}", file=sys.stderr)
        return 1
    except CommandFailedError as error:
        return error.status
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
