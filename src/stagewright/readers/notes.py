# SPDX-License-Identifier: Apache-2.0
"""What a reader wants to say: what it left out, chose or estimated."""

from __future__ import annotations

import warnings
from pathlib import Path

__all__ = ["StagewrightWarning", "tell"]


class StagewrightWarning(UserWarning):
    """A model was read, but not to the letter: some number is an estimate, or something was left out.

    The message says which.
    """


def tell(path: str | Path, text: str) -> None:
    """Say something about the reading of a file: the command shows it on stderr."""
    warnings.warn(StagewrightWarning(f"{path}: {text}"), stacklevel=3)
