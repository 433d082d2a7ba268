# SPDX-License-Identifier: Apache-2.0
"""What every halfbyte function means, in the plainest NumPy that could be right.

Nothing here is fast and nothing checks its arguments: tests and benches call it with good ones. It
imports NumPy and the standard library only, and never halfbyte.
"""

from halfbyte_reference import bounds, inputs
from halfbyte_reference.activations import ACTIVATIONS, gelu, gelu64, relu, silu, silu64
from halfbyte_reference.casts import to_f16, to_f32
from halfbyte_reference.gemm_f16 import chain, epilogue, gemm_f16
from halfbyte_reference.linear import linear

__all__ = [
    "ACTIVATIONS",
    "bounds",
    "chain",
    "epilogue",
    "gelu",
    "gelu64",
    "gemm_f16",
    "inputs",
    "linear",
    "relu",
    "silu",
    "silu64",
    "to_f16",
    "to_f32",
]
