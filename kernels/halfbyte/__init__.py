# SPDX-License-Identifier: Apache-2.0
"""FP16, INT8 and INT4 kernels for NumPy and CuPy arrays with the same bits everywhere.

Arrays of one call are all in the CPU's memory, or all on the current GPU; results are there, too.
On a GPU work goes to CuPy's current stream, and nothing waits for it unless a docstring says so.
"""

from halfbyte import formats
from halfbyte.amp import SGD, Adam, AdamW, GradScaler, clip_grad_norm, unscale
from halfbyte.calibration import HistogramObserver, MinMaxObserver, MovingAverageObserver
from halfbyte.casts import to_f16, to_f32
from halfbyte.fake_quantization import fake_quantize, fake_quantize_backward
from halfbyte.gemm import gemm_f16
from halfbyte.gemm_integer import gemm_int
from halfbyte.layers import linear
from halfbyte.packing import prepack
from halfbyte.quantization import dequantize, quantize
from halfbyte.requantization import requantize
from halfbyte.runtime import get_num_threads, set_num_threads, warm_up
from halfbyte.tensors import Int4Array, PackedMatrix, QuantizedTensor

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "GradScaler",
    "HistogramObserver",
    "Int4Array",
    "MinMaxObserver",
    "MovingAverageObserver",
    "PackedMatrix",
    "QuantizedTensor",
    "clip_grad_norm",
    "dequantize",
    "fake_quantize",
    "fake_quantize_backward",
    "formats",
    "gemm_f16",
    "gemm_int",
    "get_num_threads",
    "linear",
    "prepack",
    "quantize",
    "requantize",
    "set_num_threads",
    "to_f16",
    "to_f32",
    "unscale",
    "warm_up",
]


def __dir__() -> list[str]:
    """Return what is public: what tab completion shows."""
    return [*__all__, "__version__"]
