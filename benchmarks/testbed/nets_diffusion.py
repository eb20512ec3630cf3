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

    def embed(self, t: Tensor) -> Tensor:
        angle = t[:, None] * torch.exp(
            torch.arange(self.width // 2, device=t.device) * (-math.log(1e4) / (self.width // 2))
        )
        return self.time(torch.cat([angle.sin(), angle.cos()], 1))

    def descend(self, x: Tensor, time: Tensor, text: Tensor | None) -> list[Tensor]:
        kept = [self.stem(x)]
        for step in self.down:
            kept.append(step(kept[-1], time, text))
        return kept

    def forward(self, x: Tensor, t: Tensor, text: Tensor | None = None) -> Tensor:
        time = self.embed(t)
        kept = self.descend(x, time, text)
        x = self.middle(kept[-1], time, text)
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


class Crossing(nn.Module):
    """PixArt (Chen et al. 2023): blocks as of DiT, each with attention to a text; one modulation for all."""

    def __init__(self, layers: int, width: int, heads: int, text: int) -> None:
        super().__init__()
        self.patch, self.text = nn.Conv2d(4, width, 2, 2), nn.Linear(text, width)
        self.time = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, 6 * width))
        self.blocks = nn.ModuleList(_CrossBlock(width, heads) for _ in range(layers))
        self.head = nn.Linear(width, 32)

    def forward(self, x: Tensor, t: Tensor, text: Tensor) -> Tensor:
        x, c = self.patch(x).flatten(2).transpose(1, 2), self.time(t)
        text = self.text(text)
        for block in self.blocks:
            x = block(x, c, text)
        return self.head(x)


class _CrossBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.table = heads, nn.Parameter(torch.empty(6, width))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.q, self.kv = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out_text = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.deep = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, c: Tensor, text: Tensor) -> Tensor:
        a, b, g, d, e, h = (c.unflatten(1, (6, -1)) + self.table).unsqueeze(2).unbind(1)
        x = x + g * self.out(attend(self.heads, *self.qkv(self.norm(x) * (1 + a) + b).chunk(3, 2)))
        x = x + self.out_text(attend(self.heads, self.q(x), *self.kv(text).chunk(2, 2)))
        return x + h * self.deep(self.norm(x) * (1 + d) + e)


class Joint(nn.Module):
    """MMDiT (Esser et al. 2024): text and image in streams of their own that attend to both."""

    def __init__(self, layers: int, width: int, heads: int, text: int) -> None:
        super().__init__()
        self.patch, self.text = nn.Conv2d(16, width, 2, 2), nn.Linear(text, width)
        self.time = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.streams = nn.ModuleList(
            nn.ModuleList(_Stream(width) for _ in range(2)) for _ in range(layers)
        )
        self.heads, self.head = heads, nn.Linear(width, 64)

    def forward(self, x: Tensor, t: Tensor, text: Tensor) -> Tensor:
        both = [self.patch(x).flatten(2).transpose(1, 2), self.text(text)]
        c = self.time(t)
        for streams in self.streams:
            sizes = [y.shape[1] for y in both]
            parts = [s.project(y, c) for s, y in zip(streams, both, strict=True)]
            joined = [torch.cat(kind, 1) for kind in zip(*parts, strict=True)]
            found = attend(self.heads, *joined).split(sizes, 1)
            both = [s(y, z, c) for s, y, z in zip(streams, both, found, strict=True)]
        return self.head(both[0])


class _Stream(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.before, self.after = (
            nn.Sequential(nn.SiLU(), nn.Linear(width, n * width)) for n in (2, 4)
        )
        self.deep = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def project(self, x: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        a, b = self.before(c).unsqueeze(1).chunk(2, 2)
        return self.qkv(self.norm(x) * (1 + a) + b).chunk(3, 2)

    def forward(self, x: Tensor, found: Tensor, c: Tensor) -> Tensor:
        g, d, e, h = self.after(c).unsqueeze(1).chunk(4, 2)
        x = x + g * self.out(found)
        return x + h * self.deep(self.norm(x) * (1 + d) + e)


class UViT(nn.Module):
    """Bao et al. 2023: a transformer with long skips from the first half to the second."""

    def __init__(self, layers: int, width: int, heads: int) -> None:
        super().__init__()
        self.patch, self.time = nn.Conv2d(4, width, 2, 2), nn.Linear(256, width)
        block = lambda: nn.TransformerEncoderLayer(  # noqa: E731
            width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.first = nn.ModuleList(block() for _ in range(layers // 2))
        self.middle = block()
        self.last = nn.ModuleList(block() for _ in range(layers // 2))
        self.joins = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(layers // 2))
        self.head = nn.Linear(width, 16)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x, kept = torch.cat([self.time(t).unsqueeze(1), x], 1), []
        for block in self.first:
            x = block(x)
            kept.append(x)
        x = self.middle(x)
        for join, block in zip(self.joins, self.last, strict=True):
            x = block(join(torch.cat([x, kept.pop()], 2)))
        return self.head(x[:, 1:])


class Controlled(nn.Module):
    """ControlNet (Zhang et al. 2023): a copy of the way down reads a hint and adds to the way up."""

    def __init__(self, width: int, factors: Sequence[int], text: int) -> None:
        super().__init__()
        levels = tuple(range(1, len(factors)))
        self.net, self.copy = (Diffusion(width, factors, 1, levels, 4, text) for _ in range(2))
        del self.copy.up, self.copy.head
        self.hint = nn.Sequential(
            nn.Conv2d(3, 32, 3, 8, 1), nn.SiLU(), nn.Conv2d(32, width, 3, 1, 1)
        )
        sizes = [width]
        for level, factor in enumerate(factors):
            sizes += [width * factor] * (1 + (level < len(factors) - 1))
        self.zeros = nn.ModuleList(nn.Conv2d(size, size, 1) for size in [*sizes, sizes[-1]])

    def forward(self, x: Tensor, t: Tensor, text: Tensor, hint: Tensor) -> Tensor:
        time = self.net.embed(t)
        kept = self.net.descend(x, time, text)
        other = self.copy.embed(t)
        y = self.copy.stem(x) + self.hint(hint)
        added = [y]
        for step in self.copy.down:
            y = step(y, other, text)
            added.append(y)
        added.append(self.copy.middle(y, other, text))
        made = [zero(y) for zero, y in zip(self.zeros, added, strict=True)]
        x = self.net.middle(kept[-1], time, text) + made.pop()
        for step in self.net.up:
            x = step(torch.cat([x, kept.pop() + made.pop()], 1), time, text)
        return self.net.head(x)


class Decoder(nn.Module):
    """From latents to an image (Rombach et al. 2022)."""

    def __init__(self, width: int, factors: Sequence[int], blocks: int) -> None:
        super().__init__()
        own = width * factors[-1]
        self.stem, self.middle = nn.Conv2d(4, own, 3, 1, 1), nn.ModuleList()
        self.time = nn.Parameter(torch.empty(1, 4))
        self.middle = nn.ModuleList(
            [_Step(Residual(own, own, 4), Spatial(own)), _Step(Residual(own, own, 4), None)]
        )
        self.up = nn.ModuleList()
        for level, factor in reversed(list(enumerate(factors))):
            for i in range(blocks):
                out = width * factor
                last = i == blocks - 1 and level
                grow = (
                    nn.Sequential(nn.Upsample(scale_factor=2.0), nn.Conv2d(out, out, 3, 1, 1))
                    if last
                    else None
                )
                self.up.append(_Step(Residual(own, out, 4), None, grow))
                own = out
        self.head = nn.Sequential(nn.GroupNorm(32, own), nn.SiLU(), nn.Conv2d(own, 3, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for step in (*self.middle, *self.up):
            x = step(x, self.time, None)
        return self.head(x)


def attend(heads: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    parts = [x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v)]
    return F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)


def noisy(channels: int, side: int, text: int = 0) -> Inputs:
    more = lambda b: (torch.empty(b, 77, text),) if text else ()  # noqa: E731
    return lambda b: (torch.empty(b, channels, side, side), torch.empty(b), *more(b))


def latent(side: int) -> Inputs:
    return lambda b: (torch.empty(b, 4, side, side), torch.empty(b, 256))


def latent_text(channels: int, side: int, tokens: int, text: int) -> Inputs:
    return lambda b: (
        torch.empty(b, channels, side, side),
        torch.empty(b, 256),
        torch.empty(b, tokens, text),
    )


def hinted(side: int, text: int) -> Inputs:
    more = noisy(4, side, text)
    return lambda b: (*more(b), torch.empty(b, 3, 8 * side, 8 * side))


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
    "diffusion/pixart-small": (lambda: Crossing(12, 384, 6, 512), latent_text(4, 32, 120, 512)),
    "diffusion/pixart-xl": (lambda: Crossing(28, 1152, 16, 4096), latent_text(4, 64, 120, 4096)),
    "diffusion/joint-8": (lambda: Joint(8, 512, 8, 1024), latent_text(16, 32, 77, 1024)),
    "diffusion/joint-24": (lambda: Joint(24, 1536, 24, 4096), latent_text(16, 64, 154, 4096)),
    "diffusion/uvit-small": (lambda: UViT(12, 512, 8), latent(32)),
    "diffusion/uvit-large": (lambda: UViT(20, 1024, 16), latent(32)),
    "diffusion/controlled-64": (lambda: Controlled(64, (1, 2, 4), 512), hinted(32, 512)),
    "diffusion/controlled-320": (lambda: Controlled(320, (1, 2, 4, 4), 768), hinted(64, 768)),
    "diffusion/decoder-64": (lambda: Decoder(64, (1, 2, 4), 2), lambda b: (torch.empty(b, 4, 32, 32),)),
    "diffusion/decoder-128": (lambda: Decoder(128, (1, 2, 4, 4), 3), lambda b: (torch.empty(b, 4, 64, 64),)),
}  # fmt: skip
