# SPDX-License-Identifier: Apache-2.0
"""What the kernels of a layer are told of how it ends: see linear_end.cuh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from halfbyte.cuda import runtime
from halfbyte.cuda.gemm_f16 import ACTIVATIONS
from halfbyte.cuda.structures import ADDRESS, I32, I64, structure

if TYPE_CHECKING:
    from halfbyte.cuda.linear_weights import Weights

_KINDS = {4: 1, 2: 2, 1: 3}  # by item size: SINGLE, HALF, CODES


class RowScales(NamedTuple):
    """Scales of rows of x: row i has entry (i / inner) % entries."""

    scale: Any = None  # None: no step
    zero_point: Any = None
    offset: int = 0  # what was subtracted from codes
    sums: Any = None  # of codes, (rows, groups)
    inner: int = 1


class Output(NamedTuple):
    """What a layer ends with; scale and zero point are arrays on the device, or None."""

    bias: Any
    activation: str | None
    scale: Any
    zero_point: Any
    limits: tuple[int, int]


def end_of(out: Any, out_row: int, x: RowScales, w: Weights, to: Output) -> np.ndarray[Any, Any]:
    """Return what kernels call End, for rows of `out` that lie out_row bytes apart."""
    end = np.zeros(1, END)
    layout = w.layout
    n = out.shape[-1]
    end["out"], end["out_row"], end["out_column"] = runtime.address(out), out_row, out.strides[-1]
    end["m"], end["n"], end["k"] = out.size // n, n, layout.k
    end["group"], end["groups"] = layout.group, layout.groups
    places = [runtime.address(out), out_row, out.strides[-1]]
    aligned = all(place % out.itemsize == 0 for place in places)
    if to.bias is not None:
        end["bias"], end["bias_step"] = runtime.address(to.bias), to.bias.strides[0]
        end["bias_kind"] = _KINDS[to.bias.itemsize]
        places = [runtime.address(to.bias), to.bias.strides[0]]
        aligned = aligned and all(place % to.bias.itemsize == 0 for place in places)
    end["aligned"] = aligned
    zeros = x.zero_point is not None or w.zeros is not None
    end["affine"] = zeros and x.scale is not None
    ends = [(runtime.address(out), out_row, out.strides[-1], out.itemsize)]
    if to.bias is not None:
        ends.append((runtime.address(to.bias), 0, to.bias.strides[0], to.bias.itemsize))
    if w.scale.ndim == 1:
        ends.append((runtime.address(w.scale), 0, w.scale.strides[0], w.scale.itemsize))
    end["vectors"] = n % 4 == 0 and all(
        step == size and start % (4 * size) == 0 == row % (4 * size)
        for start, row, step, size in ends
    )
    end["out_kind"] = _KINDS[out.itemsize]
    end["activation"] = ACTIVATIONS[to.activation]
    end["inner"], end["entries"] = x.inner, 1
    for name, array in (("x_scale", x.scale), ("x_zero", x.zero_point)):
        if array is not None:
            end[name]["start"] = runtime.address(array)
            end[name]["row"] = array.strides[0] if array.ndim else 0
            end["entries"] = array.size
    for name, array in (("w_scale", w.scale), ("w_zero", w.zeros)):
        if array is not None:
            end[name]["start"] = runtime.address(array)
            strides = (*array.strides, 0, 0)[:2]
            end[name]["row"], end[name]["group"] = strides
    for name, array in (("x_sums", x.sums), ("w_sums", w.sums)):
        end[name] = 0 if array is None else runtime.address(array)
    end["x_offset"], end["w_offset"] = x.offset, w.offset
    end["nibbles"] = w.stored == 4
    for name, array in (("code_scale", to.scale), ("code_zero", to.zero_point)):
        end[name] = 0 if array is None else runtime.address(array)
    end["code_min"], end["code_max"] = to.limits
    return end


_CHANNEL = structure(start=ADDRESS, row=I64, group=I64)
END = structure(
    **dict.fromkeys(("out", "bias"), ADDRESS),
    **dict.fromkeys(("out_row", "out_column", "bias_step"), I64),
    **dict.fromkeys(("x_scale", "x_zero", "w_scale", "w_zero"), _CHANNEL),
    **dict.fromkeys(("x_sums", "w_sums"), ADDRESS),
    **dict.fromkeys(("inner", "entries", "m", "n", "k", "group"), I64),
    **dict.fromkeys(("code_scale", "code_zero"), ADDRESS),
    **dict.fromkeys(("code_min", "code_max", "groups", "x_offset", "w_offset"), I32),
    **dict.fromkeys(
        ("nibbles", "out_kind", "bias_kind", "activation", "aligned", "affine", "vectors"), I32
    ),
)
