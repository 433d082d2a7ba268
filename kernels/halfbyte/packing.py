# SPDX-License-Identifier: Apache-2.0
"""Right operands laid out once for many products, and given back."""

from __future__ import annotations

from typing import Any

from halfbyte.arrays import F16, Array, as_array, is_numpy, on_device, require_dtype
from halfbyte.devices import backend_of, check_current
from halfbyte.gemm_integer import INTEGER_KINDS, codes_of
from halfbyte.layer_arguments import check_weights
from halfbyte.quantized import I8, U8, Codes, code_dtype
from halfbyte.tensors import Int4Array, PackedMatrix, QuantizedTensor, library, nibbles


def prepack(b: Any) -> PackedMatrix:
    """Lay out a matrix once for many products, as the right operand.

    Parameters
    ----------
    b : array of shape (k, n), or QuantizedTensor of shape (n, k)
        float16, for `gemm_f16`, and for `linear` as ``w.T`` (a square float16 `w` without ``.T``
        gives x @ w, and no error); int8 or uint8, or an Int4Array (or an
        int4 or uint4 array of ml_dtypes), for `gemm_int`; or the weights of `linear` themselves, a
        QuantizedTensor with one scale, one for each row (axis 0) or one for each group of a row.
        Any strides, in the CPU's memory or on the current GPU.

    Returns
    -------
    PackedMatrix
        Of shape (k, n), where `b` is. Takes about as many bytes as `b`: an element keeps its width,
        and columns are padded.

    Raises
    ------
    TypeError
        Another kind of array or another dtype.
    ValueError
        `b` is not a matrix, or has scales along its last axis.

    Examples
    --------
    >>> x, w = np.ones((1, 2), np.float32), np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    >>> linear(x, prepack(to_f16(w).T))
    array([[ 3.,  7., 11.]], dtype=float32)
    >>> prepack(quantize(w, axis=0)).shape
    (2, 3)
    """
    name = "prepack"
    if isinstance(b, QuantizedTensor):
        check_weights(name, "b", b)
        b = QuantizedTensor._trusted(*b._parts(), *b._arguments())
        contents = backend_of(b.values, "linear").prepack(b)
        return PackedMatrix(contents, (b.shape[1], b.shape[0]), "quantized")
    if isinstance(b, Int4Array):
        seen = library.device_view(b.packed)
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
    if seen.dtype == F16:
        return PackedMatrix(_packed_halves(seen), b.shape, "float16")
    codes, _ = codes_of(name, "b", b, seen)
    kind = f"{'' if codes.signed else 'u'}int{codes.bits}"
    return PackedMatrix(_packed_codes(codes, b.shape), b.shape, kind)


def _packed_halves(b: Any) -> Any:
    if on_device(b):
        from halfbyte.cuda import gemm_f16_pack

        return gemm_f16_pack.pack(b)
    from halfbyte.cpu import gemm_f16

    return gemm_f16.pack_panels(b)


def _packed_codes(codes: Codes, shape: tuple[int, int]) -> Any:
    if on_device(codes.array):
        from halfbyte.cuda import gemm_int_pack

        return gemm_int_pack.pack(codes, shape)
    from halfbyte.cpu import gemm_int

    return gemm_int.prepack(codes, shape)


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
        check_current("PackedMatrix", "what was packed", contents[0])
        weights: QuantizedTensor = backend_of(contents[0], "linear").unpack(contents, packed.shape)
        return weights
    bits, signed = INTEGER_KINDS[packed.kind]
    if on_device(contents):
        from halfbyte.cuda import gemm_int_pack

        check_current("PackedMatrix", "what was packed", contents)
        form = bits, code_dtype(signed) if bits == 8 else U8
        plain = gemm_int_pack.unpack(contents, packed.shape, *form)
        return Int4Array._trusted(plain, packed.shape, signed) if bits == 4 else plain
    from halfbyte.cpu import gemm_int

    codes: Array = gemm_int.unpack(contents, packed.shape)
    return Int4Array.pack(codes, signed) if bits == 4 else codes
