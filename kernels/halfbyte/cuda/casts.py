# SPDX-License-Identifier: Apache-2.0
"""Plan and launch conversions between float32 and float16."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from halfbyte.cuda import elements, runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

_STEP = 4


def convert(x: Any, out: Any) -> None:
    """out[...] = x, of one shape that has elements."""
    operands = [elements.elements(x), elements.elements(out)]
    plan = elements.plan(x.shape, operands, step=_STEP)
    defines = plan.defines | _types(x.dtype, out.dtype)
    runtime.launch("casts", defines, plan.grid, elements.THREADS, (x, out, plan.layout))


def variants() -> Iterator[tuple[str, elements.Defines]]:
    """Yield the file and the defines of the kernels."""
    for dtypes in itertools.permutations(elements.FLOATS):
        for defines in elements.forms(_STEP, packed=False, along=False):
            yield "casts", defines | _types(*dtypes)


def _types(dtype: np.dtype[Any], to: np.dtype[Any]) -> elements.Defines:
    return {"FROM": elements.type_name(dtype), "TO": elements.type_name(to)}
