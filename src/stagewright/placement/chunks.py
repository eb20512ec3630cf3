# SPDX-License-Identifier: Apache-2.0
"""In which order a device runs its chunks by the interleaved schedule, and what it keeps of each.

Interleaved 1F1B (Narayanan et al., Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM, SC
2021): the model is cut into p v chunks, and the r-th of p devices, counted from 0, holds chunks r, p + r, 2 p + r and
so on: its local chunks 0 to v - 1.  The m microbatches, a multiple of p, pass in rounds of p: each device
runs p of them forward through local chunk 0, then the same p through local chunk 1, and so on up to v - 1, then
the next p; its backward passes go in the same rounds, from local chunk v - 1 down to 0.

Of these m v forward passes it does

    min(m v, 2 (p - r - 1) + (v - 1) p)

before its first backward pass; then one forward and one backward pass in turn until no forward one is left, then the
rest.  A local chunk keeps what its backward pass needs of every microbatch between the two, so after one more
forward pass the device holds min(m v, 2 (p - r - 1) + (v - 1) p + 1) in all, the most that it ever does; how these
divide into local chunks changes from pass to pass.  For local chunk c let F(i) be how many of the first i
forward passes are its own and B(j) the same of backward ones; then it holds F(i) - B(j).
"""

from __future__ import annotations

from functools import lru_cache

__all__ = ["in_flight", "moments", "resting", "warm_up"]

Moment = tuple[tuple[int, ...], int]


def warm_up(rank: int, devices: int, chunks: int, microbatches: int) -> int:
    """Return how many forward passes a device does before its first backward one."""
    return min(microbatches * chunks, 2 * (devices - rank - 1) + (chunks - 1) * devices)


def passes(
    rank: int, devices: int, chunks: int, microbatches: int
) -> list[tuple[tuple[int, ...], int, bool]]:
    """Return what a device holds of each local chunk while it does each of its passes, which chunk, and whether backward.

    What is being run counts as held.
    """
    total = microbatches * chunks
    first = warm_up(rank, devices, chunks, microbatches)
    turns = [False] * first + [False, True] * (total - first) + [True] * first
    held, done, rows = [0] * chunks, [0, 0], []
    for backward in turns:
        chunk = done[backward] // devices % chunks
        done[backward] += 1
        if backward:
            chunk = chunks - 1 - chunk
            rows.append((tuple(held), chunk, True))
            held[chunk] -= 1
        else:
            held[chunk] += 1
            rows.append((tuple(held), chunk, False))
    return rows


@lru_cache(maxsize=4096)
def moments(rank: int, devices: int, chunks: int, microbatches: int) -> tuple[Moment, ...]:
    """Return microbatches held of each local chunk, and which one runs, in all passes that may hold most.

    Three rounds show whatever more of them do: the first v + 1 parts of a round are the start, and what comes
    between repeats itself every round.
    """
    rows = passes(rank, devices, chunks, min(microbatches, 3 * devices))
    found = {(held, chunk) for held, chunk, _ in rows}
    return tuple(
        sorted(
            (held, chunk)
            for held, chunk in found
            if not any(
                chunk == other
                and held != more
                and all(a <= b for a, b in zip(held, more, strict=True))
                for more, other in found
            )
        )
    )


def in_flight(rank: int, devices: int, chunks: int, microbatches: int) -> tuple[int, ...]:
    """Return the most microbatches that a device holds of each local chunk, that which runs included."""
    rows = moments(rank, devices, chunks, microbatches)
    return tuple(max(held[c] for held, _ in rows) for c in range(chunks))


def resting(rank: int, devices: int, chunks: int, microbatches: int) -> tuple[int, ...]:
    """Return the microbatches held of each local chunk when all together are most: one pass after the start."""
    done = min(microbatches * chunks, warm_up(rank, devices, chunks, microbatches) + 1)
    rounds, more = divmod(done, devices * chunks)
    return tuple(rounds * devices + min(devices, max(0, more - c * devices)) for c in range(chunks))
