# SPDX-License-Identifier: Apache-2.0
"""The model that was split, in one session: what a pipeline is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError, StagewrightError
from ..splitting.manifest import Manifest
from ..splitting.typed_model import file_sha256
from .inputs import checked_inputs
from .outputs import as_outputs
from .session import StageSession

__all__ = ["Unsplit", "find_model", "open_unsplit"]


class Unsplit:
    """The whole model in one session of so many threads; opened as a stage is, for a fair race."""

    def __init__(
        self, path: Path, manifest: Manifest, threads: int, level: str, provider: str = "cpu"
    ) -> None:
        self.threads, self._manifest = threads, manifest
        self._session = StageSession(str(path), threads, level, provider, reuse=True)

    def stored(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """Return the model's inputs as :meth:`compute` takes them."""
        return checked_inputs(self._manifest.inputs, feeds)

    def compute(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Compute one item and leave the outputs where they are; they hold until the next item."""
        return self._session(stored, {})

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """Return the model's outputs by name; they hold until the next item."""
        return as_outputs(self._manifest.outputs, self.compute(self.stored(feeds)))


def find_model(manifest: Manifest, given: str | Path | None) -> tuple[Path | None, str]:
    """Return the unsplit model's path, or why there is none to compare with.

    Raises
    ------
    InputError
        If `given` is not the model that was split.
    """
    path = Path(manifest.model_path if given is None else given)
    if path.is_file() and file_sha256(path) == manifest.model_sha256:
        return path, ""
    what = "another model than was split" if path.is_file() else "no file"
    if given is not None:
        raise InputError(str(given), "the model that was split", what)
    return None, f"{what} at '{path}'; give --model"


def open_unsplit(
    path: Path,
    manifest: Manifest,
    threads: Sequence[int],
    level: str,
    provider: str,
    feeds: Mapping[str, Any],
) -> tuple[list[Unsplit], str]:
    """Open the model once per number of threads and run it once; or return why that is not possible."""
    try:
        sessions = [Unsplit(path, manifest, n, level, provider) for n in dict.fromkeys(threads)]
    except StagewrightError:
        raise
    except Exception as fault:  # noqa: BLE001  # onnxruntime's errors have no common class
        return [], f"onnxruntime does not load the unsplit model: {fault}"
    try:
        for session in sessions:
            session.run(feeds)
    except StagewrightError:
        raise
    except Exception as fault:  # noqa: BLE001  # onnxruntime's errors have no common class
        # A model split for other sizes than it states runs as stages only.
        return [], f"the unsplit model does not run with these inputs: {fault}"
    return sessions, ""
