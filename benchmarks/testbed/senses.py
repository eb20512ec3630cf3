# SPDX-License-Identifier: Apache-2.0
"""Speech, time series, and models of several modalities."""

from __future__ import annotations

from typing import Any

from benchmarks.testbed.entries import Family


def whisper(layers: int, width: int, heads: int) -> dict[str, Any]:
    return {"d_model": width, "encoder_layers": layers, "decoder_layers": layers, "encoder_attention_heads": heads,
            "decoder_attention_heads": heads, "encoder_ffn_dim": 4 * width, "decoder_ffn_dim": 4 * width}  # fmt: skip


def towers(image: dict[str, Any], text: dict[str, Any]) -> dict[str, Any]:
    return {"vision_config": image, "text_config": text}


def tower(layers: int, width: int, heads: int, **others: Any) -> dict[str, Any]:
    return {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads,
            "intermediate_size": 4 * width, **others}  # fmt: skip


SPEECH = (
    Family("speech", "whisper", {
        "tiny": whisper(4, 384, 6), "base": whisper(6, 512, 8), "small": whisper(12, 768, 12), "medium": whisper(24, 1024, 16),
    }, "b1-s64 b4-s448", {"vocab_size": 51865}),
    Family("speech", "wav2vec2", {"base": {}, "large": tower(24, 1024, 16)}, "b1 b4"),
    Family("speech", "hubert", {"base": {}}, "b1 b4"),
    Family("speech", "wavlm", {"base": {}}, "b1"),
    Family("speech", "data2vec-audio", {"base": {}}, "b1"),
    Family("speech", "unispeech", {"base": {}}, "b1"),
    Family("speech", "unispeech-sat", {"base": {}}, "b1"),
    Family("speech", "sew", {"tiny": {}}, "b1"),
    Family("speech", "sew-d", {"tiny": {}}, "b1"),
    Family("speech", "wav2vec2-conformer", {"6": {"num_hidden_layers": 6, "vocab_size": 32}}, "b1"),
    Family("speech", "wav2vec2-bert", {"6": {"num_hidden_layers": 6, "vocab_size": 32}}, "b1"),
    Family("speech", "audio-spectrogram-transformer", {"small": tower(12, 384, 6), "base": {}}, "b1 b8", {"num_labels": 527}),
    Family("speech", "speech_to_text", {"small": {"encoder_layers": 12, "decoder_layers": 6}}, "b1-s64"),
    Family("speech", "moonshine", {"tiny": {"encoder_num_hidden_layers": 6, "decoder_num_hidden_layers": 6}}, "b1-s64"),
    Family("speech", "seamless_m4t_v2", {"text": {}}, "b1-s32", {"architectures": ["SeamlessM4Tv2ForSpeechToText"]}),
    Family("speech", "univnet", {"": {}}, "b1"),
    Family("speech", "parakeet_ctc", {"": {}}, "b1"),
)  # fmt: skip

SERIES = (
    Family("series", "patchtst", {
        "3": {"d_model": 128, "num_hidden_layers": 3, "num_attention_heads": 16, "ffn_dim": 256},
        "6": {"d_model": 256, "num_hidden_layers": 6, "num_attention_heads": 16, "ffn_dim": 512},
    }, "b1 b32", {"context_length": 512, "num_input_channels": 7, "patch_length": 16, "patch_stride": 8}),
    Family("series", "patchtsmixer", {
        "8": {"d_model": 32, "num_layers": 8}, "16": {"d_model": 64, "num_layers": 16, "mode": "mix_channel"},
    }, "b1 b32", {"context_length": 512, "num_input_channels": 7}),
)  # fmt: skip

MULTIMODAL = (
    Family("multimodal", "clap", {"base": {}}, "b1-s64 b8-s64", {"audio_config": {"depths": [2, 2, 6, 2]}}),
    Family("multimodal", "owlv2", {"base": {}}, "b1-s16", {"architectures": ["Owlv2Model"]}),
    Family("multimodal", "metaclip_2", {"base": {}}, "b1-s77 b16-s77"),
    Family("multimodal", "aimv2", {"base": {}}, "b1-s77"),
    Family("multimodal", "vision-text-dual-encoder", {"base": {}}, "b1-s32 b16-s64"),
    Family("multimodal", "mgp-str", {"base": {}}, "b1"),
    Family("multimodal", "clip", {
        "tiny": towers(tower(4, 256, 4), tower(4, 256, 4)),
        "vit-b-32": {}, "vit-b-16": towers({"patch_size": 16}, {}),
        "vit-l-14": {**towers(tower(24, 1024, 16, patch_size=14), tower(12, 768, 12)), "projection_dim": 768},
    }, "b1-s77 b16-s77"),
    Family("multimodal", "siglip", {"base": {}, "small": towers(tower(6, 384, 6), tower(6, 384, 6))}, "b1-s64"),
    Family("multimodal", "chinese_clip", {"base": {}}, "b1-s52"),
    Family("multimodal", "altclip", {"small": towers(tower(6, 768, 12), tower(6, 1024, 16))}, "b1-s77"),
    Family("multimodal", "clipseg", {"base": {}}, "b1-s77", {"architectures": ["CLIPSegModel"]}),
    Family("multimodal", "groupvit", {"": {}}, "b1-s77"),
    Family("multimodal", "align", {"": {}}, "b1-s64"),
    Family("multimodal", "flava", {"": {}}, "b1-s77", {"architectures": ["FlavaModel"]}),
    Family("multimodal", "blip", {"base": {}}, "b1-s64", {"architectures": ["BlipModel"]}),
    Family("multimodal", "git", {"base": {"num_hidden_layers": 6}}, "b1-s64"),
    Family("multimodal", "bridgetower", {"base": {}}, "b1-s50", {"architectures": ["BridgeTowerModel"]}),
    Family("multimodal", "owlvit", {"base": {}}, "b1-s16", {"architectures": ["OwlViTModel"]}),
    Family("multimodal", "layoutlm", {"base": {}}, "b1-s512", {"architectures": ["LayoutLMModel"]}),
    Family("multimodal", "layoutlmv3", {"base": {}}, "b1-s512", {"architectures": ["LayoutLMv3Model"]}),
    Family("multimodal", "bros", {"base": {}}, "b1-s256", {"architectures": ["BrosModel"]}),
    Family("multimodal", "lilt", {"base": {}}, "b1-s256", {"architectures": ["LiltModel"]}),
    Family("multimodal", "trocr", {"base": {}}, "b1-s64"),
    Family("multimodal", "visual_bert", {"": {}}, "b1-s64", {"architectures": ["VisualBertModel"]}),
)  # fmt: skip
