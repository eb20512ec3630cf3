# SPDX-License-Identifier: Apache-2.0
"""Denoising networks of diffusion models as plain modules, from their papers."""

# PyTorch is not followed by the type check, so its classes are of any type.
# mypy: allow-subclassing-any, allow-untyped-calls, allow-untyped-defs, allow-any-generics
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch's own documentation gives it

__all__ = ["DIFFUSION_NETS"]

Inputs = Callable[[int], tuple[Tensor, ...]]
"""Example inputs of a batch size."""


class Residual(nn.Module):
    def __init__(self, inside: int, outside: int, time: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(32, inside), nn.SiLU(), nn.Conv2d(inside, outside, 3, 1, 1)
        )
        self.time = nn.Linear(time, outside)
        self.second = nn.Sequential(
            nn.GroupNorm(32, outside), nn.SiLU(), nn.Conv2d(outside, outside, 3, 1, 1)
        )
        self.short = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.short(x) + self.second(self.first(x) + self.time(F.silu(t))[:, :, None, None])


class Spatial(nn.Module):
    """Attention over places, to a text too if it has a width."""

    def __init__(self, width: int, text: int = 0) -> None:
        super().__init__()
        self.norm, self.heads = nn.GroupNorm(32, width), max(1, width // 64)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.text = (
            nn.ModuleList([nn.Linear(width, width), nn.Linear(text, width), nn.Linear(text, width)])
            if text
            else None
        )

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        parts = [x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in (q, k, v)]
        return F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)

    def forward(self, x: Tensor, text: Tensor | None) -> Tensor:
        y = self.norm(x).flatten(2).transpose(1, 2)
        y = y + self.out(self.attend(self.q(y), self.k(y), self.v(y)))
        if self.text is not None:
            y = y + self.attend(self.text[0](y), self.text[1](text), self.text[2](text))
        return x + y.transpose(1, 2).unflatten(2, x.shape[2:])


class Diffusion(nn.Module):
    """The U-Net of Ho et al. 2020; with a text, of Rombach et al. 2022."""

    def __init__(
        self,
        width: int,
        factors: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        channels: int = 3,
        text: int = 0,
    ) -> None:
        super().__init__()
        time = 4 * width
        self.width, self.time = (
            width,
            nn.Sequential(nn.Linear(width, time), nn.SiLU(), nn.Linear(time, time)),
        )
        self.stem = nn.Conv2d(channels, width, 3, 1, 1)
        self.down, self.up, kept, own = nn.ModuleList(), nn.ModuleList(), [width], width
        maybe = lambda level, w: Spatial(w, text) if level in attention else None  # noqa: E731
        for level, factor in enumerate(factors):
            for _ in range(blocks):
                self.down.append(
                    _Step(Residual(own, width * factor, time), maybe(level, width * factor))
                )
                own = width * factor
                kept.append(own)
            if level < len(factors) - 1:
                self.down.append(_Step(None, None, nn.Conv2d(own, own, 3, 2, 1)))
                kept.append(own)
        self.middle = _Step(Residual(own, own, time), Spatial(own, text))
        for level, factor in reversed(list(enumerate(factors))):
            for i in range(blocks + 1):
                last = i == blocks and level
                up = (
                    nn.Sequential(
                        nn.Upsample(scale_factor=2.0),
                        nn.Conv2d(width * factor, width * factor, 3, 1, 1),
                    )
                    if last
                    else None
                )
                self.up.append(
                    _Step(
                        Residual(own + kept.pop(), width * factor, time),
                        maybe(level, width * factor),
                        up,
                    )
                )
                own = width * factor
        self.head = nn.Sequential(
            nn.GroupNorm(32, own), nn.SiLU(), nn.Conv2d(own, channels, 3, 1, 1)
        )

    def forward(self, x: Tensor, t: Tensor, text: Tensor | None = None) -> Tensor:
        angle = t[:, None] * torch.exp(
            torch.arange(self.width // 2, device=t.device) * (-math.log(1e4) / (self.width // 2))
        )
        time = self.time(torch.cat([angle.sin(), angle.cos()], 1))
        x = self.stem(x)
        kept = [x]
        for step in self.down:
            x = step(x, time, text)
            kept.append(x)
        x = self.middle(x, time, text)
        for step in self.up:
            x = step(torch.cat([x, kept.pop()], 1), time, text)
        return self.head(x)


class _Step(nn.Module):
    def __init__(
        self, block: nn.Module | None, attention: nn.Module | None, move: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.block, self.attention, self.move = block, attention, move

    def forward(self, x: Tensor, time: Tensor, text: Tensor | None) -> Tensor:
        x = x if self.block is None else self.block(x, time)
        x = x if self.attention is None else self.attention(x, text)
        return x if self.move is None else self.move(x)


class DiT(nn.Module):
    """Peebles and Xie 2023: a transformer whose norms the time modulates."""

    def __init__(self, layers: int, width: int, heads: int, patch: int) -> None:
        super().__init__()
        self.patch = nn.Conv2d(4, width, patch, patch)
        self.time = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(_DiTBlock(width, heads) for _ in range(layers))
        self.head = nn.Linear(width, patch * patch * 8)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        c = self.time(t)
        for block in self.blocks:
            x = block(x, c)
        return self.head(x)


class _DiTBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(width, elementwise_affine=False)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.deep = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.modulate = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        a, b, g, d, e, h = self.modulate(c).unsqueeze(1).chunk(6, 2)
        parts = (
            self.qkv(self.norm(x) * (1 + a) + b)
            .unflatten(2, (3, self.heads, -1))
            .permute(2, 0, 3, 1, 4)
        )
        attended = F.scaled_dot_product_attention(*parts.unbind(0)).transpose(1, 2).flatten(2)
        x = x + g * self.out(attended)
        return x + h * self.deep(self.norm(x) * (1 + d) + e)


def noisy(channels: int, side: int, text: int = 0) -> Inputs:
    more = lambda b: (torch.empty(b, 77, text),) if text else ()  # noqa: E731
    return lambda b: (torch.empty(b, channels, side, side), torch.empty(b), *more(b))


def latent(side: int) -> Inputs:
    return lambda b: (torch.empty(b, 4, side, side), torch.empty(b, 256))


DIFFUSION_NETS = {
    "diffusion/ddpm-cifar": (lambda: Diffusion(128, (1, 2, 2, 2), 2, (1,)), noisy(3, 32)),
    "diffusion/ddpm-lsun": (lambda: Diffusion(128, (1, 1, 2, 2, 4, 4), 2, (4,)), noisy(3, 256)),
    "diffusion/ddpm-small": (lambda: Diffusion(64, (1, 2, 4), 1, (2,)), noisy(3, 32)),
    "diffusion/latent-text": (lambda: Diffusion(320, (1, 2, 4, 4), 2, (0, 1, 2), 4, 768), noisy(4, 64, 768)),
    "diffusion/latent-text-small": (lambda: Diffusion(128, (1, 2, 4), 1, (1, 2), 4, 512), noisy(4, 32, 512)),
    "diffusion/dit-s-2": (lambda: DiT(12, 384, 6, 2), latent(32)),
    "diffusion/dit-b-4": (lambda: DiT(12, 768, 12, 4), latent(32)),
    "diffusion/dit-l-2": (lambda: DiT(24, 1024, 16, 2), latent(32)),
    "diffusion/dit-xl-2": (lambda: DiT(28, 1152, 16, 2), latent(32)),
}  # fmt: skip
