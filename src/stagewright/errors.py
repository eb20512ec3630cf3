# SPDX-License-Identifier: Apache-2.0
"""The exception family.

Every message about input names four things: which item, what was expected, what came, and what
to do.  The command prints the message and exits with :attr:`StagewrightError.exit_code`.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "CheckError",
    "GraphError",
    "InputError",
    "LimitError",
    "MissingDependencyError",
    "ModelError",
    "RunError",
    "StagewrightError",
]


class StagewrightError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 2


class InputError(StagewrightError):
    """Something the user gave cannot be used.

    Parameters
    ----------
    item
        What is wrong, as the user knows it: a file, a key path, an option, a node.
    expected
        What would have been right.
    got
        What was there instead.
    remedy
        What to do about it; omitted when the expectation already says it.
    """

    def __init__(self, item: str, expected: str, got: str, remedy: str = "") -> None:
        self.item, self.expected, self.got, self.remedy = item, expected, got, remedy
        message = f"{item}: expected {expected}, got {got}"
        super().__init__(f"{message}. {remedy}" if remedy else message)

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors travel between processes.
        return type(self), (self.item, self.expected, self.got, self.remedy)


class GraphError(InputError):
    """A cost graph breaks a rule of the problem (cycle, overflow, unknown reference ...)."""


class ModelError(InputError):
    """A model file cannot be read."""


class CheckError(InputError):
    """A plan file cannot be read (an invalid plan is an answer, not an error)."""


class RunError(StagewrightError):
    """A pipeline failed while running."""

    exit_code = 1


class MissingDependencyError(StagewrightError):
    """An optional library is needed and not installed.

    Parameters
    ----------
    package
        The name of the package on PyPI.
    extra
        The extra of this package that brings it.
    purpose
        What it is needed for.
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self._parts = package, extra, purpose
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed. "
            f"Install it with: pip install 'stagewright[{extra}]'"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._parts


class InfeasibleError(StagewrightError):
    """There is no plan that obeys what was asked for, and that is proven."""

    exit_code = 1


class LimitError(StagewrightError):
    """A limit (time, memory, size) was reached before there was any answer."""

    exit_code = 3
