# SPDX-License-Identifier: Apache-2.0
"""A right operand laid out for the kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from halfbyte.tensors.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np


class PackedMatrix(Frozen):
    """A matrix b of shape (k, n), laid out for products ``a @ b``; made by `prepack`.

    Opaque and immutable. It pickles as the plain matrix, so a pickle made on one machine is packed
    anew, for the instruction set found there, where it is loaded.

    Attributes
    ----------
    shape : tuple of int
        (k, n).
    kind : str
        What it was packed for: 'float16'.
    nbytes : int
        Bytes held.
    """

    __slots__ = ("_rows", "kind", "shape")

    _rows: np.ndarray[Any, Any]  # panels one below the other: (panels * k, columns of a panel)
    kind: str
    shape: tuple[int, int]

    def __init__(self, rows: np.ndarray[Any, Any], shape: tuple[int, int], kind: str) -> None:
        rows.flags.writeable = False
        self._fill(_rows=rows, kind=kind, shape=shape)

    @property
    def nbytes(self) -> int:
        """Bytes held, padding included."""
        return int(self._rows.nbytes)

    def __array__(self, *arguments: object, **options: object) -> np.ndarray[Any, Any]:
        msg = "PackedMatrix: not an array; need gemm_f16(a, packed) or linear(x, packed)"
        raise TypeError(msg)

    def __repr__(self) -> str:
        k, n = self.shape
        return f"PackedMatrix({self.kind}, shape=({k}, {n}), {self.nbytes} bytes)"

    def __reduce__(self) -> tuple[Callable[..., PackedMatrix], tuple[Any, ...]]:
        from halfbyte.gemm import prepack

        k, n = self.shape
        width = self._rows.shape[1]
        panels = self._rows.reshape(-(-n // width), k, width)
        plain = panels.transpose(1, 0, 2).reshape(k, len(panels) * width)[:, :n]
        return prepack, (plain.copy(),)
