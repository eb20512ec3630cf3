# SPDX-License-Identifier: Apache-2.0
"""Speech and mixtures of experts as plain modules, from their papers."""

# PyTorch is not followed by the type check, so its classes are of any type.
# mypy: allow-subclassing-any, allow-untyped-calls, allow-untyped-defs, allow-any-generics
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Callable

import torch
from benchmarks.testbed.nets_recommendation import mlp
from torch import Tensor, nn

__all__ = ["OTHER_NETS"]

Inputs = Callable[[int], tuple[Tensor, ...]]
"""Example inputs of a batch size."""


# --- speech ------------------------------------------------------------------------------------


def separable(inside: int, outside: int, size: int) -> list[nn.Module]:
    return [
        nn.Conv1d(inside, inside, size, padding=size // 2, groups=inside),
        nn.Conv1d(inside, outside, 1),
        nn.BatchNorm1d(outside),
    ]


class Repeated(nn.Module):
    """A block of QuartzNet (Kriman et al. 2020)."""

    def __init__(self, inside: int, outside: int, size: int, count: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for i in range(count):
            parts += [*separable(inside if i == 0 else outside, outside, size), nn.ReLU()]
        self.block, self.short = (
            nn.Sequential(*parts[:-1]),
            nn.Sequential(nn.Conv1d(inside, outside, 1), nn.BatchNorm1d(outside)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.block(x) + self.short(x))


def quartznet(repeats: int) -> nn.Module:
    plan = [(256, 33), (256, 39), (512, 51), (512, 63), (512, 75)]
    widths = [256] + [w for w, _ in plan for _ in range(repeats)]
    sizes = [s for _, s in plan for _ in range(repeats)]
    blocks = [Repeated(a, b, s, 5) for a, b, s in zip(widths, widths[1:], sizes, strict=False)]
    stem = [*separable(64, 256, 33), nn.ReLU()]
    return nn.Sequential(
        *stem,
        *blocks,
        *separable(512, 512, 87),
        nn.ReLU(),
        nn.Conv1d(512, 1024, 1),
        nn.ReLU(),
        nn.Conv1d(1024, 29, 1),
    )


class WaveNet(nn.Module):
    """Gated dilated convolutions whose skips all meet at the end (van den Oord et al. 2016)."""

    def __init__(self, width: int, layers: int, cycles: int) -> None:
        super().__init__()
        dilations = [2**i for _ in range(cycles) for i in range(layers)]
        self.stem = nn.Conv1d(1, width, 1)
        self.gates = nn.ModuleList(
            nn.Conv1d(width, 2 * width, 3, padding=d, dilation=d) for d in dilations
        )
        self.out, self.skip = (
            nn.ModuleList(nn.Conv1d(width, width, 1) for _ in dilations) for _ in range(2)
        )
        self.head = nn.Sequential(
            nn.ReLU(), nn.Conv1d(width, width, 1), nn.ReLU(), nn.Conv1d(width, 256, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x, skips = self.stem(x), []
        for gate, out, skip in zip(self.gates, self.out, self.skip, strict=True):
            a, b = gate(x).chunk(2, 1)
            z = torch.tanh(a) * torch.sigmoid(b)
            skips.append(skip(z))
            x = x + out(z)
        return self.head(sum(skips))


def sound(channels: int, length: int) -> Inputs:
    return lambda b: (torch.empty(b, channels, length),)


# --- mixtures of experts -----------------------------------------------------------------------


class Experts(nn.Module):
    """Dense mixtures: every expert reads every token, and a gate weighs them (Shazeer et al. 2017)."""

    def __init__(self, layers: int, width: int, experts: int) -> None:
        super().__init__()
        self.gates = nn.ModuleList(nn.Linear(width, experts) for _ in range(layers))
        self.layers = nn.ModuleList(
            nn.ModuleList(mlp([width, 4 * width, width]) for _ in range(experts))
            for _ in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        for gate, experts in zip(self.gates, self.layers, strict=True):
            weights = gate(x).softmax(-1)
            x = x + sum(weights[..., i : i + 1] * expert(x) for i, expert in enumerate(experts))
        return x


def tokens(width: int) -> Inputs:
    return lambda b: (torch.empty(b, 256, width),)


OTHER_NETS = {
    "speech/quartznet-5x5": (lambda: quartznet(1), sound(64, 1000)),
    "speech/quartznet-10x5": (lambda: quartznet(2), sound(64, 1000)),
    "speech/quartznet-15x5": (lambda: quartznet(3), sound(64, 1000)),
    "speech/wavenet-10": (lambda: WaveNet(64, 10, 1), sound(1, 16000)),
    "speech/wavenet-30": (lambda: WaveNet(64, 10, 3), sound(1, 16000)),
    "experts/dense-4x4": (lambda: Experts(4, 512, 4), tokens(512)),
    "experts/dense-6x8": (lambda: Experts(6, 768, 8), tokens(768)),
    "experts/dense-12x8": (lambda: Experts(12, 768, 8), tokens(768)),
}  # fmt: skip
