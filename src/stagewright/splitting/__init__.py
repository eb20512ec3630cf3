# SPDX-License-Identifier: Apache-2.0
"""Cutting a model file into one file per stage, with a manifest of what crosses between them."""

from __future__ import annotations

from .manifest import Crossing, Manifest, StageEntry, TensorType
from .onnx_stages import split_onnx

__all__ = ["Crossing", "Manifest", "StageEntry", "TensorType", "split_onnx"]
