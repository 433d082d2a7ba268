# SPDX-License-Identifier: Apache-2.0
"""Plan and launch quantization: where scales come from, how many looks at the data it takes.

Arguments are checked. Scales are float32 arrays in C order, zero points int32 ones or None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from halfbyte.cpu import blocking
from halfbyte.cpu import quantization_errors as errors
from halfbyte.cpu import quantization_fake as fake
from halfbyte.cpu import quantization_kernel as codes
from halfbyte.cpu import quantization_rows as rows
from halfbyte.cpu import quantization_scales as scales
from halfbyte.cpu import quantization_values as values
from halfbyte.cpu.quantization_plan import (
    Layout,
    Operand,
    channels,
    cut_by_rows,
    elements,
    launch,
    layout,
    numbers,
    padded,
    parts_for_sums,
    parts_for_threads,
)
from halfbyte.cpu.quantization_sums import add_parts, round_sums
from halfbyte.quantized import Scheme, code_range

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halfbyte.arrays import Array
    from halfbyte.cpu.compile import Kernel


_ZERO = np.zeros((), np.float32)


def _options(scheme: Scheme) -> dict[int, int]:
    return {
        rows.QMIN: scheme.qmin,
        rows.QMAX: scheme.qmax,
        rows.SYMMETRIC: int(scheme.symmetric),
    }


def quantize(
    x: Array, out: Array, scale: Array, zero_point: Array | None, scheme: Scheme, seed: int | None
) -> None:
    """Codes of x with given scales; to nearest, or stochastically with a seed."""
    both = _channels(scale, zero_point, x.shape, scheme)
    operands = _operands_of_codes(x, out, both, scheme, seed)
    _code(_laid_out(operands, x.shape, scheme), operands, scheme, {rows.CODING: 1}, seed)


def quantize_from_data(
    x: Array, out: Array, scale: Array, zero_point: Array | None, scheme: Scheme,
    *, method: str, seed: int | None, check_finite: bool, keep: bool,
) -> bool:  # fmt: skip
    """Codes of x; fills in scales and zero points, too. Returns whether that was done.

    It is not where check_finite and x is not finite. keep: then `out`, `scale` and `zero_point`
    stay as they are, which takes a second look at x.
    """
    found, floats = np.zeros(scale.shape, np.float32), np.zeros(scale.shape, np.float32)
    if not x.size:
        found, floats = scales_of_ranges(found, floats, scheme)
        _fill(scale, zero_point, found, floats)
        return True
    grouped = scheme.group_size is not None
    both = [channels(v, x.shape, scheme.axis, grouped=grouped) for v in (found, floats)]
    operands = _operands_of_codes(x, out, both, scheme, seed)
    place = _laid_out(operands, x.shape, scheme)
    rows_apart = place.folded or cut_by_rows(place, parts_for_threads(place))
    by_row = grouped or (place.one_channel_a_row and rows_apart)
    look = {rows.FROM_DATA: 1}
    fused = by_row and method == "absmax" and not (keep and check_finite)
    fused = fused and _fits_cache(place)
    if fused:
        finite = _code(place, operands, scheme, {**look, rows.CODING: 1}, seed)
    elif by_row:
        finite = _code(place, operands, scheme, look, None)
    else:
        lo, hi, finite = ranges(x, scheme.axis)
        found, floats = scales_of_ranges(lo, hi, scheme)
    if check_finite and not finite:
        return False
    if not fused:
        if method == "mse":
            found = best_scales(x, found, floats, scheme)
        quantize(x, out, found, floats, scheme, seed)
    _fill(scale, zero_point, found, floats)
    return True


def _fill(scale: Array, zero_point: Array | None, found: Array, floats: Array) -> None:
    scale[...] = found
    if zero_point is not None:
        zero_point[...] = floats


def _operands_of_codes(
    x: Array, out: Array, both: list[Operand], scheme: Scheme, seed: int | None
) -> list[Operand]:
    codes_ = elements(out, nibbles=scheme.bits == 4)
    return [elements(x), codes_, *both, numbers(x.shape, used=seed is not None)]


def _code(
    place: Layout, operands: list[Operand], scheme: Scheme, steps: dict[int, int], seed: int | None
) -> bool:
    kernel = codes.quantize_nibbles if scheme.bits == 4 else codes.quantize_bytes
    options = {**_options(scheme), **steps, rows.SIZE: operands[0].form.size}
    if seed is not None:
        options[rows.STOCHASTIC] = 1
    number = 0 if seed is None else seed - (seed >> 63 << 64)  # as a signed integer
    parts = parts_for_threads(place)
    return launch(kernel, place, operands, options, parts=parts, seed=number)


def _laid_out(operands: list[Operand], shape: tuple[int, ...], scheme: Scheme) -> Layout:
    keep_last = scheme.bits == 4 or scheme.group_size is not None
    return layout(operands, shape, keep_last=keep_last, group=scheme.group_size)


def _fits_cache(place: Layout) -> bool:
    """Whether codes of a row, or group, can follow the look at it while it is in the cache."""
    return not place.spread and 4 * place.per <= blocking.cache_bytes(2) // 2


def ranges(x: Array, axis: int | None) -> tuple[Array, Array, bool]:
    """Smallest and largest finite value of all, or of each entry of an axis, and whether all are
    finite. Without any: inf and -inf."""
    count = 1 if axis is None else x.shape[axis]
    lo, hi = padded(np.inf, count), padded(-np.inf, count)
    place = layout(_operands_of_ranges(x, axis, lo, hi), x.shape, keep_last=False, fold=False)
    parts = parts_for_threads(place) if x.size > 16 * count else 1
    los, his = np.repeat(lo[None], parts, axis=0), np.repeat(hi[None], parts, axis=0)
    operands = [_operands_of_ranges(x, axis, *both) for both in zip(los, his, strict=True)]
    options = {rows.SIZE: x.itemsize}
    finite = launch(scales.extremes_of_rows, place, operands, options, parts=parts)
    lo, hi = lo[:count], hi[:count]
    scales.join_extremes(los, his, lo, hi)
    shape = () if axis is None else (count,)
    return lo.reshape(shape), hi.reshape(shape), finite


def _operands_of_ranges(x: Array, axis: int | None, lo: Array, hi: Array) -> list[Operand]:
    both = [channels(v, x.shape, axis, grouped=False) for v in (lo, hi)]
    return [elements(x), elements(x), *both]


def scales_of_ranges(lo: Array, hi: Array, scheme: Scheme) -> tuple[Array, Array]:
    """Rule 4: scales and zero points, both float32, for these extremes."""
    scale, zero_point = np.empty(lo.shape, np.float32), np.empty(lo.shape, np.float32)
    scales.scales_of_ranges(
        lo.reshape(-1), hi.reshape(-1), scale.reshape(-1), zero_point.reshape(-1),
        int(scheme.symmetric), scheme.qmin, scheme.qmax,
    )  # fmt: skip
    return scale, zero_point


def moved_extremes(extremes: Array, latest: Array, momentum: Array) -> Array:
    """Rule 11: extremes after a part of the way, momentum of shape (1,), to the latest ones."""
    result = extremes.copy()
    scales.move_extremes(result.reshape(-1), latest.reshape(-1), momentum)
    return result


def best_scales(x: Array, scale: Array, zero_point: Array, scheme: Scheme) -> Array:
    """The candidates of rule 4 with the smallest squared errors."""
    kernel = errors.errors_of_candidates
    best = np.empty(scale.shape, np.int64)
    for (part,), of_scales, its_scheme in _pieces([x], scheme):
        operands = [elements(part), elements(part)]
        s, z = scale[of_scales], zero_point[of_scales]
        sums = _sums(kernel, operands, s, z, [], part.shape, its_scheme, errors.CANDIDATES)
        best[of_scales] = np.argmin(sums, axis=0)
    result = scale.copy()
    errors.shrink_scales(result.reshape(-1), best.reshape(-1))
    return result


def dequantize(
    q: Array, out: Array, scale: Array, zero_point: Array | None, scheme: Scheme
) -> None:
    """out = (code - zero point) * scale."""
    packed, signed = scheme.bits == 4, scheme.qmin < 0
    kernel = values.dequantize_nibbles if packed else values.dequantize_bytes
    operands = [elements(q, nibbles=packed), elements(out)]
    operands += _channels(scale, zero_point, out.shape, scheme)
    place = _laid_out(operands, out.shape, scheme)
    half = (8 if packed else 128) if signed else 0
    options = {rows.FLIP: half, rows.OFFSET: half, rows.SIZE: out.itemsize}
    parts = parts_for_threads(place)
    launch(kernel, place, operands, options, parts=parts)


def requantize(
    acc: Array, out: Array, scale: Array, zero_point: Array, bias: Array, axis: int | None,
    *, relu: bool,
) -> None:  # fmt: skip
    """int32 to codes over the full range of out's dtype; all float32, () or one a channel."""
    scheme = Scheme(8, axis, None, *code_range(8, out.dtype == np.int8, narrow=False))
    operands = [elements(acc), elements(out)]
    for value in (scale, zero_point, bias):
        own_axis = axis if value.ndim else None
        own = padded(value, value.size) if value.ndim else value
        operands.append(channels(own, acc.shape, own_axis, grouped=False))
    place = layout(operands, acc.shape, keep_last=False)
    options = {**_options(scheme), rows.RELU: int(relu)}
    parts = parts_for_threads(place)
    launch(values.requantize, place, operands, options, parts=parts)


def fake_quantize(
    x: Array, out: Array, scale: Array, zero_point: Array | None, scheme: Scheme
) -> None:
    """out = what x is after quantizing and dequantizing."""
    operands = [elements(x), elements(out), *_channels(scale, zero_point, x.shape, scheme)]
    place = _laid_out(operands, x.shape, scheme)
    options = {**_options(scheme), rows.SIZE: x.itemsize}
    parts = parts_for_threads(place)
    launch(fake.fake, place, operands, options, parts=parts)


def fake_quantize_backward(
    dy: Array, x: Array, dx: Array, scale: Array, zero_point: Array | None, scheme: Scheme
) -> Array:
    """Fill dx; return dscale."""
    dscale = np.zeros(scale.shape, np.float32)
    for (dy_part, x_part, dx_part), of_scales, its_scheme in _pieces([dy, x, dx], scheme):
        operands = [elements(dy_part), elements(dx_part)]
        s, z = scale[of_scales], None if zero_point is None else zero_point[of_scales]
        sums = _sums(fake.backward, operands, s, z, [elements(x_part)], x_part.shape, its_scheme, 1)
        rounded = np.empty(s.shape, np.float32)
        round_sums(sums.reshape(-1), rounded.reshape(-1))
        dscale[of_scales] = rounded
    return dscale


def _sums(
    kernel: Kernel, first: list[Operand], scale: Array, zero_point: Array | None,
    last: list[Operand], shape: tuple[int, ...], scheme: Scheme, candidates: int,
) -> Array:  # fmt: skip
    """FP64 sums of a channel's elements, (candidates, *scale.shape): the same for any threads."""
    grouped = scheme.group_size is not None
    room = scale.shape if scheme.axis is None else (scale.size + rows.BLOCK,)
    both = _channels(scale, zero_point, shape, scheme)

    def operands(sums: Array) -> list[Operand]:
        return [*first, *both, channels(sums, shape, scheme.axis, grouped=grouped), *last]

    # In the order of x in memory, so that the sums do not depend on where results go.
    order = len(first) + 3 if last else 0
    place = layout(
        operands(np.empty(room)), shape, keep_last=grouped, group=scheme.group_size, order=order
    )
    # Parts of groups are groups; parts of anything else share channels.
    parts = parts_for_sums(place, candidates * scale.size)
    sums = np.zeros((1 if grouped else parts, candidates, *room))
    options = {**_options(scheme), rows.CANDIDATE_BYTES: sums.strides[1]}
    options |= {rows.SIZE: first[0].form.size, rows.OTHER_SIZE: (last or first)[0].form.size}
    if any(place.each) or (grouped and place.per < 4096):
        options[rows.STREAMING] = 0  # plain stores of sums in between would make it slow
    own = [operands(sums[0 if grouped else i, 0, ...]) for i in range(parts)]
    launch(kernel, place, own, options, parts=parts)
    total = np.empty(sums.shape[1:])
    add_parts(sums.reshape(len(sums), -1), total.reshape(-1))
    return total if scheme.axis is None else total[..., : scale.size]


def _pieces(
    arrays: list[Array], scheme: Scheme
) -> Iterator[tuple[list[Array], tuple[slice | None, ...], Scheme]]:
    """Arrays, the place of their scales, and a scheme whose groups are rows or whole blocks.

    Other groups become rows: x (..., k) as (..., groups, group_size) and what is left.
    """
    group, k = scheme.group_size, arrays[0].shape[-1] if arrays[0].ndim else 0
    if group is None or group % rows.BLOCK == 0 or group >= k:
        yield arrays, (...,), scheme
        return
    whole = k // group
    for begin, end, size in ((0, whole, group), (whole, whole + 1, k - whole * group)):
        if size and end > begin:
            parts = [x[..., begin * group : begin * group + (end - begin) * size] for x in arrays]
            views = [x.reshape(*x.shape[:-1], end - begin, size) for x in parts]
            yield views, (..., slice(begin, end), None), scheme._replace(group_size=size)


def _channels(
    scale: Array, zero_point: Array | None, shape: tuple[int, ...], scheme: Scheme
) -> list[Operand]:
    """Scales and zero points, float32 both; where there are none of these, they are 0."""
    axis, grouped = scheme.axis, scheme.group_size is not None
    if zero_point is not None:
        zero_point = zero_point.astype(np.float32, order="C", copy=False)
    elif grouped:
        zero_point = np.zeros(scale.shape, np.float32)
    if axis is not None:  # one an element, perhaps
        scale = padded(scale, scale.size)
        zero_point = None if zero_point is None else padded(zero_point, scale.size - rows.BLOCK)
    first = channels(scale, shape, axis, grouped=grouped)
    if zero_point is None:
        return [first, channels(_ZERO, shape, None, grouped=False)]
    return [first, channels(zero_point, shape, axis, grouped=grouped)]
