# SPDX-License-Identifier: Apache-2.0
"""The model that benchmarks.training plans and trains, and one process of its pipeline.

As a program it is one stage: it trains with torch.distributed.pipelining over gloo and prints a line of JSON
with what it measured.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

_WARM = (
    256  # width of what is run before anything is measured, so that libraries have their buffers
)


class Block(nn.Module):
    """A normalisation, two linear operators with a GELU between, and a connection around them."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what has the shape of x."""
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


class Recomputed(nn.Module):
    """Blocks that keep their input and run again before their backward pass."""

    def __init__(self, blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = blocks

    def forward(self, x: torch.Tensor) -> Any:
        """Return the output of the last block."""
        from torch.utils.checkpoint import checkpoint

        return checkpoint(self.blocks, x, use_reentrant=False)


def blocks_of(widths: list[int], width: int) -> nn.Sequential:
    """Return a block per inner width."""
    torch.manual_seed(0)
    return nn.Sequential(*(Block(width, inner) for inner in widths))


def resident(*, peak: bool) -> int:
    """Return the bytes of memory that this process holds, or the most since :func:`forget_peak`."""
    key = "VmHWM:" if peak else "VmRSS:"
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {key} in /proc/self/status")


def forget_peak() -> None:
    """Let the highest number of bytes be that of now."""
    Path("/proc/self/clear_refs").write_text("5")


def hop_seconds(rank: int, shape: tuple[int, ...], rounds: int = 8) -> float:
    """Return the least seconds that a tensor takes from one process to the other."""
    import torch.distributed as dist

    tensor, times = torch.zeros(shape), []
    for _ in range(rounds):
        dist.barrier()
        start = time.perf_counter()
        for sender in (0, 1):
            if rank == sender:
                dist.send(tensor, 1 - rank)
            else:
                dist.recv(tensor, 1 - rank)
        times.append((time.perf_counter() - start) / 2)
    return min(times)


def train(job: dict[str, Any], rank: int) -> dict[str, Any]:
    """Train a stage; return seconds of each step, passed and computing, bytes held beside those before, and a hop's."""
    import torch.distributed as dist
    from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{job['meeting']}", rank=rank, world_size=2)
    shape = (job["rows"], job["width"])
    # Run once before anything is measured, so that libraries have their buffers.
    warm = Block(job["width"], max(job["widths"]))
    warm(torch.zeros(shape)).sum().backward()
    del warm
    hop = hop_seconds(rank, shape)
    before = resident(peak=False)
    first, last = job["ends"][rank]
    stage: nn.Module = blocks_of(job["widths"], job["width"])[first:last]
    if job["recompute"][rank]:
        stage = Recomputed(stage)
    m = job["microbatches"]
    data = torch.randn(m * shape[0], shape[1])
    pipe = PipelineStage(stage, rank, 2, torch.device("cpu"))
    kind = {"gpipe": ScheduleGPipe, "1f1b": Schedule1F1B}[job["schedule"]]
    schedule = kind(pipe, n_microbatches=m, loss_fn=nn.functional.mse_loss)
    optimizer = torch.optim.Adam(stage.parameters(), foreach=False)
    seconds, busy = [], []
    for step in range(job["steps"]):
        dist.barrier()
        if step == job["steps"] - 1:
            forget_peak()
        start, computing = time.perf_counter(), time.thread_time()
        if rank == 0:
            schedule.step(data)
        else:
            schedule.step(target=data)
        busy.append(time.thread_time() - computing)
        dist.barrier()
        seconds.append(time.perf_counter() - start)
        if step == job["steps"] - 1:
            most = resident(peak=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
    dist.destroy_process_group()
    return {"seconds": seconds, "busy": busy, "held": most - before, "hop": hop}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", help="what to train, JSON")
    parser.add_argument("rank", type=int, help="which stage this is")
    chosen = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(json.dumps(train(json.loads(chosen.job), chosen.rank)))
