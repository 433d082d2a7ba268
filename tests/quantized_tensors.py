# SPDX-License-Identifier: Apache-2.0
"""Seeded QuantizedTensors, and what they stand for."""

import numpy as np

from halfbyte import QuantizedTensor
from halfbyte_reference import dequantize, pack_nibbles
from halfbyte_reference.inputs_quantized import codes, scales


def tensor(shape, seed, *, bits=8, axis=None, group_size=None, signed=True, affine=False):
    """Return a QuantizedTensor of seeded codes, scales that float16 holds, and zero points."""
    values = codes(shape, [seed, 0], bits, signed)
    need = ()
    if axis is not None:
        need = (shape[axis],)
    elif group_size is not None:
        need = (*shape[:-1], -(-shape[-1] // group_size))
    scale = np.asarray(scales(need, [seed, 1], "normal"), np.float16).astype(np.float32)
    zero_point = None
    if affine or not signed:
        zero_point = codes(need, [seed, 2], bits, signed).astype(np.int32)
    return QuantizedTensor(
        pack_nibbles(values) if bits == 4 else values, scale, zero_point,
        bits=bits, axis=axis, group_size=group_size, signed=signed, shape=shape,
    )  # fmt: skip


def value(q):
    """Dequantize by the reference."""
    held = q._codes()
    return dequantize(held, q.scale, q.zero_point, axis=q.axis, group_size=q.group_size)
