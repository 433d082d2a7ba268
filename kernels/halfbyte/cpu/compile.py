# SPDX-License-Identifier: Apache-2.0
"""Kernels as Python callables: one signature each, compiled once for each Isa.

A dispatcher call works out the type of every argument anew and compiles a variant for each array
layout. A kernel here is compiled for the one signature written above it, with every array of
layout 'A' (any strides), and called through its entry point. That accepts float16 arrays where
the signature says uint16 (same size; Numba has no halves on the CPU), and read-only ones.
Arguments are trusted: the public functions have checked them.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

import numba
from numba.core import types
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import register_jitable

from halfbyte.cpu import isa, kept

if TYPE_CHECKING:
    from collections.abc import Callable

    from halfbyte.cpu.simd.types import Kind

if numba.config.DISABLE_JIT:
    msg = "halfbyte: NUMBA_DISABLE_JIT is set; need it unset, for kernels exist only when compiled"
    raise RuntimeError(msg)

# A child forked while another thread compiles would wait for ever for Numba's lock.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )

u16_2d = types.Array(types.uint16, 2, "A")
u16_3d = types.Array(types.uint16, 3, "A")
f32_1d = types.Array(types.float32, 1, "A")
f32_2d = types.Array(types.float32, 2, "A")
u8_1d = types.Array(types.uint8, 1, "A")
u8_2d = types.Array(types.uint8, 2, "A")
i32_2d = types.Array(types.int32, 2, "A")
i64_1d = types.Array(types.int64, 1, "A")
i64_2d = types.Array(types.int64, 2, "A")
f64_1d = types.Array(types.float64, 1, "A")
f64_2d = types.Array(types.float64, 2, "A")
i64 = types.int64
f32 = types.float32

# Helpers that kernels call. Not cached on disk: they are part of the kernels that are.
inner = functools.partial(numba.njit, error_model="numpy", nogil=True)

# Helpers that become part of their caller before it is compiled. A call of an `inner` function
# optimizes all of its machine code once more, so levels of calls multiply compile time.
inlined = functools.partial(numba.njit, error_model="numpy", nogil=True, inline="always")

# Helpers that Python calls, too.
shared = register_jitable


class Kernel:
    """A compiled function for each Isa. Calling it uses the active one, without VNNI unless it is
    said to matter.

    kinds (see `simd`) are passed on as its last arguments.
    """

    def __init__(
        self, function: Callable[..., None], signature: tuple[types.Type, ...], *kinds: Kind,
        vnni: bool = False,
    ) -> None:  # fmt: skip
        self._dispatcher = numba.njit(function, error_model="numpy", nogil=True)
        self._dispatcher._cache = kept.Cache(function)
        self._signature = (*signature, *(kind._numba_type_ for kind in kinds))
        self._kinds = kinds
        self._vnni = vnni
        self._entries: dict[isa.Isa, Any] = {}

    def __call__(self, *arguments: Any) -> None:
        entry = self._entries.get(isa.active())
        if entry is None:
            entry = self.compile(isa.active())
        entry(None, *arguments, *self._kinds)

    def compile(self, chosen: isa.Isa) -> Any:
        """Compile for one Isa, or load that from Numba's cache, unless done before."""
        used = chosen if self._vnni else chosen.plain
        if used not in self._entries:
            signature = types.none(used._numba_type_, *self._signature)
            self._entries[used] = self._dispatcher.compile(signature)
        self._entries[chosen] = self._entries[used]
        return self._entries[chosen]


def kernel(*signature: types.Type, vnni: bool = False) -> Callable[[Callable[..., None]], Kernel]:
    """Make a Kernel of a function `(isa, ...)` whose arguments after the Isa have these types."""
    return lambda function: Kernel(function, signature, vnni=vnni)
