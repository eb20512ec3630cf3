# SPDX-License-Identifier: Apache-2.0
"""Writing files so that they appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import InputError

__all__ = ["write_whole"]


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write a file under a temporary name beside `path`, then rename it; text as UTF-8.

    Raises
    ------
    InputError
        If the file cannot be written; an earlier one is left as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(str(path), "a writable file", reason) from None
