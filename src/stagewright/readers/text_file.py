# SPDX-License-Identifier: Apache-2.0
"""What the doors of text formats share: the text of a file, and messages that name the place in it."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any, Final

from ..errors import GraphError, InputError

__all__ = ["MAX_TEXT_BYTES", "Place", "text_of"]

MAX_TEXT_BYTES: Final = 4 * 2**30
"""Largest text read, after expansion: a hostile gzip file stops here."""


class Place:
    """Prefix the item of a GraphError raised inside with the place in the file."""

    def __init__(self, item: str) -> None:
        self.item = item

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, GraphError) and not error.item.startswith(self.item):
            raise GraphError(
                f"{self.item}: {error.item}", error.expected, error.got, error.remedy
            ) from None


def text_of(path: Path) -> str:
    """Return the text of a plain or gzip file of at most :data:`MAX_TEXT_BYTES`."""
    pieces = bytearray()
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            source: Any = gzip.GzipFile(fileobj=file) if packed else file
            while piece := source.read(2**20):
                pieces += piece
                if len(pieces) > MAX_TEXT_BYTES:
                    raise GraphError(
                        str(path),
                        f"at most {MAX_TEXT_BYTES} bytes of text",
                        "more (after expansion)",
                    )
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise GraphError(str(path), "a whole gzip file", f"a damaged one ({error})") from None
    except OSError as error:
        raise InputError(str(path), "a readable file", error.strerror or str(error)) from None
    try:
        return pieces.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise GraphError(
            str(path), "UTF-8 text", f"byte 0x{pieces[error.start]:02x} at position {error.start}"
        ) from None
