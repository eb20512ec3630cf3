# SPDX-License-Identifier: Apache-2.0
"""Networks that rank and retrieve, as plain modules, from their papers."""

# PyTorch is not followed by the type check, so its classes are of any type.
# mypy: allow-subclassing-any, allow-untyped-calls, allow-untyped-defs, allow-any-generics
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch's own documentation gives it

__all__ = ["RECOMMENDATION_NETS", "mlp"]

Inputs = Callable[[int], tuple[Tensor, ...]]
"""Example inputs of a batch size."""


def mlp(widths: Sequence[int]) -> nn.Sequential:
    parts: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        parts += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


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


class WideDeep(nn.Module):
    """Cheng et al. 2016: a linear model of crossed features beside a deep network."""

    def __init__(self, rows: Sequence[int], width: int) -> None:
        super().__init__()
        self.wide, self.tables = Tables(rows, 1), Tables(rows, width)
        self.deep = mlp([len(rows) * width + 13, 1024, 512, 256, 1])

    def forward(self, dense: Tensor, ids: Tensor) -> Tensor:
        deep = self.deep(torch.cat([dense, *self.tables(ids)], 1))
        return torch.sigmoid(sum(self.wide(ids)) + deep)


class Compressed(nn.Module):
    """xDeepFM (Lian et al. 2018): outer products of features, compressed layer by layer, all read at the end."""

    def __init__(self, rows: Sequence[int], width: int, maps: Sequence[int]) -> None:
        super().__init__()
        count = len(rows)
        self.tables, self.deep = Tables(rows, width), mlp([count * width, 400, 400, 1])
        before = [count, *maps[:-1]]
        self.layers = nn.ModuleList(
            nn.Conv1d(count * b, m, 1) for b, m in zip(before, maps, strict=True)
        )
        self.head = nn.Linear(sum(maps), 1)

    def forward(self, dense: Tensor, ids: Tensor) -> Tensor:
        first = torch.stack(self.tables(ids), 1)
        x, sums = first, []
        for layer in self.layers:
            x = torch.relu(layer((first.unsqueeze(2) * x.unsqueeze(1)).flatten(1, 2)))
            sums.append(x.sum(2))
        return torch.sigmoid(self.head(torch.cat(sums, 1)) + self.deep(first.flatten(1)))


class AutoInt(nn.Module):
    """Song et al. 2019: attention between features, one head a branch."""

    def __init__(self, rows: Sequence[int], width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.tables, own = Tables(rows, width), width * heads
        self.layers = nn.ModuleList(
            nn.ModuleList(
                nn.ModuleList(nn.Linear(width if i == 0 else own, width) for _ in range(3))
                for _ in range(heads)
            )
            for i in range(layers)
        )
        self.shorts = nn.ModuleList(nn.Linear(width if i == 0 else own, own) for i in range(layers))
        self.head = nn.Linear(len(rows) * own, 1)

    def forward(self, dense: Tensor, ids: Tensor) -> Tensor:
        x = torch.stack(self.tables(ids), 1)
        for heads, short in zip(self.layers, self.shorts, strict=True):
            found = [(q(x) @ k(x).transpose(1, 2)).softmax(2) @ v(x) for q, k, v in heads]
            x = torch.relu(torch.cat(found, 2) + short(x))
        return torch.sigmoid(self.head(x.flatten(1)))


class Interest(nn.Module):
    """DIN (Zhou et al. 2018): each earlier click is weighed against the candidate, in several fields."""

    def __init__(self, items: int, width: int, fields: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(items, width) for _ in range(fields))
        self.score = nn.ModuleList(mlp([4 * width, 80, 40, 1]) for _ in range(fields))
        self.deep = mlp([2 * width * fields, 200, 80, 1])

    def forward(self, candidates: Tensor, history: Tensor) -> Tensor:
        found = []
        for i, (table, score) in enumerate(zip(self.tables, self.score, strict=True)):
            past = table(history[:, :, i])
            now = table(candidates[:, i]).unsqueeze(1).expand_as(past)
            weights = score(torch.cat([past, now, past - now, past * now], 2))
            found += [now[:, 0], (weights * past).sum(1)]
        return torch.sigmoid(self.deep(torch.cat(found, 1)))


class Layered(nn.Module):
    """PLE (Tang et al. 2020): experts of each task and shared ones, level by level."""

    def __init__(
        self, rows: Sequence[int], width: int, tasks: int, experts: int, levels: int
    ) -> None:
        super().__init__()
        full = len(rows) * width + 13
        self.tables, self.tasks = Tables(rows, width), tasks
        inside = [full, *[256] * (levels - 1)]
        self.levels = nn.ModuleList(
            nn.ModuleList(
                nn.ModuleList(mlp([size, 256]) for _ in range(experts)) for _ in range(tasks + 1)
            )
            for size in inside
        )
        self.gates = nn.ModuleList(
            nn.ModuleList(
                nn.Linear(size, 2 * experts if i < tasks else (tasks + 1) * experts)
                for i in range(tasks + 1)
            )
            for size in inside
        )
        self.heads = nn.ModuleList(mlp([256, 64, 1]) for _ in range(tasks))

    def forward(self, dense: Tensor, ids: Tensor) -> tuple[Tensor, ...]:
        x = [torch.cat([dense, *self.tables(ids)], 1)] * (self.tasks + 1)
        for experts, gates in zip(self.levels, self.gates, strict=True):
            made = [[e(y) for e in own] for own, y in zip(experts, x, strict=True)]
            shared, mixed = made[-1], []
            for i, gate in enumerate(gates):
                own = [*itertools.chain(*made)] if i == self.tasks else [*made[i], *shared]
                weights = gate(x[i]).softmax(1).unsqueeze(2)
                mixed.append((weights * torch.stack(own, 1)).sum(1))
            x = mixed
        return tuple(head(y) for head, y in zip(self.heads, x, strict=False))


class Sequential(nn.Module):
    """SASRec (Kang and McAuley 2018): a small decoder over clicks, scored against all items."""

    def __init__(self, items: int, width: int, layers: int, length: int) -> None:
        super().__init__()
        self.items, self.places = nn.Embedding(items, width), nn.Embedding(length, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 2, width, 0.0, batch_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, clicks: Tensor) -> Tensor:
        x = self.items(clicks) + self.places.weight
        for layer in self.layers:
            x = layer(x)
        return self.norm(x[:, -1]) @ self.items.weight.T


CRITEO = (1460, 583, 10_000_000, 2_000_000, 305, 24, 12517, 633, 3, 93145, 5683, 8_000_000, 3194, 27, 14992, 5_000_000,
          10, 5652, 2173, 4, 7_000_000, 18, 15, 286181, 105, 142572)  # fmt: skip
SMALL = (1000, 1000, 500, 200, 100, 50, 20, 10)


def clicks(count: int) -> Inputs:
    return lambda b: (torch.empty(64 * b, 13), torch.zeros(64 * b, count, dtype=torch.int64))


def history(length: int, fields: int) -> Inputs:
    def inputs(b: int) -> tuple[Tensor, ...]:
        ids = torch.zeros(64 * b, length, fields, dtype=torch.int64)
        return ids[:, 0], ids

    return inputs


def session(length: int) -> Inputs:
    return lambda b: (torch.zeros(64 * b, length, dtype=torch.int64),)


RECOMMENDATION_NETS = {
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
    "recommendation/wide-deep": (lambda: WideDeep(CRITEO, 32), clicks(26)),
    "recommendation/xdeepfm": (lambda: Compressed(CRITEO, 10, (200, 200, 200)), clicks(26)),
    "recommendation/xdeepfm-small": (lambda: Compressed(SMALL, 8, (32, 32)), clicks(8)),
    "recommendation/autoint-2": (lambda: AutoInt(CRITEO, 16, 3, 2), clicks(26)),
    "recommendation/autoint-8": (lambda: AutoInt(SMALL, 32, 2, 8), clicks(8)),
    "recommendation/din-4": (lambda: Interest(1_000_000, 32, 4), history(100, 4)),
    "recommendation/din-12": (lambda: Interest(200_000, 16, 12), history(50, 12)),
    "recommendation/ple-2": (lambda: Layered(SMALL, 16, 2, 2, 2), clicks(8)),
    "recommendation/ple-3": (lambda: Layered(CRITEO, 16, 3, 3, 2), clicks(26)),
    "recommendation/sasrec-2": (lambda: Sequential(54_546, 64, 2, 50), session(50)),
    "recommendation/sasrec-6": (lambda: Sequential(500_000, 256, 6, 200), session(200)),
}  # fmt: skip
