# SPDX-License-Identifier: Apache-2.0
"""The order of nibbles in bitsandbytes and numkong: that of `Int4Array` with the nibbles exchanged.

    byte i of a row   | 7  6  5  4 | 3  2  1  0 |
                      |  code 2i   | code 2i+1  |

An odd row ends with a low nibble of 0.
"""

from __future__ import annotations

from typing import Any

from halfbyte.arrays import Array, kind_of, require_dtype
from halfbyte.quantized import U8, check_flag, check_shape
from halfbyte.tensors import Int4Array, QuantizedTensor, library, nibbles


def encode_high_nibble_first(x: Int4Array | QuantizedTensor) -> Any:
    """Return the bytes of 4-bit codes with element 2i in the high nibble of byte i.

    Parameters
    ----------
    x : Int4Array, or QuantizedTensor of 4 bits; shape (..., k)

    Returns
    -------
    uint8 array, shape (..., ceil(k / 2))
        The nibbles as they are: signed codes in two's complement. Scales and zero points of a
        QuantizedTensor are the same in any order.

    Raises
    ------
    TypeError
        Another kind of argument.
    ValueError
        Codes of another width.

    Examples
    --------
    >>> x = Int4Array.pack(np.array([1, 2, 3], np.int8))
    >>> print([hex(byte) for byte in x.packed], [hex(byte) for byte in encode_high_nibble_first(x)])
    ['0x21', '0x3'] ['0x12', '0x30']
    """
    name = "encode_high_nibble_first"
    if isinstance(x, QuantizedTensor):
        if x.bits != 4:
            msg = f"{name}: x has codes of {x.bits} bits; need 4"
            raise ValueError(msg)
        packed = x.values
    elif isinstance(x, Int4Array):
        packed = x.packed
    else:
        msg = f"{name}: x is a {kind_of(x)}; need an Int4Array or a QuantizedTensor"
        raise TypeError(msg)
    return library.of(library.library_of(packed), _exchanged(library.view(packed)))


def decode_high_nibble_first(packed: Any, shape: tuple[int, ...], *, signed: bool) -> Int4Array:
    """Read 4-bit codes with element 2i in the high nibble of byte i.

    Parameters
    ----------
    packed : uint8 array, shape (..., ceil(k / 2))
        Any strides. A flat array of a whole matrix is to be reshaped to rows first.
    shape : tuple of int
        (..., k).
    signed : bool
        Whether a nibble stands for -8 .. 7 or for 0 .. 15.

    Returns
    -------
    Int4Array
        To be given to `QuantizedTensor` with its scales.

    Raises
    ------
    TypeError
        Another kind of argument or another dtype.
    ValueError
        The shapes do not fit, or the last nibble of an odd row is not 0.

    Examples
    --------
    >>> decode_high_nibble_first(np.array([0x12, 0x30], np.uint8), (3,), signed=True).unpack()
    array([1, 2, 3], dtype=int8)
    """
    name = "decode_high_nibble_first"
    (seen,), home = library.views(name, packed=packed)
    require_dtype(name, "packed", seen, (U8,))
    shape, signed = check_shape(name, shape), check_flag(name, "signed", signed)
    exchanged = _exchanged(seen)
    nibbles.check_packed(name, "packed", exchanged, shape)
    return Int4Array._trusted(library.of(home, exchanged), shape, signed)


def _exchanged(packed: Array) -> Array:
    return packed >> U8.type(4) | packed << U8.type(4)
