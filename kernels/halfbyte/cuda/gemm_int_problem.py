# SPDX-License-Identifier: Apache-2.0
"""A product of integers as the kernels see it: codes, their zero points, and C in row order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from halfbyte.cuda import gemm_f16_problem
from halfbyte.cuda.gemm_int_pack import ACROSS, ALONG, BLOCKS, BYTES, Source

if TYPE_CHECKING:
    from halfbyte.cuda.gemm_f16_problem import View
    from halfbyte.quantized import Codes


class Zeros(NamedTuple):
    """Zero points of an operand's rows, which repeat: a device array, or a number for all."""

    values: Any
    period: int


class Problem(NamedTuple):
    """A product, its leading dimensions merged. Rows of b are columns of C."""

    m: int
    n: int
    k: int
    batch: tuple[int, ...]
    a: Source
    b: Source
    out: View
    zero_a: Zeros
    zero_b: Zeros


def problem_of(
    a: Codes, b: Codes, k: int, out: Any, zero_a: Any, zero_b: Any, *, packed: bool
) -> Problem:
    """Look at the arguments of `gemm_int.multiply`."""
    found = gemm_f16_problem.problem_of(a.array, b.array, out, None, None)
    # Two nibbles a byte lie along k in a; in b along n, which are rows.
    forms = {8: BYTES, 4: ALONG}[a.bits], {8: BYTES, 4: BLOCKS if packed else ACROSS}[b.bits]
    left, right = (found.b, found.a) if found.turned else (found.a, found.b)
    of_a = Source.of(left, forms[0], a.signed), Zeros(zero_a, out.shape[-2])
    of_b = (
        Source.of(right, forms[1], b.signed)._replace(padded=packed),
        Zeros(zero_b, out.shape[-1]),
    )
    (first, zero_first), (second, zero_second) = (of_b, of_a) if found.turned else (of_a, of_b)
    return Problem(
        m=found.m,
        n=found.n,
        k=k,
        batch=found.batch,
        a=first,
        b=second,
        out=found.out,
        zero_a=zero_first,
        zero_b=zero_second,
    )
