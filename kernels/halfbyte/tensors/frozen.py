# SPDX-License-Identifier: Apache-2.0
"""Objects whose attributes are set once."""

from __future__ import annotations


class Frozen:
    """Base of the tensor types: no attribute can be rebound, and no ufunc takes the object."""

    __slots__ = ()
    __array_ufunc__ = None  # a @ x is a TypeError, not an array of objects

    def _fill(self, **attributes: object) -> None:
        for name, value in attributes.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        msg = f"{type(self).__name__}: cannot set {name}; it is immutable"
        raise AttributeError(msg)

    def __delattr__(self, name: str) -> None:
        msg = f"{type(self).__name__}: cannot delete {name}; it is immutable"
        raise AttributeError(msg)
