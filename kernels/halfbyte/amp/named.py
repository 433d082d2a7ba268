# SPDX-License-Identifier: Apache-2.0
"""Objects that take no attribute of a name that they do not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar


class Named:
    """Base of optimizers and the scaler: ``optimizer.grad = ...``, a slip, must not go unnoticed.

    Methods may be wrapped. A class derived elsewhere gives names a meaning of its own.
    """

    _SETTABLE: ClassVar[tuple[str, ...]]  # what the error's text tells to set, or to call

    if not TYPE_CHECKING:  # a type checker that sees it takes any name

        def __setattr__(self, name: str, value: object) -> None:
            kind = type(self)
            known = name in self._SETTABLE or name.startswith("_") or hasattr(kind, name)
            if not known and kind.__module__.startswith("halfbyte."):
                msg = f"{kind.__name__}: cannot set {name}; there is {', '.join(self._SETTABLE)}"
                raise AttributeError(msg)
            object.__setattr__(self, name, value)
