# SPDX-License-Identifier: Apache-2.0
"""Vision: convolutional networks and transformers for classification, segmentation, detection, depth, video."""

from __future__ import annotations

from benchmarks.testbed.entries import Family

LABELS = {"num_labels": 1000}
BASIC = {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512]}


def stages(depths: list[int], widths: list[int], **others: object) -> dict[str, object]:
    return {"depths": depths, "hidden_sizes": widths, **others}


def regnet(kind: str, depths: list[int], widths: list[int], group: int) -> dict[str, object]:
    return {
        "layer_type": kind,
        **stages(depths, widths),
        "groups_width": group,
        "embedding_size": 32,
    }


def vit(width: int, layers: int, heads: int, **others: object) -> dict[str, object]:
    return {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
            "intermediate_size": 4 * width, **others}  # fmt: skip


def efficient(
    width: float, depth: float, side: int, last: int, padding: list[int]
) -> dict[str, object]:
    return {"width_coefficient": width, "depth_coefficient": depth, "image_size": side, "hidden_dim": last,
            "depthwise_padding": padding, "num_hidden_layers": int(16 * depth)}  # fmt: skip


def swin(width: int, depths: list[int], heads: list[int], **others: object) -> dict[str, object]:
    return {"embed_dim": width, "depths": depths, "num_heads": heads, **others}


RESNET = {
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "backbone": None,
    "backbone_config": {"model_type": "resnet", "out_features": ["stage4"]},
}

VISION = (
    Family("vision", "resnet", {
        "18": {**BASIC, "depths": [2, 2, 2, 2]},
        "34": {**BASIC, "depths": [3, 4, 6, 3]},
        "26": {"depths": [2, 2, 2, 2]},
        "50": {"depths": [3, 4, 6, 3]},
        "101": {"depths": [3, 4, 23, 3]},
        "152": {"depths": [3, 8, 36, 3]},
    }, "b1 b32", LABELS),
    Family("vision", "mobilenet_v1", {
        "0.75-192": {"depth_multiplier": 0.75, "image_size": 192},
        "1.0-224": {"depth_multiplier": 1.0, "image_size": 224},
    }, "b1 b16", LABELS),
    Family("vision", "mobilenet_v2", {
        "0.75-160": {"depth_multiplier": 0.75, "image_size": 160},
        "1.0-224": {"depth_multiplier": 1.0, "image_size": 224},
        "1.4-224": {"depth_multiplier": 1.4, "image_size": 224},
    }, "b1 b16", LABELS),
    Family("vision", "regnet", {
        "x-002": regnet("x", [1, 1, 4, 7], [24, 56, 152, 368], 8),
        "y-002": regnet("y", [1, 1, 4, 7], [24, 56, 152, 368], 8),
        "y-004": regnet("y", [1, 3, 6, 6], [48, 104, 208, 440], 8),
        "x-016": regnet("x", [2, 4, 10, 2], [72, 168, 408, 912], 24),
        "y-016": regnet("y", [2, 6, 17, 2], [48, 120, 336, 888], 24),
        "y-032": regnet("y", [2, 5, 13, 1], [72, 216, 576, 1512], 24),
        "x-064": regnet("x", [2, 4, 10, 1], [168, 392, 784, 1624], 56),
    }, "b1", LABELS),
    Family("vision", "convnext", {
        "tiny": stages([3, 3, 9, 3], [96, 192, 384, 768]),
        "small": stages([3, 3, 27, 3], [96, 192, 384, 768]),
        "base": stages([3, 3, 27, 3], [128, 256, 512, 1024]),
    }, "b1 b16", LABELS),
    Family("vision", "convnextv2", {
        "atto": stages([2, 2, 6, 2], [40, 80, 160, 320]),
        "pico": stages([2, 2, 6, 2], [64, 128, 256, 512]),
        "nano": stages([2, 2, 8, 2], [80, 160, 320, 640]),
        "tiny": stages([3, 3, 9, 3], [96, 192, 384, 768]),
    }, "b1", LABELS),
    Family("vision", "poolformer", {
        "s12": stages([2, 2, 6, 2], [64, 128, 320, 512]),
        "s24": stages([4, 4, 12, 4], [64, 128, 320, 512]),
        "m36": stages([6, 6, 18, 6], [96, 192, 384, 768]),
    }, "b1", LABELS),
    Family("vision", "levit", {
        "128": {}, "192": {"hidden_sizes": [192, 288, 384], "num_attention_heads": [3, 5, 6], "key_dim": [32, 32, 32]},
        "256": {"hidden_sizes": [256, 384, 512], "num_attention_heads": [4, 6, 8], "key_dim": [32, 32, 32]},
        "384": {"hidden_sizes": [384, 512, 768], "num_attention_heads": [6, 9, 12], "key_dim": [32, 32, 32]},
    }, "b1", LABELS),
    Family("vision", "mobilevit", {
        "xxs": {"hidden_sizes": [64, 80, 96], "neck_hidden_sizes": [16, 16, 24, 48, 64, 80, 320], "expand_ratio": 2.0},
        "xs": {"hidden_sizes": [96, 120, 144], "neck_hidden_sizes": [16, 32, 48, 64, 80, 96, 384]},
        "s": {},
    }, "b1 b8", LABELS),
    Family("vision", "mobilevitv2", {
        "0.5": {"width_multiplier": 0.5}, "1.0": {}, "2.0": {"width_multiplier": 2.0},
    }, "b1", LABELS),
    Family("vision", "efficientnet", {
        "b0": efficient(1.0, 1.0, 224, 1280, []),
        "b1": efficient(1.0, 1.1, 240, 1280, [16]),
        "b2": efficient(1.1, 1.2, 260, 1408, [5, 8, 16]),
        "b3": efficient(1.2, 1.4, 300, 1536, [5, 18]),
        "b4": efficient(1.4, 1.8, 380, 1792, [6]),
        "b5": efficient(1.6, 2.2, 456, 2048, [13, 27]),
    }, "b1", LABELS),
    Family("vision", "vit", {
        "tiny-16": vit(192, 12, 3), "small-16": vit(384, 12, 6), "base-16": vit(768, 12, 12),
        "base-32": vit(768, 12, 12, patch_size=32), "large-16": vit(1024, 24, 16),
    }, "b1 b16", LABELS),
    Family("vision", "deit", {"tiny": vit(192, 12, 3), "small": vit(384, 12, 6)}, "b1", LABELS),
    Family("vision", "beit", {"base": {}}, "b1", LABELS),
    Family("vision", "data2vec-vision", {"base": {}}, "b1", LABELS),
    Family("vision", "dinov2", {
        "small": vit(384, 12, 6, image_size=224, patch_size=14), "base": vit(768, 12, 12, image_size=224, patch_size=14),
    }, "b1 b8", {"architectures": ["Dinov2Model"]}),
    Family("vision", "dinov2_with_registers", {"small": vit(384, 12, 6, image_size=224, patch_size=14)}, "b1"),
    Family("vision", "dinov3_vit", {"small": vit(384, 12, 6)}, "b1"),
    Family("vision", "dinov3_convnext", {"tiny": stages([3, 3, 9, 3], [96, 192, 384, 768])}, "b1"),
    Family("vision", "ijepa", {"base": vit(768, 12, 12)}, "b1"),
    Family("vision", "vit_mae", {"base": {}}, "b1", {"architectures": ["ViTMAEModel"]}),
    Family("vision", "vit_msn", {"base": {}}, "b1"),
    Family("vision", "hiera", {"tiny": {}}, "b1", {"architectures": ["HieraModel"]}),
    Family("vision", "swin", {
        "tiny": swin(96, [2, 2, 6, 2], [3, 6, 12, 24]), "small": swin(96, [2, 2, 18, 2], [3, 6, 12, 24]),
        "base": swin(128, [2, 2, 18, 2], [4, 8, 16, 32]),
    }, "b1", LABELS),
    Family("vision", "swinv2", {
        "tiny": swin(96, [2, 2, 6, 2], [3, 6, 12, 24], image_size=256, window_size=8),
    }, "b1", LABELS),
    Family("vision", "donut-swin", {"base": swin(128, [2, 2, 14, 2], [4, 8, 16, 32], image_size=448, window_size=7)}, "b1"),
    Family("vision", "focalnet", {"tiny": {"embed_dim": 96, "depths": [2, 2, 6, 2]}, "small": {"embed_dim": 96, "depths": [2, 2, 18, 2]}}, "b1", LABELS),
    Family("vision", "pvt", {
        "tiny": {"depths": [2, 2, 2, 2]}, "small": {"depths": [3, 4, 6, 3]},
    }, "b1", LABELS),
    Family("vision", "pvt_v2", {
        "b0": {"hidden_sizes": [32, 64, 160, 256], "depths": [2, 2, 2, 2]},
        "b1": {"hidden_sizes": [64, 128, 320, 512], "depths": [2, 2, 2, 2]},
        "b2": {"hidden_sizes": [64, 128, 320, 512], "depths": [3, 4, 6, 3]},
    }, "b1", LABELS),
    Family("vision", "cvt", {"13": {}, "21": {"depth": [1, 4, 16]}}, "b1", LABELS),
    Family("vision", "swiftformer", {
        "xs": {"depths": [3, 3, 6, 4], "embed_dims": [48, 56, 112, 220]},
        "s": {"depths": [3, 3, 9, 6], "embed_dims": [48, 64, 168, 224]},
        "l3": {"depths": [4, 4, 12, 6], "embed_dims": [64, 128, 320, 512]},
    }, "b1", LABELS),
    Family("vision", "bit", {"50": {"depths": [3, 4, 6, 3]}, "101": {"depths": [3, 4, 23, 3]}}, "b1", LABELS),
    Family("vision", "hgnet_v2", {"l": {}}, "b1", LABELS),
    Family("vision", "textnet", {"base": {}}, "b1", LABELS),
    Family("vision", "segformer", {
        "b0": {"depths": [2, 2, 2, 2], "hidden_sizes": [32, 64, 160, 256], "decoder_hidden_size": 256},
        "b1": {"depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 256},
        "b2": {"depths": [3, 4, 6, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768},
        "b3": {"depths": [3, 4, 18, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768},
    }, "b1", {"architectures": ["SegformerForSemanticSegmentation"], "num_labels": 150}),
    Family("vision", "dpt", {"large": vit(1024, 24, 16, image_size=384)}, "b1", {"architectures": ["DPTForDepthEstimation"]}),
    Family("vision", "glpn", {"nyu": {"depths": [3, 8, 27, 3]}}, "b1", {"architectures": ["GLPNForDepthEstimation"]}),
    Family("vision", "yolos", {
        "tiny": vit(192, 12, 3, image_size=[512, 864]), "small": vit(384, 12, 6, image_size=[512, 864]),
    }, "b1"),
    Family("vision", "superpoint", {"": {}}, "b1 b8", {"architectures": ["SuperPointForKeypointDetection"]}),
    Family("vision", "detr", {"r50": RESNET}, "b1"),
    Family("vision", "conditional_detr", {"r50": RESNET}, "b1"),
    Family("vision", "table-transformer", {"r50": RESNET}, "b1"),
    Family("vision", "rt_detr", {"r50": {}}, "b1 b8", {"architectures": ["RTDetrForObjectDetection"]}),
    Family("vision", "maskformer", {"swin": {}}, "b1", {"architectures": ["MaskFormerModel"]}),
    Family("vision", "depth_anything", {"small": {}}, "b1 b8", {"architectures": ["DepthAnythingForDepthEstimation"]}),
    Family("vision", "zoedepth", {"beit": {}}, "b1", {"architectures": ["ZoeDepthForDepthEstimation"]}),
    Family("vision", "sam", {"base": {}}, "b1"),
    Family("vision", "mobilenet_v2", {"deeplab": {}}, "b1 b8", {"architectures": ["MobileNetV2ForSemanticSegmentation"]}),
    Family("vision", "swin2sr", {"classical": {"image_size": 64}}, "b1"),
    Family("vision", "timesformer", {"base": {}}, "b1", {"architectures": ["TimesformerForVideoClassification"]}),
    Family("vision", "videomae", {"small": vit(384, 12, 6), "base": {}}, "b1", {"architectures": ["VideoMAEForVideoClassification"]}),
    Family("vision", "vivit", {"base": {}}, "b1", {"architectures": ["VivitForVideoClassification"]}),
    Family("vision", "imagegpt", {"small": {"n_embd": 512, "n_layer": 24, "n_head": 8}}, "b1-s256"),
)  # fmt: skip
