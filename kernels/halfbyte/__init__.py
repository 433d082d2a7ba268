# SPDX-License-Identifier: Apache-2.0
"""FP16 kernels for NumPy arrays with the same bits everywhere."""

from halfbyte import formats
from halfbyte.casts import to_f16, to_f32
from halfbyte.gemm import gemm_f16, linear, prepack
from halfbyte.runtime import get_num_threads, set_num_threads, warm_up
from halfbyte.tensors import Int4Array, PackedMatrix, QuantizedTensor

__version__ = "0.1.0"

__all__ = [
    "Int4Array",
    "PackedMatrix",
    "QuantizedTensor",
    "formats",
    "gemm_f16",
    "get_num_threads",
    "linear",
    "prepack",
    "set_num_threads",
    "to_f16",
    "to_f32",
    "warm_up",
]
