# SPDX-License-Identifier: Apache-2.0
"""A right operand laid out for the kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.arrays import Array, on_device
from halfbyte.devices import on_host
from halfbyte.tensors.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable


class PackedMatrix(Frozen):
    """A matrix b of shape (k, n), laid out for products ``a @ b``; made by `prepack`.

    Opaque and immutable. It pickles as the plain operand, so a pickle made on one machine is packed
    anew, for the instruction set found there, where it is loaded.

    Attributes
    ----------
    shape : tuple of int
        (k, n).
    kind : str
        What it was packed from: 'float16'; 'int8', 'uint8', 'int4' or 'uint4', for `gemm_int`; or
        'quantized', a QuantizedTensor of shape (n, k), for `linear`.
    nbytes : int
        Bytes held.
    """

    __slots__ = ("_contents", "kind", "shape")

    _contents: Any  # the backend's: an array, or a tuple of arrays, numbers and None
    kind: str
    shape: tuple[int, int]

    def __init__(self, contents: Any, shape: tuple[int, int], kind: str) -> None:
        self._fill(_contents=contents, kind=kind, shape=shape)
        for part in self._arrays():
            if isinstance(part, np.ndarray):
                part.flags.writeable = False

    def _arrays(self) -> list[Any]:
        contents = self._contents
        parts = contents if isinstance(contents, tuple) else (contents,)
        return [part for part in parts if isinstance(part, np.ndarray) or on_device(part)]

    @property
    def nbytes(self) -> int:
        """Bytes held, padding included."""
        return sum(part.nbytes for part in self._arrays())

    def __array__(self, *arguments: object, **options: object) -> np.ndarray[Any, Any]:
        msg = "PackedMatrix: not an array; need it as b of a product or as w of linear"
        raise TypeError(msg)

    def __repr__(self) -> str:
        k, n = self.shape
        return f"PackedMatrix({self.kind}, shape=({k}, {n}), {self.nbytes} bytes)"

    def __reduce__(self) -> tuple[Callable[..., PackedMatrix], tuple[Any, ...]]:
        from halfbyte.packing import prepack, unpack

        plain = unpack(self)
        if on_device(plain):
            # CuPy copies an array deeply by a kernel that it compiles.
            return _uploaded, (on_host(plain),)
        return prepack, (plain,)


def _uploaded(plain: Array) -> PackedMatrix:
    """Pack on the current GPU what is in the CPU's memory."""
    from halfbyte.cuda import runtime
    from halfbyte.packing import prepack

    return prepack(runtime.upload(plain))
