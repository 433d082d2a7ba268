# SPDX-License-Identifier: Apache-2.0
"""Plan and launch conversions between float32 and float16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from halfbyte.cuda import elements, runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEP = 4
_TYPES = {4: "float32", 2: "uint16"}


def convert(x: Any, out: Any) -> None:
    """out[...] = x, of one shape that has elements."""
    operands = [elements.elements(x), elements.elements(out)]
    plan = elements.plan(x.shape, operands, step=_STEP)
    defines = plan.defines | _types(x.itemsize)
    runtime.launch("casts", defines, plan.grid, elements.THREADS, (x, out, plan.layout))


def variants() -> Iterator[tuple[str, elements.Defines]]:
    """Yield the file and the defines of the kernels."""
    for size in _TYPES:
        for defines in elements.forms(_STEP, packed=False, along=False):
            yield "casts", defines | _types(size)


def _types(size: int) -> elements.Defines:
    """Return the defines for elements of this many bytes."""
    return {"FROM": _TYPES[size], "TO": _TYPES[6 - size]}
