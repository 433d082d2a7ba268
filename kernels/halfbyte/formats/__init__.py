# SPDX-License-Identifier: Apache-2.0
"""Other libraries' layouts of quantized arrays, to and from `QuantizedTensor`.

Bytes are moved, values never change: what dequantizes to x before does so after, unless
`encode_ggml` is told to round scales. The layout is named in the call, never guessed, and what a
layout cannot hold is a ValueError. Each file shows the bytes of one library.
"""

from halfbyte.formats.ggml import decode_ggml, encode_ggml
from halfbyte.formats.high_nibble_first import decode_high_nibble_first, encode_high_nibble_first
from halfbyte.formats.onnx import OnnxTensors, decode_onnx, encode_onnx
from halfbyte.formats.onnxruntime import MatMulNBits, decode_matmul_nbits, encode_matmul_nbits

__all__ = [
    "MatMulNBits",
    "OnnxTensors",
    "decode_ggml",
    "decode_high_nibble_first",
    "decode_matmul_nbits",
    "decode_onnx",
    "encode_ggml",
    "encode_high_nibble_first",
    "encode_matmul_nbits",
    "encode_onnx",
]


def __dir__() -> list[str]:
    """Tab completion shows what is public."""
    return __all__
