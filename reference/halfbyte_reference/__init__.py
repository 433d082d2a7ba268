# SPDX-License-Identifier: Apache-2.0
"""What every halfbyte function means, in the plainest NumPy that could be right.

Nothing here is fast and nothing checks its arguments: tests and benches call it with good ones. It
imports NumPy and the standard library only, and never halfbyte.
"""

from halfbyte_reference import bounds, inputs, inputs_quantized
from halfbyte_reference.activations import ACTIVATIONS, gelu, gelu64, relu, silu, silu64
from halfbyte_reference.amp import SGD, Adam, AdamW, clip_grad_norm, unscale
from halfbyte_reference.calibration import (
    HistogramObserver,
    MinMaxObserver,
    MovingAverageObserver,
)
from halfbyte_reference.casts import to_f16, to_f32
from halfbyte_reference.fake_quantization import fake_quantize, fake_quantize_backward
from halfbyte_reference.gemm_f16 import chain, epilogue, gemm_f16
from halfbyte_reference.gemm_int import gemm_int, largest_difference, largest_k
from halfbyte_reference.linear import linear
from halfbyte_reference.linear_int import linear_int
from halfbyte_reference.philox import philox4x32, uniforms
from halfbyte_reference.quantization import (
    Quantized,
    dequantize,
    pack_nibbles,
    quantize,
    requantize,
    unpack_nibbles,
)
from halfbyte_reference.scales import code_range, mse_candidates, mse_errors, scale_zero_point

__all__ = [
    "ACTIVATIONS",
    "SGD",
    "Adam",
    "AdamW",
    "HistogramObserver",
    "MinMaxObserver",
    "MovingAverageObserver",
    "Quantized",
    "bounds",
    "chain",
    "clip_grad_norm",
    "code_range",
    "dequantize",
    "epilogue",
    "fake_quantize",
    "fake_quantize_backward",
    "gelu",
    "gelu64",
    "gemm_f16",
    "gemm_int",
    "inputs",
    "inputs_quantized",
    "largest_difference",
    "largest_k",
    "linear",
    "linear_int",
    "mse_candidates",
    "mse_errors",
    "pack_nibbles",
    "philox4x32",
    "quantize",
    "relu",
    "requantize",
    "scale_zero_point",
    "silu",
    "silu64",
    "to_f16",
    "to_f32",
    "uniforms",
    "unpack_nibbles",
    "unscale",
]
