# SPDX-License-Identifier: Apache-2.0
"""Example inputs of transformers' models, by the names that ``forward`` takes; on the meta device."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError

__all__ = ["example_inputs", "takes"]

_SAMPLES_PER_SECOND = 16_000


def takes(model: Any) -> list[str]:
    """Return the names of the inputs of ``forward``."""
    return list(inspect.signature(model.forward).parameters)


def example_inputs(
    model: Any, batch: int, sequence: int, shapes: Mapping[str, Sequence[int]], item: str
) -> dict[str, Any]:
    """Return the inputs of a run over a whole sequence, without a cache.

    Texts have ids and a mask, images the size and films the frames that the configuration says, sounds 10
    seconds or what the configuration says, series of measurements its context.  Decoders beside an encoder get a sequence of the same length.

    Raises
    ------
    InputError
        If a shape is given for what is no input, or it is unknown what the model reads.
    """
    import torch

    config, names = model.config, takes(model)
    sizes: dict[str, tuple[int, ...]] = {}
    integers = set()
    if "pixel_values" in names:
        sizes["pixel_values"] = _image(config, batch)
    for sound in ("input_features", "input_values"):
        if sound in names:
            sizes[sound] = _sound(config, batch, sound)
    if "past_values" in names and hasattr(config, "num_input_channels"):
        sizes["past_values"] = (batch, int(config.context_length), int(config.num_input_channels))
    main = getattr(model, "main_input_name", "input_ids")
    reads_text = "input_ids" in names and (not sizes or main == "input_ids" or _has_towers(config))
    if reads_text:
        sizes["input_ids"] = (batch, sequence)
        if "attention_mask" in names:
            sizes["attention_mask"] = (batch, sequence)
        integers |= {"input_ids", "attention_mask"}
    if "bbox" in names and reads_text:
        sizes["bbox"] = (batch, sequence, 4)
        integers.add("bbox")
    if "decoder_input_ids" in names:
        limit = getattr(config, "max_target_positions", None) or sequence
        sizes["decoder_input_ids"] = (batch, min(sequence, int(limit)))
        integers.add("decoder_input_ids")
    for name, shape in shapes.items():
        if name not in names:
            raise InputError(
                f"{item}: shapes", f"names of inputs ({', '.join(names[:12])} ...)", f"'{name}'"
            )
        sizes[name] = tuple(shape)
        if name.endswith(("_ids", "_mask")):
            integers.add(name)
    if not sizes:
        raise InputError(
            f"{item}: inputs",
            "a model that reads texts, images, films, sounds or series",
            f"one that reads {', '.join(names[:6])}",
            "Give shapes for its inputs.",
        )
    floating = model.dtype
    inputs: dict[str, Any] = {
        name: torch.empty(size, dtype=torch.int64 if name in integers else floating, device="meta")
        for name, size in sizes.items()
    }
    if "use_cache" in names:
        inputs["use_cache"] = False
    return inputs


def _has_towers(config: Any) -> bool:
    return hasattr(config, "text_config") and hasattr(config, "vision_config")


def _image(config: Any, batch: int) -> tuple[int, ...]:
    """Return (batch, channels, height, width); of films (batch, frames, channels, height, width)."""
    part = getattr(config, "vision_config", config)
    part = part if hasattr(part, "image_size") or hasattr(part, "num_channels") else config
    size = getattr(part, "image_size", None) or _USUAL.get(config.model_type, 224)
    if isinstance(size, Mapping):
        size = (size["height"], size["width"])
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    frames = getattr(part, "num_frames", None)
    shape = (int(getattr(part, "num_channels", 3) or 3), int(height), int(width))
    return (batch, int(frames), *shape) if frames else (batch, *shape)


_USUAL = {"detr": 800, "conditional_detr": 800, "deformable_detr": 800, "table-transformer": 800,
          "yolos": 512, "segformer": 512, "mask2former": 384, "maskformer": 384}  # fmt: skip
"""Sides of images for models whose configuration does not say them."""


def _sound(config: Any, batch: int, name: str) -> tuple[int, ...]:
    """Return (batch, samples) of a wave or (batch, ...) of its features."""
    spectrum = getattr(config, "audio_config", config)
    if hasattr(spectrum, "spec_size"):  # a spectrogram that is folded into a square image
        folds = spectrum.spec_size // spectrum.num_mel_bins
        return batch, 1, int(spectrum.spec_size * folds), int(spectrum.num_mel_bins)
    if name == "input_values" and not hasattr(config, "num_mel_bins"):
        return batch, 10 * _SAMPLES_PER_SECOND
    bins: Any = getattr(config, "num_mel_bins", None) or getattr(
        config, "input_feat_per_channel", 80
    )
    if hasattr(config, "max_length") and name == "input_values":  # audio spectrogram transformer
        return batch, int(config.max_length), bins
    if hasattr(config, "max_source_positions") and config.model_type == "whisper":
        return batch, int(bins), 2 * int(config.max_source_positions)
    return batch, 1000, int(getattr(config, "feature_projection_input_dim", bins))
