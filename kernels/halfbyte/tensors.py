# SPDX-License-Identifier: Apache-2.0
"""What halfbyte's functions take and return beside plain arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np


class PackedMatrix:
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
    __array_ufunc__ = None  # a @ packed is a TypeError, not an array of objects

    _rows: np.ndarray[Any, Any]  # panels one below the other: (panels * k, columns of a panel)
    kind: str
    shape: tuple[int, int]

    def __init__(self, rows: np.ndarray[Any, Any], shape: tuple[int, int], kind: str) -> None:
        rows.flags.writeable = False
        object.__setattr__(self, "_rows", rows)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "kind", kind)

    def __setattr__(self, name: str, value: object) -> None:
        msg = f"PackedMatrix: cannot set {name}; it is immutable"
        raise AttributeError(msg)

    def __delattr__(self, name: str) -> None:
        msg = f"PackedMatrix: cannot delete {name}; it is immutable"
        raise AttributeError(msg)

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
