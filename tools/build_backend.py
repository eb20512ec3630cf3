# SPDX-License-Identifier: Apache-2.0
"""PEP 517 backend: scikit_build_core.build, plus a C++20 compiler or one sentence about its absence.

Without a compiler, the `ziglang` wheel is asked for as a build requirement and used as one. The
sentence is for when that cannot be had (for example `--no-build-isolation` without ziglang).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scikit_build_core import build as backend
from scikit_build_core.build import (
    build_sdist,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

import toolchain

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

type_of_settings = dict[str, list[str] | str] | None


def get_requires_for_build_wheel(config_settings: type_of_settings = None) -> list[str]:
    """Return what CMake needs, and zig where there is no compiler."""
    requirements = list(backend.get_requires_for_build_wheel(config_settings))
    with _one_sentence():
        if toolchain.system_compiler() is None and toolchain.zig_binary() is None:
            requirements.append(toolchain.ZIG_REQUIREMENT)
    return requirements


# An editable install compiles too, only elsewhere.
get_requires_for_build_editable = get_requires_for_build_wheel


def build_wheel(
    wheel_directory: str,
    config_settings: type_of_settings = None,
    metadata_directory: str | None = None,
) -> str:
    """Build a wheel with whichever compiler there is."""
    with tempfile.TemporaryDirectory() as folder, _one_sentence():
        toolchain.check_python_headers()
        os.environ.update(toolchain.find_compiler(Path(folder)).environment)
        return backend.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str,
    config_settings: type_of_settings = None,
    metadata_directory: str | None = None,
) -> str:
    """Build the native module into src/stagewright and a wheel that points there."""
    with _one_sentence():
        toolchain.build_in_place()
    return backend.build_editable(wheel_directory, config_settings, metadata_directory)


@contextmanager
def _one_sentence() -> Iterator[None]:
    """End with the sentence alone: pip shows a traceback's last lines no better than its first."""
    try:
        yield
    except toolchain.ToolchainError as error:
        raise SystemExit(f"error: {error}") from None
