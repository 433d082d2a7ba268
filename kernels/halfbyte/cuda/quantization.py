# SPDX-License-Identifier: Apache-2.0
"""Quantization on a GPU: where scales come from, and how many looks at the data it takes.

Arguments are checked. Scales are float32 arrays, zero points int32 ones or None, of any strides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from halfbyte.cuda import copies, errors, extremes, runtime, scales
from halfbyte.cuda.dequantize import dequantize
from halfbyte.cuda.fake_quantization import fake_quantize, fake_quantize_backward
from halfbyte.cuda.quantize import quantize
from halfbyte.cuda.quantize_rows import quantize_rows
from halfbyte.cuda.requantize import requantize
from halfbyte.quantized import I32

if TYPE_CHECKING:
    from halfbyte.quantized import Scheme

__all__ = [
    "dequantize",
    "fake_quantize",
    "fake_quantize_backward",
    "quantize",
    "quantize_from_data",
    "requantize",
]


def quantize_from_data(
    x: Any, out: Any, scale: Any, zero_point: Any, scheme: Scheme,
    *, method: str, seed: int | None, check_finite: bool, keep: bool,
) -> bool:  # fmt: skip
    """Codes of x; fills in scales and zero points, too. Returns whether that was done.

    It is not where check_finite and x is not finite. keep: then `out`, `scale` and `zero_point`
    stay as they are, which takes a second look at x. Only check_finite waits for the GPU.
    """
    keep = keep and check_finite
    own_scale, own_zero = (_filled_in(array, new=keep) for array in (scale, zero_point))
    coded = False
    if x.size and method == "absmax" and seed is None and not keep:
        bad = runtime.zeros((), I32)
        coded = quantize_rows(x, out, own_scale, own_zero, bad, scheme)
    if not coded:
        lo, hi, bad = extremes.find(x, scheme.axis, scheme.group_size)
        scales.from_extremes(lo, hi, own_scale, own_zero, scheme)
    if check_finite and x.size and runtime.download(bad).item():
        return False
    if x.size and not coded:
        if method == "mse":
            errors.best_scales(x, own_scale, own_zero, scheme)
        quantize(x, out, own_scale, own_zero, scheme, seed)
    for target, own in ((scale, own_scale), (zero_point, own_zero)):
        if target is not own:
            runtime.assign(target, own)
    return True


def _filled_in(array: Any, *, new: bool) -> Any:
    """Return the array, or a new one in its place, not filled yet: in C order and aligned."""
    if array is None or (not new and copies.is_dense(array)):
        return array
    return runtime.empty(array.shape, array.dtype)
