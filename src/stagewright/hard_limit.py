# SPDX-License-Identifier: Apache-2.0
"""A hard limit of memory, as the algorithms see it: a step in the cost of a stage."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import InputError

__all__ = ["HardLimit"]

_MOST = 2**57  # what cost and overflow may add up to beside a hard limit


@dataclass(frozen=True)
class HardLimit:
    """A hard limit of memory as a step in the cost of a stage.

    A stage that holds more costs at least `refusal`, which is more than any stage that fits.  So whatever
    minimises costs first looks for a plan that fits, then for the best one, and a lower bound of
    `refusal` or more proves that no plan fits.

    Attributes
    ----------
    nbytes
        The limit.
    refusal
        Picoseconds, above the cost of any stage that fits.
    per_byte
        Picoseconds for each byte beyond the limit: of two plans that do not fit, the one that exceeds
        it by less is the better one.
    """

    nbytes: int
    refusal: int
    per_byte: int

    @classmethod
    def of(cls, nbytes: int, dearest: int, everything: int) -> HardLimit:
        """Return the limit where no stage costs more than `dearest` or holds more than `everything`.

        Raises
        ------
        InputError
            If times or sizes are too large to leave room for the step.
        """
        if dearest >= _MOST or everything >= _MOST:
            raise InputError(
                "memory limit",
                "a graph whose times and sizes add up to less than 2**57 ps (40 hours) and bytes",
                f"{dearest} ps and {everything} bytes",
            )
        refusal = dearest + 1
        return cls(nbytes, refusal, max(1, min(refusal, _MOST // everything)))

    def penalty(self, held: int) -> int:
        """Return picoseconds beyond the cost without a limit."""
        return self.refusal + (held - self.nbytes) * self.per_byte if held > self.nbytes else 0
