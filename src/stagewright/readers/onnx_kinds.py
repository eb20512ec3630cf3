# SPDX-License-Identifier: Apache-2.0
"""What a convolution is like: its name does not say which algorithms can run it.

- ``conv-depthwise``: one input channel per group; little is reused, so arithmetic is hardly ever
  the limit.
- ``conv-grouped``: other grouped convolutions.
- ``conv-first``: at most four input channels (images); too few for blocked layouts.
- ``conv-pointwise``: kernels of one element; a matrix product.
- ``conv-3x3``: 3 x 3, stride 1, not dilated: what Winograd's algorithm serves (Lavin and Gray,
  Fast Algorithms for Convolutional Neural Networks, 2016).
- ``conv``: the others, run directly or as a matrix product.
"""

from __future__ import annotations

from typing import Final

from .onnx_call import Call
from .onnx_types import product

__all__ = ["kind_of"]

_WEIGHT: Final = {
    **dict.fromkeys(("Conv", "FusedConv", "NhwcConv", "ConvInteger"), 1),
    "QLinearConv": 3,
}
_FEW_CHANNELS: Final = 4


def kind_of(call: Call) -> str:
    """Return the kind of a convolution, ``""`` for every other operator."""
    position = _WEIGHT.get(call.op)
    if position is None:
        return ""
    weight = call.dims(position)
    if len(weight) < 3:
        return ""
    kernel, group = weight[2:], int(call.attribute("group", 1))
    if group > 1:
        return "conv-depthwise" if weight[1] == 1 else "conv-grouped"
    if weight[1] <= _FEW_CHANNELS:
        return "conv-first"
    if product(kernel) == 1:
        return "conv-pointwise"
    plain = all(n == 1 for key in ("strides", "dilations") for n in call.attribute(key, ()))
    return "conv-3x3" if kernel == (3, 3) and plain else "conv"
