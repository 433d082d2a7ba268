# SPDX-License-Identifier: Apache-2.0
"""The schemes: what weights and activations become. Each is a line of the table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scheme:
    name: str
    w_bits: int = 8  # 16: float16
    x_bits: int = 8  # 16: float16, and nothing is known of activations
    static: bool = False  # scales of activations from calibration, or a row's own in the call
    axis: int | None = 0  # a scale for each output, or one for all
    group_size: int | None = None  # a scale for so many neighbours of a row
    method: str = "absmax"


FP16 = Scheme("FP16", w_bits=16, x_bits=16)
W8A8 = (
    Scheme("W8A8 static, per tensor", static=True, axis=None),
    Scheme("W8A8 static, per channel", static=True),
    Scheme("W8A8 dynamic, per tensor", axis=None),
    Scheme("W8A8 dynamic, per channel"),
)
W4_TENSOR = Scheme("W4A8, per tensor, absmax", w_bits=4, axis=None)
GROUPS = 32
W4 = tuple(
    Scheme(
        f"W4A{x_bits}, {'groups of 32' if group_size else 'per channel'}, {method}",
        w_bits=4,
        x_bits=x_bits,
        axis=None if group_size else 0,
        group_size=group_size,
        method=method,
    )
    for x_bits in (16, 8)
    for group_size in (None, GROUPS)
    for method in ("absmax", "mse")
)
# The fewest bits, with activations of 4: what training again is for.
FEW_BITS = tuple(
    Scheme(f"W{bits}A4 static, per channel, mse", bits, 4, static=True, method="mse")
    for bits in (4, 3, 2)
)
ABSMAX4 = Scheme("W4A4 static, per channel, absmax", 4, 4, static=True)
MLP_SCHEMES = (FP16, *W8A8, W4_TENSOR, *W4, ABSMAX4, *FEW_BITS)
# Codes of one layer are the next one's: from the image on, no number is a float before the logits.
CONVOLUTION_SCHEMES = (FP16, *W8A8, W4[-1])
TRANSFORMER_SCHEMES = (FP16, *W8A8, W4_TENSOR, *W4, ABSMAX4, *FEW_BITS)
