# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C that ends a stream where it is: the first lets out what is inside, the second ends all."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, Self, TypeVar

__all__ = ["Draining"]

Item = TypeVar("Item")


class Draining:
    """While it is entered, the first Ctrl-C only sets `asked`; the next one raises KeyboardInterrupt.

    Only the main thread can hear; elsewhere, and where the program ignores Ctrl-C, nothing changes.

    Parameters
    ----------
    tell
        Called at the first Ctrl-C, in the signal handler; None leaves Ctrl-C as it is.
    """

    def __init__(self, tell: Callable[[], None] | None) -> None:
        self.asked = False
        self._tell = tell
        self._before: Any = None

    def __enter__(self) -> Self:
        before = signal.getsignal(signal.SIGINT)
        ours = threading.current_thread() is threading.main_thread() and callable(before)
        if self._tell is not None and ours:
            self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def until(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield items, until Ctrl-C came."""
        for item in items:
            if self.asked:
                return
            yield item

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._restore()
        if self._tell is not None:
            self._tell()

    def _restore(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None
