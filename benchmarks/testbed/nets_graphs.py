# SPDX-License-Identifier: Apache-2.0
"""Networks over graphs, as plain modules, from their papers."""

# PyTorch is not followed by the type check, so its classes are of any type.
# mypy: allow-subclassing-any, allow-untyped-calls, allow-untyped-defs, allow-any-generics
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from benchmarks.testbed.nets_recommendation import mlp
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch's own documentation gives it

__all__ = ["GRAPH_NETS"]

Inputs = Callable[[int], tuple[Tensor, ...]]
"""Example inputs of a batch size."""


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


class Principal(nn.Module):
    """PNA (Corso et al. 2020): several aggregations, each scaled by degree in three ways."""

    def __init__(self, width: int, layers: int, labels: int) -> None:
        super().__init__()
        self.message = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(layers))
        self.update = nn.ModuleList(nn.Linear(13 * width, width) for _ in range(layers))
        self.head = mlp([width, width // 2, labels])

    def forward(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        ones = x.new_ones(source.shape[0], 1)
        degree = x.new_zeros(x.shape[0], 1).index_add(0, target, ones).clamp(min=1)
        scale = (degree + 1).log()
        for message, update in zip(self.message, self.update, strict=True):
            sent = message(torch.cat([x[target], x[source]], 1))
            zeros = torch.zeros_like(x)
            mean = zeros.index_add(0, target, sent) / degree
            square = zeros.index_add(0, target, sent.square()) / degree
            most, least = (zeros.index_reduce(0, target, sent, kind) for kind in ("amax", "amin"))
            spread = (square - mean.square()).clamp(min=0).sqrt()
            found = torch.cat([mean, spread, most, least], 1)
            x = x + torch.relu(update(torch.cat([x, found, found * scale, found / scale], 1)))
        return self.head(x)


class Mesh(nn.Module):
    """MeshGraphNet (Pfaff et al. 2021): encode, pass messages over edges of several kinds, decode."""

    def __init__(self, width: int, layers: int, kinds: int) -> None:
        super().__init__()
        deep = lambda size: nn.Sequential(mlp([size, width, width]), nn.LayerNorm(width))  # noqa: E731
        self.nodes, self.edges = deep(12), nn.ModuleList(deep(7) for _ in range(kinds))
        self.passes = nn.ModuleList(
            nn.ModuleList([deep((1 + kinds) * width), *(deep(3 * width) for _ in range(kinds))])
            for _ in range(layers)
        )
        self.head = mlp([width, width, 3])

    def forward(self, x: Tensor, features: Tensor, source: Tensor, target: Tensor) -> Tensor:
        x = self.nodes(x)
        sent = [edge(features[i]) for i, edge in enumerate(self.edges)]
        ends = list(zip(source.unbind(0), target.unbind(0), strict=True))
        for update, *messages in self.passes:
            sent = [
                old + message(torch.cat([old, x[a], x[b]], 1))
                for old, message, (a, b) in zip(sent, messages, ends, strict=True)
            ]
            sums = [
                torch.zeros_like(x).index_add(0, b, new)
                for new, (_, b) in zip(sent, ends, strict=True)
            ]
            x = x + update(torch.cat([x, *sums], 1))
        return self.head(x)


class Relational(nn.Module):
    """R-GCN (Schlichtkrull et al. 2018): a product and a sum for each kind of edge."""

    def __init__(self, features: int, width: int, layers: int, kinds: int, labels: int) -> None:
        super().__init__()
        sizes = [features, *[width] * layers]
        self.layers = nn.ModuleList(
            nn.ModuleList(nn.Linear(a, b) for _ in range(kinds + 1))
            for a, b in itertools.pairwise(sizes)
        )
        self.head = nn.Linear(width, labels)

    def forward(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        ends = list(zip(source.unbind(0), target.unbind(0), strict=True))
        for own, *kinds in self.layers:
            found = own(x)
            for kind, (a, b) in zip(kinds, ends, strict=True):
                moved = kind(x)
                found = found + torch.zeros_like(moved).index_add(0, b, moved[a])
            x = torch.relu(found)
        return self.head(x)


class Initial(nn.Module):
    """GCNII (Chen et al. 2020): every layer reads the first one again; without products, APPNP (Gasteiger 2019)."""

    def __init__(self, features: int, width: int, layers: int, labels: int, products: bool) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(features, width), nn.Linear(width, labels)
        self.layers = nn.ModuleList(
            nn.Linear(width, width) if products else nn.Identity() for _ in range(layers)
        )

    def forward(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        first = x = torch.relu(self.first(x))
        for layer in self.layers:
            moved = torch.zeros_like(x).index_add(0, target, x[source])
            mixed = 0.9 * moved + 0.1 * first
            x = torch.relu(0.5 * mixed + 0.5 * layer(mixed))
        return self.head(x)


class GraphTransformer(nn.Module):
    """Attention along edges, whose features are updated too (Dwivedi and Bresson 2021)."""

    def __init__(self, features: int, width: int, layers: int) -> None:
        super().__init__()
        self.nodes, self.edges = nn.Linear(features, width), nn.Linear(8, width)
        self.layers = nn.ModuleList(_Attention(width) for _ in range(layers))
        self.head = mlp([width, width // 2, 1])

    def forward(self, x: Tensor, e: Tensor, source: Tensor, target: Tensor) -> Tensor:
        x, e = self.nodes(x), self.edges(e)
        for layer in self.layers:
            x, e = layer(x, e, source, target)
        return self.head(x.mean(0))


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.e, self.out, self.out_e = (
            nn.Linear(width, width) for _ in range(6)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.deep, self.deep_e = (mlp([width, 2 * width, width]) for _ in range(2))

    def forward(
        self, x: Tensor, e: Tensor, source: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        scores = self.q(x)[target] * self.k(x)[source] * self.e(e)
        weights = scores.clamp(-5, 5).exp()
        total = torch.zeros_like(x).index_add(0, target, weights)
        summed = torch.zeros_like(x).index_add(0, target, weights * self.v(x)[source])
        a, b, c, d = self.norms
        x, e = a(x + self.out(summed / (total + 1e-6))), b(e + self.out_e(scores))
        return c(x + self.deep(x)), d(e + self.deep_e(e))


class SchNet(nn.Module):
    """Schuett et al. 2017: continuous filters from distances; energies of atoms add up."""

    def __init__(self, width: int, layers: int, centres: int) -> None:
        super().__init__()
        self.atoms, self.centres = nn.Embedding(100, width), nn.Parameter(torch.empty(centres))
        self.filters = nn.ModuleList(mlp([centres, width, width]) for _ in range(layers))
        self.inside = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.outside = nn.ModuleList(mlp([width, width, width]) for _ in range(layers))
        self.head = mlp([width, width // 2, 1])

    def forward(self, atoms: Tensor, distances: Tensor, source: Tensor, target: Tensor) -> Tensor:
        x = self.atoms(atoms)
        basis = torch.exp(-10 * (distances - self.centres).square())
        for filters, inside, outside in zip(self.filters, self.inside, self.outside, strict=True):
            sent = inside(x)[source] * filters(basis)
            x = x + outside(torch.zeros_like(x).index_add(0, target, sent))
        return self.head(x).sum(0)


def network(nodes: int, edges: int, features: int) -> Inputs:
    ends = lambda b: torch.zeros(edges * b, dtype=torch.int64)  # noqa: E731
    return lambda b: (torch.empty(nodes * b, features), ends(b), ends(b))


def related(nodes: int, edges: int, kinds: int, features: int) -> Inputs:
    ends = lambda b: torch.zeros(kinds, edges * b, dtype=torch.int64)  # noqa: E731
    return lambda b: (torch.empty(nodes * b, features), ends(b), ends(b))


def mesh(nodes: int, edges: int, kinds: int) -> Inputs:
    ends = lambda b: torch.zeros(kinds, edges * b, dtype=torch.int64)  # noqa: E731
    features = lambda b: torch.empty(kinds, edges * b, 7)  # noqa: E731
    return lambda b: (torch.empty(nodes * b, 12), features(b), ends(b), ends(b))


def molecules(nodes: int, edges: int, features: int, wide: int) -> Inputs:
    ends = lambda b: torch.zeros(edges * b, dtype=torch.int64)  # noqa: E731
    atoms = lambda b: (  # noqa: E731
        torch.empty(nodes * b, features) if features else torch.zeros(nodes * b, dtype=torch.int64)
    )
    return lambda b: (atoms(b), torch.empty(edges * b, wide), ends(b), ends(b))


GRAPH_NETS = {
    "graphs/gcn-cora": (lambda: GraphNet("gcn", 1433, 16, 2, 7), network(2708, 10556, 1433)),
    "graphs/gcn-arxiv": (lambda: GraphNet("gcn", 128, 256, 3, 40), network(169_343, 1_166_243, 128)),
    "graphs/gcn-16": (lambda: GraphNet("gcn", 128, 256, 16, 40, True), network(19_717, 88_648, 128)),
    "graphs/sage-products": (lambda: GraphNet("sage", 100, 256, 3, 47), network(100_000, 2_500_000, 100)),
    "graphs/sage-8-jump": (lambda: GraphNet("sage", 100, 256, 8, 47, True), network(19_717, 88_648, 100)),
    "graphs/gin-5": (lambda: GraphNet("gin", 9, 300, 5, 128, True), network(832, 1_800, 9)),
    "graphs/gat-cora": (lambda: GraphNet("gat", 1433, 64, 2, 7), network(2708, 10556, 1433)),
    "graphs/gat-6": (lambda: GraphNet("gat", 128, 256, 6, 40, True), network(169_343, 1_166_243, 128)),
    "graphs/pna-4": (lambda: Principal(80, 4, 1), network(2944, 6400, 80)),
    "graphs/pna-8": (lambda: Principal(128, 8, 1), network(20_000, 80_000, 128)),
    "graphs/mesh-15": (lambda: Mesh(128, 15, 1), mesh(1885, 10_846, 1)),
    "graphs/mesh-8-two-kinds": (lambda: Mesh(128, 8, 2), mesh(1579, 12_000, 2)),
    "graphs/rgcn-aifb": (lambda: Relational(64, 16, 2, 45, 4), related(8285, 645, 45, 64)),
    "graphs/rgcn-4-8": (lambda: Relational(128, 256, 4, 8, 40), related(19_717, 11_000, 8, 128)),
    "graphs/gcnii-16": (lambda: Initial(1433, 64, 16, 7, True), network(2708, 10_556, 1433)),
    "graphs/gcnii-64": (lambda: Initial(500, 256, 64, 3, True), network(19_717, 88_648, 500)),
    "graphs/appnp-10": (lambda: Initial(3703, 64, 10, 6, False), network(3327, 9104, 3703)),
    "graphs/transformer-4": (lambda: GraphTransformer(28, 64, 4), molecules(2944, 6400, 28, 8)),
    "graphs/transformer-10": (lambda: GraphTransformer(28, 128, 10), molecules(20_000, 80_000, 28, 8)),
    "graphs/schnet-3": (lambda: SchNet(64, 3, 300), molecules(576, 9_000, 0, 1)),
    "graphs/schnet-6": (lambda: SchNet(128, 6, 300), molecules(2_000, 64_000, 0, 1)),
}  # fmt: skip
