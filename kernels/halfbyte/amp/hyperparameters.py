# SPDX-License-Identifier: Apache-2.0
"""Hyperparameters of optimizers: attributes that are checked whenever they are set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar, overload

from halfbyte.amp.numbers import checked_number
from halfbyte.arrays import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable


T = TypeVar("T")


class _Owner(Protocol):
    _told: dict[str, Any]

    def _checked(self, function: str, told: dict[str, Any]) -> dict[str, Any]: ...

    def _settle(self) -> None: ...


class Hyperparameter(Generic[T]):
    """An attribute of an optimizer, kept in its `_told` by name."""

    def __init__(self, check: Callable[[str, str, Any], T], doc: str) -> None:
        self.check = check
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, optimizer: None, owner: type) -> Self: ...

    @overload
    def __get__(self, optimizer: _Owner, owner: type | None = None) -> T: ...

    def __get__(self, optimizer: _Owner | None, owner: type | None = None) -> Any:
        return self if optimizer is None else optimizer._told[self.name]

    def __set__(self, optimizer: _Owner, value: T) -> None:
        function = type(optimizer).__name__
        before = optimizer._told
        optimizer._told = optimizer._checked(function, {**before, self.name: value})
        try:
            optimizer._settle()
        except BaseException:  # nothing is changed
            optimizer._told = before
            raise


def checked_betas(function: str, name: str, betas: Any) -> tuple[float, float]:
    """Return two decay rates, from 0 to below 1."""
    if not isinstance(betas, (list, tuple)):
        msg = f"{function}: {name} is a {kind_of(betas)}; need a pair of numbers"
        raise TypeError(msg)
    if len(betas) != 2:
        msg = f"{function}: {name} has {len(betas)} entries; need 2"
        raise ValueError(msg)
    first, second = (checked_number(function, f"{name}[{i}]", b) for i, b in enumerate(betas))
    if not (0 <= first < 1 and 0 <= second < 1):
        msg = f"{function}: {name} is {betas}; need two numbers >= 0 and below 1"
        raise ValueError(msg)
    return first, second
