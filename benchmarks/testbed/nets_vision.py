# SPDX-License-Identifier: Apache-2.0
"""Convolutional networks, each written from its paper: only shapes matter, for nothing is trained or run."""

# PyTorch is not followed by the type check, so its classes are of any type.
# mypy: allow-subclassing-any, allow-untyped-calls, allow-untyped-defs, allow-any-generics
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["VISION_NETS"]


def conv(
    inside: int, outside: int, size: int = 3, stride: int = 1, groups: int = 1, act: bool = True
) -> nn.Sequential:
    """Return convolution, normalisation and, if wanted, ReLU."""
    parts = [
        nn.Conv2d(inside, outside, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outside),
    ]
    return nn.Sequential(*parts, *([nn.ReLU()] if act else []))


class Sum(nn.Module):
    """A block and its shortcut."""

    def __init__(self, block: nn.Module, short: nn.Module | None = None) -> None:
        super().__init__()
        self.block, self.short = block, short or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x) + self.short(x)


class Branches(nn.Module):
    """Branches side by side, their channels put together."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def head(width: int, labels: int = 1000) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, labels)]


def alexnet() -> nn.Module:
    """Krizhevsky et al. 2012, in one tower."""
    pool = nn.MaxPool2d(3, 2)
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), pool, nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(), nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(), nn.Conv2d(256, 256, 3, 1, 1),
        nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten(), nn.Linear(9216, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(),
        nn.Linear(4096, 1000),
    )  # fmt: skip


def vgg(counts: Sequence[int], norm: bool = False) -> nn.Module:
    """Simonyan and Zisserman 2015."""
    parts: list[nn.Module] = []
    inside = 3
    for count, width in zip(counts, (64, 128, 256, 512, 512), strict=True):
        for _ in range(count):
            parts += (
                [conv(inside, width)] if norm else [nn.Conv2d(inside, width, 3, 1, 1), nn.ReLU()]
            )
            inside = width
        parts.append(nn.MaxPool2d(2))
    parts += [nn.Flatten(), nn.Linear(25088, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(4096, 1000))


def squeezenet() -> nn.Module:
    """Iandola et al. 2016, version 1.1."""

    def fire(inside: int, squeeze: int, expand: int) -> nn.Module:
        first = nn.Sequential(nn.Conv2d(inside, squeeze, 1), nn.ReLU())
        sides = [
            nn.Sequential(nn.Conv2d(squeeze, expand, s, padding=s // 2), nn.ReLU()) for s in (1, 3)
        ]
        return nn.Sequential(first, Branches(*sides))

    return nn.Sequential(
        nn.Conv2d(3, 64, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2), fire(64, 16, 64), fire(128, 16, 64), nn.MaxPool2d(3, 2),
        fire(128, 32, 128), fire(256, 32, 128), nn.MaxPool2d(3, 2), fire(256, 48, 192), fire(384, 48, 192),
        fire(384, 64, 256), fire(512, 64, 256), nn.Conv2d(512, 1000, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


class Dense(nn.Module):
    """Layers that each read all earlier ones of their block (Huang et al. 2017)."""

    def __init__(self, inside: int, count: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(inside + i * growth), nn.ReLU(), conv(inside + i * growth, 4 * growth, 1),
                nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False),
            )
            for i in range(count)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for layer in self.layers:
            found.append(layer(torch.cat(found, 1)))
        return torch.cat(found, 1)


def densenet(counts: Sequence[int], growth: int = 32) -> nn.Module:
    width = 2 * growth
    parts: list[nn.Module] = [conv(3, width, 7, 2), nn.MaxPool2d(3, 2, 1)]
    for number, count in enumerate(counts):
        parts.append(Dense(width, count, growth))
        width += count * growth
        if number < len(counts) - 1:
            parts += [
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, width // 2, 1),
                nn.AvgPool2d(2),
            ]
            width //= 2
    return nn.Sequential(*parts, nn.BatchNorm2d(width), nn.ReLU(), *head(width))


def googlenet() -> nn.Module:
    """Szegedy et al. 2015, without its auxiliary heads."""

    def inception(i: int, a: int, b: int, c: int, d: int, e: int, f: int) -> nn.Module:
        pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(i, f, 1))
        three = nn.Sequential(conv(i, b, 1), conv(b, c, 3))
        five = nn.Sequential(conv(i, d, 1), conv(d, e, 5))
        return Branches(conv(i, a, 1), three, five, pool)

    return nn.Sequential(
        conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1), conv(64, 64, 1), conv(64, 192, 3), nn.MaxPool2d(3, 2, 1),
        inception(192, 64, 96, 128, 16, 32, 32), inception(256, 128, 128, 192, 32, 96, 64), nn.MaxPool2d(3, 2, 1),
        inception(480, 192, 96, 208, 16, 48, 64), inception(512, 160, 112, 224, 24, 64, 64),
        inception(512, 128, 128, 256, 24, 64, 64), inception(512, 112, 144, 288, 32, 64, 64),
        inception(528, 256, 160, 320, 32, 128, 128), nn.MaxPool2d(3, 2, 1),
        inception(832, 256, 160, 320, 32, 128, 128), inception(832, 384, 192, 384, 48, 128, 128), *head(1024),
    )  # fmt: skip


def inception_resnet(blocks: int) -> nn.Module:
    """Blocks as of Szegedy et al. 2017 at the middle resolution, with a plain stem."""

    def block(width: int) -> nn.Module:
        long = nn.Sequential(conv(width, 128, 1), conv(128, 160, 3), conv(160, 192, 3))
        return nn.Sequential(
            Sum(nn.Sequential(Branches(conv(width, 192, 1), long), nn.Conv2d(384, width, 1))),
            nn.ReLU(),
        )

    return nn.Sequential(conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1), conv(64, 256, 3, 2), conv(256, 1088, 3, 2),
                         *(block(1088) for _ in range(blocks)), *head(1088))  # fmt: skip


class Shuffle(nn.Module):
    """A unit of ShuffleNet V2 (Ma et al. 2018)."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        half, own = outside // 2, inside if stride == 2 else inside // 2
        self.stride = stride
        self.main = nn.Sequential(
            conv(own, half, 1), conv(half, half, 3, stride, half, act=False), conv(half, half, 1)
        )
        self.side = (
            nn.Sequential(conv(own, own, 3, 2, own, act=False), conv(own, half, 1))
            if stride == 2
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = (x, x) if self.side is not None else x.chunk(2, 1)
        found = torch.cat([self.side(left) if self.side is not None else left, self.main(right)], 1)
        b, c, h, w = found.shape
        return found.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


def shufflenet(widths: Sequence[int]) -> nn.Module:
    parts: list[nn.Module] = [conv(3, 24, 3, 2), nn.MaxPool2d(3, 2, 1)]
    inside = 24
    for width, count in zip(widths, (4, 8, 4), strict=False):
        parts += [
            Shuffle(inside if i == 0 else width, width, 2 if i == 0 else 1) for i in range(count)
        ]
        inside = width
    return nn.Sequential(*parts, conv(inside, widths[3], 1), *head(widths[3]))


class Squeeze(nn.Module):
    """Squeeze and excitation (Hu et al. 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width // 4, 1), nn.ReLU(),
                                   nn.Conv2d(width // 4, width, 1), nn.Hardsigmoid())  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale(x)


def mobilenet_v3(rows: Sequence[tuple[int, int, int, int, int]], last: int) -> nn.Module:
    """Howard et al. 2019; rows are kernel, expansion, output, squeezed or not, stride."""
    parts: list[nn.Module] = [conv(3, 16, 3, 2)]
    inside = 16
    for size, wide, outside, squeezed, stride in rows:
        block = nn.Sequential(
            conv(inside, wide, 1), conv(wide, wide, size, stride, wide), *([Squeeze(wide)] if squeezed else []),
            conv(wide, outside, 1, act=False),
        )  # fmt: skip
        parts.append(Sum(block) if stride == 1 and inside == outside else block)
        inside = outside
    return nn.Sequential(*parts, conv(inside, last, 1), *head(last))


V3_SMALL = [(3, 16, 16, 1, 2), (3, 72, 24, 0, 2), (3, 88, 24, 0, 1), (5, 96, 40, 1, 2), (5, 240, 40, 1, 1), (5, 240, 40, 1, 1),
            (5, 120, 48, 1, 1), (5, 144, 48, 1, 1), (5, 288, 96, 1, 2), (5, 576, 96, 1, 1), (5, 576, 96, 1, 1)]  # fmt: skip
V3_LARGE = [(3, 16, 16, 0, 1), (3, 64, 24, 0, 2), (3, 72, 24, 0, 1), (5, 72, 40, 1, 2), (5, 120, 40, 1, 1), (5, 120, 40, 1, 1),
            (3, 240, 80, 0, 2), (3, 200, 80, 0, 1), (3, 184, 80, 0, 1), (3, 184, 80, 0, 1), (3, 480, 112, 1, 1),
            (3, 672, 112, 1, 1), (5, 672, 160, 1, 2), (5, 960, 160, 1, 1), (5, 960, 160, 1, 1)]  # fmt: skip


class UNet(nn.Module):
    """Ronneberger et al. 2015, with padded convolutions."""

    def __init__(self, width: int, depth: int, labels: int = 2) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(depth + 1)]
        double = lambda a, b: nn.Sequential(conv(a, b), conv(b, b))  # noqa: E731 - one line says it
        self.down = nn.ModuleList(double(a, b) for a, b in zip([3, *widths], widths, strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in reversed(widths[:-1]))
        self.join = nn.ModuleList(double(2 * w, w) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, labels, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for number, block in enumerate(self.down):
            x = block(nn.functional.max_pool2d(x, 2) if number else x)
            kept.append(x)
        for up, join, skip in zip(self.up, self.join, reversed(kept[:-1]), strict=True):
            x = join(torch.cat([up(x), skip], 1))
        return self.head(x)


class UNetPlus(nn.Module):
    """Nested U-Net (Zhou et al. 2018): each level reads all earlier ones of its resolution."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(depth + 1)]
        self.depth = depth
        self.nodes = nn.ModuleDict()
        for j in range(depth + 1):
            for i in range(depth + 1 - j):
                inside = ([3, *widths][i]) if j == 0 else widths[i] * j + widths[i + 1]
                self.nodes[f"{i}-{j}"] = nn.Sequential(
                    conv(inside, widths[i]), conv(widths[i], widths[i])
                )
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: dict[tuple[int, int], Tensor] = {}
        for i in range(self.depth + 1):
            inside = x if i == 0 else nn.functional.max_pool2d(found[i - 1, 0], 2)
            found[i, 0] = self.nodes[f"{i}-0"](inside)
        for j in range(1, self.depth + 1):
            for i in range(self.depth + 1 - j):
                below = nn.functional.interpolate(found[i + 1, j - 1], scale_factor=2.0)
                found[i, j] = self.nodes[f"{i}-{j}"](
                    torch.cat([*(found[i, k] for k in range(j)), below], 1)
                )
        return self.head(found[0, self.depth])


class HighRes(nn.Module):
    """HRNet (Wang et al. 2020): streams of several resolutions that exchange after each module."""

    def __init__(self, width: int, modules: Sequence[int] = (1, 1, 4, 3)) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 64, 3, 2), conv(64, 64, 3, 2), conv(64, width, 1))
        self.stages, self.starts = nn.ModuleList(), nn.ModuleList()
        for streams, count in enumerate(modules, start=1):
            widths = [width * 2**i for i in range(streams)]
            self.stages.append(nn.ModuleList(_Exchange(widths) for _ in range(count)))
            self.starts.append(conv(widths[-1], 2 * widths[-1], 3, 2))
        self.head = nn.Sequential(*head(width * (2 ** len(modules) - 1)))

    def forward(self, x: Tensor) -> Tensor:
        streams = [self.stem(x)]
        for number, stage in enumerate(self.stages):
            for module in stage:
                streams = module(streams)
            if number < len(self.stages) - 1:
                streams = [*streams, self.starts[number](streams[-1])]
        size = streams[0].shape[-2:]
        return self.head(torch.cat([nn.functional.interpolate(s, size=size) for s in streams], 1))


class _Exchange(nn.Module):
    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        basic = lambda w: Sum(nn.Sequential(conv(w, w), conv(w, w, act=False)))  # noqa: E731
        self.own = nn.ModuleList(nn.Sequential(basic(w), basic(w)) for w in widths)
        self.across = nn.ModuleDict()
        for i, a in enumerate(widths):
            for j, b in enumerate(widths):
                if i < j:  # to a lower resolution, one halving at a time
                    steps = [conv(a, a, 3, 2) for _ in range(j - i - 1)]
                    self.across[f"{i}-{j}"] = nn.Sequential(*steps, conv(a, b, 3, 2, act=False))
                elif i > j:
                    self.across[f"{i}-{j}"] = conv(a, b, 1, act=False)

    def forward(self, streams: Sequence[Tensor]) -> list[Tensor]:
        streams = [own(x) for own, x in zip(self.own, streams, strict=True)]
        found = []
        for j, own in enumerate(streams):
            into = own
            for i, x in enumerate(streams):
                if i != j:
                    moved = self.across[f"{i}-{j}"](x)
                    into = into + (
                        nn.functional.interpolate(moved, scale_factor=2.0 ** (i - j))
                        if i > j
                        else moved
                    )
            found.append(torch.relu(into))
        return found


class Cells(nn.Module):
    """Cells of separable convolutions that each read the two before (NASNet; Zoph et al. 2018)."""

    def __init__(self, width: int, repeats: int) -> None:
        super().__init__()
        self.stem = conv(3, width, 3, 2)
        plan = [
            (width * 2**level, 2 if level and i == 0 else 1)
            for level in range(3)
            for i in range(repeats)
        ]
        self.cells = nn.ModuleList()
        before = previous = width
        for own, stride in plan:
            self.cells.append(_Cell(before, previous, own, stride))
            before, previous = (4 * own if stride == 2 else previous), 4 * own
        self.head = nn.Sequential(*head(previous))

    def forward(self, x: Tensor) -> Tensor:
        before = previous = self.stem(x)
        for cell in self.cells:
            found = cell(before, previous)
            before, previous = (found if found.shape[-1] != previous.shape[-1] else previous), found
        return self.head(previous)


class _Cell(nn.Module):
    def __init__(self, before: int, previous: int, width: int, stride: int) -> None:
        super().__init__()

        def separable(size: int) -> nn.Module:
            return nn.Sequential(conv(width, width, size, stride, width), conv(width, width, 1))

        self.a, self.b = conv(before, width, 1), conv(previous, width, 1)
        self.parts = nn.ModuleList(separable(s) for s in (3, 5, 5, 3, 3, 7, 3))
        self.pool = nn.AvgPool2d(3, stride, 1)

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        a, b, p = self.a(before), self.b(previous), self.parts
        return torch.cat(
            [p[0](a) + p[1](b), p[2](a) + p[3](a), self.pool(b) + p[4](a), p[5](b) + p[6](b)], 1
        )


def picture(batch: int, side: int = 224) -> tuple[Tensor, ...]:
    return (torch.empty(batch, 3, side, side),)


VISION_NETS = {
    "alexnet": (alexnet, picture),
    "vgg-11": (lambda: vgg((1, 1, 2, 2, 2)), picture),
    "vgg-16": (lambda: vgg((2, 2, 3, 3, 3)), picture),
    "vgg-19-bn": (lambda: vgg((2, 2, 4, 4, 4), norm=True), picture),
    "squeezenet-1.1": (squeezenet, picture),
    "googlenet": (googlenet, picture),
    "inception-resnet-10": (lambda: inception_resnet(10), picture),
    "inception-resnet-20": (lambda: inception_resnet(20), picture),
    "shufflenet-0.5": (lambda: shufflenet((48, 96, 192, 1024)), picture),
    "shufflenet-1.0": (lambda: shufflenet((116, 232, 464, 1024)), picture),
    "shufflenet-2.0": (lambda: shufflenet((244, 488, 976, 2048)), picture),
    "mobilenet-v3-small": (lambda: mobilenet_v3(V3_SMALL, 576), picture),
    "mobilenet-v3-large": (lambda: mobilenet_v3(V3_LARGE, 960), picture),
    "densenet-121": (lambda: densenet((6, 12, 24, 16)), picture),
    "densenet-169": (lambda: densenet((6, 12, 32, 32)), picture),
    "densenet-201": (lambda: densenet((6, 12, 48, 32)), picture),
    "unet-32": (lambda: UNet(32, 4), lambda b: picture(b, 256)),
    "unet-64": (lambda: UNet(64, 4), lambda b: picture(b, 512)),
    "unet-plus-32": (lambda: UNetPlus(32, 4), lambda b: picture(b, 256)),
    "hrnet-w18": (lambda: HighRes(18), picture),
    "hrnet-w32": (lambda: HighRes(32), picture),
    "nasnet-mobile-like": (lambda: Cells(44, 4), picture),
    "nasnet-large-like": (lambda: Cells(168, 6), picture),
}
