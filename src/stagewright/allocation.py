# SPDX-License-Identifier: Apache-2.0
"""Making many objects at once, without the cyclic collector looking at them again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["many_objects"]


@contextmanager
def many_objects() -> Iterator[None]:
    """Let the cyclic collector wait while lists and tuples are made by the hundred thousand.

    It starts anew after every 700 of them and finds nothing, for they hold numbers and one another and form no
    cycles; that takes half of the time.  Also a decorator.  Whatever happens inside, the collector is on
    afterwards if it was before.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
