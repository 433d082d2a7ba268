# SPDX-License-Identifier: Apache-2.0
"""Right operands laid out once for many products, and given back."""

from __future__ import annotations

from typing import Any

from halfbyte.arrays import F16, Array, as_array, is_numpy, on_device, require_dtype
from halfbyte.devices import check_current
from halfbyte.gemm_integer import INTEGER_KINDS, codes_of
from halfbyte.layer_arguments import check_weights
from halfbyte.quantized import I8, U8
from halfbyte.tensors import Int4Array, PackedMatrix, QuantizedTensor, library, nibbles


def prepack(b: Any) -> PackedMatrix:
    """Lay out a matrix once for many products, as the right operand.

    Parameters
    ----------
    b : array of shape (k, n), or QuantizedTensor of shape (n, k)
        float16, for `gemm_f16`, and for `linear` as ``w.T``; int8 or uint8, or an Int4Array (or an
        int4 or uint4 array of ml_dtypes), for `gemm_int`; or the weights of `linear` themselves, a
        QuantizedTensor with one scale, one for each row (axis 0) or one for each group of a row.
        Any strides.

    Returns
    -------
    PackedMatrix
        Of shape (k, n). Takes about as many bytes as `b`: an element keeps its width, and columns
        are padded.

    Raises
    ------
    TypeError
        Another kind of array or another dtype.
    ValueError
        `b` is not a matrix, or has scales along its last axis.
    """
    name = "prepack"
    if isinstance(b, QuantizedTensor):
        check_weights(name, "b", b)
        from halfbyte.cpu import linear

        return PackedMatrix(linear.prepack(b._in_numpy()), (b.shape[1], b.shape[0]), "quantized")
    if isinstance(b, Int4Array):
        seen = library.view(b.packed)
    elif is_numpy(b):
        seen = b
    else:
        seen, _ = as_array(name, "b", b)
        b = seen
    if not nibbles.is_int4(seen.dtype):
        require_dtype(name, "b", seen, (F16, I8, U8), "4-bit integers")
    if len(b.shape) != 2:
        msg = f"{name}: b has shape {b.shape}; need (k, n)"
        raise ValueError(msg)
    if on_device(seen):
        require_dtype(name, "b", seen, (F16,))
        from halfbyte.cuda import gemm_f16_pack

        return PackedMatrix(gemm_f16_pack.pack(seen), b.shape, "float16")
    if seen.dtype == F16:
        from halfbyte.cpu import gemm_f16

        return PackedMatrix(gemm_f16.pack_panels(seen), b.shape, "float16")
    from halfbyte.cpu import gemm_int

    codes, _ = codes_of(name, "b", b, seen)
    kind = f"{'' if codes.signed else 'u'}int{codes.bits}"
    return PackedMatrix(gemm_int.prepack(codes, b.shape), b.shape, kind)


def unpack(packed: PackedMatrix) -> Array | Int4Array | QuantizedTensor:
    """Return what was packed."""
    contents: Any = packed._contents
    if packed.kind == "float16":
        if on_device(contents):
            from halfbyte.cuda import gemm_f16_pack

            check_current("PackedMatrix", "what was packed", contents)
            return gemm_f16_pack.unpack(contents, packed.shape)  # type: ignore[no-any-return]
        k, n = packed.shape
        width = contents.shape[1]
        panels = contents.reshape(-(-n // width), k, width)
        columns: Array = panels.transpose(1, 0, 2).reshape(k, len(panels) * width)
        return columns[:, :n].copy()
    if packed.kind == "quantized":
        from halfbyte.cpu import linear

        weights: QuantizedTensor = linear.unpack(contents, packed.shape)
        return weights
    from halfbyte.cpu import gemm_int

    codes: Array = gemm_int.unpack(contents, packed.shape)
    bits, signed = INTEGER_KINDS[packed.kind]
    return Int4Array.pack(codes, signed) if bits == 4 else codes
