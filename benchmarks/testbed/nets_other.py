# SPDX-License-Identifier: Apache-2.0
"""Recommendation, graph networks, speech and mixtures of experts as plain modules, from their papers."""

# PyTorch is not followed by the type check, so its classes are of any type.
# mypy: allow-subclassing-any, allow-untyped-calls, allow-untyped-defs, allow-any-generics
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch's own documentation gives it

__all__ = ["OTHER_NETS"]

Inputs = Callable[[int], tuple[Tensor, ...]]
"""Example inputs of a batch size."""


def mlp(widths: Sequence[int]) -> nn.Sequential:
    parts: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        parts += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


# --- recommendation -----------------------------------------------------------------------------


class Tables(nn.Module):
    """One embedding table per categorical feature."""

    def __init__(self, rows: Sequence[int], width: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(r, width) for r in rows)

    def forward(self, ids: Tensor) -> list[Tensor]:
        return [table(column) for table, column in zip(self.tables, ids.unbind(1), strict=True)]


class DLRM(nn.Module):
    """Naumov et al. 2019: dense features, embeddings, all dot products between them."""

    def __init__(
        self, rows: Sequence[int], width: int, bottom: Sequence[int], top: Sequence[int]
    ) -> None:
        super().__init__()
        count = len(rows) + 1
        self.tables, self.bottom = Tables(rows, width), mlp([13, *bottom, width])
        self.top = mlp([width + count * count, *top, 1])

    def forward(self, dense: Tensor, ids: Tensor) -> Tensor:
        x = self.bottom(dense)
        every = torch.stack([x, *self.tables(ids)], 1)
        return torch.sigmoid(
            self.top(torch.cat([x, (every @ every.transpose(1, 2)).flatten(1)], 1))
        )


class DeepFM(nn.Module):
    """Guo et al. 2017: a factorisation machine beside a deep network."""

    def __init__(self, rows: Sequence[int], width: int) -> None:
        super().__init__()
        self.tables, self.first = Tables(rows, width), Tables(rows, 1)
        self.deep = mlp([len(rows) * width, 400, 400, 400, 1])

    def forward(self, dense: Tensor, ids: Tensor) -> Tensor:
        every = torch.stack(self.tables(ids), 1)
        pairs = (every.sum(1).square() - every.square().sum(1)).sum(1, keepdim=True) / 2
        return torch.sigmoid(sum(self.first(ids)) + pairs + self.deep(every.flatten(1)))


class CrossNet(nn.Module):
    """DCN V2 (Wang et al. 2021): crosses of low rank, deep network beside."""

    def __init__(self, rows: Sequence[int], width: int, crosses: int, experts: int) -> None:
        super().__init__()
        full = len(rows) * width + 13
        self.tables = Tables(rows, width)
        self.crosses = nn.ModuleList(
            nn.ModuleList(
                nn.Sequential(nn.Linear(full, 64), nn.Tanh(), nn.Linear(64, full))
                for _ in range(experts)
            )
            for _ in range(crosses)
        )
        self.deep, self.head = mlp([full, 768, 768, 256]), nn.Linear(full + 256, 1)

    def forward(self, dense: Tensor, ids: Tensor) -> Tensor:
        x0 = torch.cat([dense, *self.tables(ids)], 1)
        x = x0
        for layer in self.crosses:
            x = x + sum(x0 * expert(x) for expert in layer)
        return self.head(torch.cat([x, self.deep(x0)], 1))


class MultiGate(nn.Module):
    """Several tasks over shared experts (MMoE; Ma et al. 2018)."""

    def __init__(self, rows: Sequence[int], width: int, experts: int, tasks: int) -> None:
        super().__init__()
        full = len(rows) * width + 13
        self.tables = Tables(rows, width)
        self.experts = nn.ModuleList(mlp([full, 512, 256]) for _ in range(experts))
        self.gates = nn.ModuleList(nn.Linear(full, experts) for _ in range(tasks))
        self.heads = nn.ModuleList(mlp([256, 128, 1]) for _ in range(tasks))

    def forward(self, dense: Tensor, ids: Tensor) -> tuple[Tensor, ...]:
        x = torch.cat([dense, *self.tables(ids)], 1)
        found = torch.stack([expert(x) for expert in self.experts], 1)
        return tuple(
            head((gate(x).softmax(1).unsqueeze(2) * found).sum(1))
            for gate, head in zip(self.gates, self.heads, strict=True)
        )


class TwoTowers(nn.Module):
    """Retrieval (Yi et al. 2019): the two towers meet in one product."""

    def __init__(self, rows: Sequence[int], width: int, depth: int) -> None:
        super().__init__()
        half = len(rows) // 2
        self.half = half
        self.a, self.b = Tables(rows[:half], width), Tables(rows[half : 2 * half], width)
        self.left, self.right = (mlp([half * width, *[512] * depth, 128]) for _ in range(2))

    def forward(self, dense: Tensor, ids: Tensor) -> Tensor:
        left = self.left(torch.cat(self.a(ids[:, : self.half]), 1))
        right = self.right(torch.cat(self.b(ids[:, self.half : 2 * self.half]), 1))
        return F.normalize(left, dim=1) @ F.normalize(right, dim=1).T


CRITEO = (1460, 583, 10_000_000, 2_000_000, 305, 24, 12517, 633, 3, 93145, 5683, 8_000_000, 3194, 27, 14992, 5_000_000,
          10, 5652, 2173, 4, 7_000_000, 18, 15, 286181, 105, 142572)  # fmt: skip
SMALL = (1000, 1000, 500, 200, 100, 50, 20, 10)


def clicks(count: int) -> Inputs:
    return lambda b: (torch.empty(64 * b, 13), torch.zeros(64 * b, count, dtype=torch.int64))


# --- graph networks ----------------------------------------------------------------------------


class Message(nn.Module):
    """One layer that sums over edges; `kind` says how (Kipf 2017, Hamilton 2017, Xu 2019, Velickovic 2018)."""

    def __init__(self, kind: str, inside: int, outside: int) -> None:
        super().__init__()
        self.kind = kind
        self.own, self.far = nn.Linear(inside, outside), nn.Linear(inside, outside)
        self.deep, self.score = mlp([inside, outside, outside]), nn.Linear(2 * outside, 1)

    def forward(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        if self.kind == "gin":
            return self.deep(x + torch.zeros_like(x).index_add(0, target, x[source]))
        moved = self.far(x)
        if self.kind == "gat":
            score = F.leaky_relu(self.score(torch.cat([moved[source], moved[target]], 1))).exp()
            total = score.new_zeros(x.shape[0], 1).index_add(0, target, score)
            return torch.zeros_like(moved).index_add(
                0, target, moved[source] * score / total[target]
            )
        summed = torch.zeros_like(moved).index_add(0, target, moved[source])
        return summed if self.kind == "gcn" else self.own(x) + summed


class GraphNet(nn.Module):
    """Layers of messages; with `jump` the last one reads all (Xu et al. 2018)."""

    def __init__(
        self, kind: str, features: int, width: int, layers: int, labels: int, jump: bool = False
    ) -> None:
        super().__init__()
        sizes = [features, *[width] * layers]
        self.layers = nn.ModuleList(Message(kind, a, b) for a, b in itertools.pairwise(sizes))
        self.jump, self.head = jump, nn.Linear(width * (layers if jump else 1), labels)

    def forward(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        found = []
        for layer in self.layers:
            x = torch.relu(layer(x, source, target))
            found.append(x)
        return self.head(torch.cat(found, 1) if self.jump else x)


def network(nodes: int, edges: int, features: int) -> Inputs:
    ends = lambda b: torch.zeros(edges * b, dtype=torch.int64)  # noqa: E731
    return lambda b: (torch.empty(nodes * b, features), ends(b), ends(b))


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
    "recommendation/dlrm-criteo": (lambda: DLRM(CRITEO, 128, (512, 256), (1024, 1024, 512, 256)), clicks(26)),
    "recommendation/dlrm-small": (lambda: DLRM(SMALL, 16, (64,), (64, 32)), clicks(8)),
    "recommendation/deepfm-criteo": (lambda: DeepFM(CRITEO, 16), clicks(26)),
    "recommendation/deepfm-small": (lambda: DeepFM(SMALL, 10), clicks(8)),
    "recommendation/dcn-v2": (lambda: CrossNet(CRITEO, 16, 3, 4), clicks(26)),
    "recommendation/dcn-v2-small": (lambda: CrossNet(SMALL, 16, 2, 2), clicks(8)),
    "recommendation/mmoe-8-2": (lambda: MultiGate(CRITEO, 16, 8, 2), clicks(26)),
    "recommendation/mmoe-16-4": (lambda: MultiGate(CRITEO, 32, 16, 4), clicks(26)),
    "recommendation/two-towers": (lambda: TwoTowers(CRITEO, 32, 3), clicks(26)),
    "recommendation/two-towers-small": (lambda: TwoTowers(SMALL, 16, 2), clicks(8)),
    "graphs/gcn-cora": (lambda: GraphNet("gcn", 1433, 16, 2, 7), network(2708, 10556, 1433)),
    "graphs/gcn-arxiv": (lambda: GraphNet("gcn", 128, 256, 3, 40), network(169_343, 1_166_243, 128)),
    "graphs/gcn-16": (lambda: GraphNet("gcn", 128, 256, 16, 40, True), network(19_717, 88_648, 128)),
    "graphs/sage-products": (lambda: GraphNet("sage", 100, 256, 3, 47), network(100_000, 2_500_000, 100)),
    "graphs/sage-8-jump": (lambda: GraphNet("sage", 100, 256, 8, 47, True), network(19_717, 88_648, 100)),
    "graphs/gin-5": (lambda: GraphNet("gin", 9, 300, 5, 128, True), network(832, 1_800, 9)),
    "graphs/gat-cora": (lambda: GraphNet("gat", 1433, 64, 2, 7), network(2708, 10556, 1433)),
    "graphs/gat-6": (lambda: GraphNet("gat", 128, 256, 6, 40, True), network(169_343, 1_166_243, 128)),
    "speech/quartznet-5x5": (lambda: quartznet(1), sound(64, 1000)),
    "speech/quartznet-10x5": (lambda: quartznet(2), sound(64, 1000)),
    "speech/quartznet-15x5": (lambda: quartznet(3), sound(64, 1000)),
    "speech/wavenet-10": (lambda: WaveNet(64, 10, 1), sound(1, 16000)),
    "speech/wavenet-30": (lambda: WaveNet(64, 10, 3), sound(1, 16000)),
    "experts/dense-4x4": (lambda: Experts(4, 512, 4), tokens(512)),
    "experts/dense-6x8": (lambda: Experts(6, 768, 8), tokens(768)),
    "experts/dense-12x8": (lambda: Experts(12, 768, 8), tokens(768)),
}  # fmt: skip
