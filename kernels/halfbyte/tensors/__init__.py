# SPDX-License-Identifier: Apache-2.0
"""What halfbyte's functions take and return beside plain arrays."""

from halfbyte.tensors.int4_array import Int4Array
from halfbyte.tensors.packed_matrix import PackedMatrix
from halfbyte.tensors.quantized_tensor import QuantizedTensor

__all__ = ["Int4Array", "PackedMatrix", "QuantizedTensor"]
