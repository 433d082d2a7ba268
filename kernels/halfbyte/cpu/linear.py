# SPDX-License-Identifier: Apache-2.0
"""Plan and launch layers with quantized weights."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from halfbyte.arrays import address_of
from halfbyte.cpu import blocking, linear_halves, threads
from halfbyte.cpu.activations import CODES
from halfbyte.cpu.casts import convert
from halfbyte.cpu.gemm_f16 import tasks_of
from halfbyte.cpu.gemm_int import (
    BYTE_FLIP,
    NO_OUT,
    expands,
    flip_of,
    pack_panels,
    plan,
    unpack_codes,
)
from halfbyte.cpu.gemm_int_operands import CODE_OUT, HALF_OUT, REQUEST, SINGLE_OUT, Request
from halfbyte.cpu.gemm_int_panels import ALONG_K
from halfbyte.cpu.gemm_int_rows import padded, row_bytes, unit_of
from halfbyte.cpu.isa import PANEL
from halfbyte.cpu.launching import Plan, launch, scratch
from halfbyte.cpu.linear_rows import quantize_halves, quantize_singles
from halfbyte.cpu.quantization_rows import PART_BYTES
from halfbyte.tensors import PackedMatrix, QuantizedTensor, nibbles

if TYPE_CHECKING:
    from halfbyte.arrays import Array
    from halfbyte.quantized import QuantizedRows, Requantization

_NOTHING = Request(*[0] * len(REQUEST))
# Places in a Request. A request is copied and filled in here: making one takes 5 us.
_BITS, _SPAN, _A_BITS, _A_FLIP, _A_ZEROS, _A_ZEROS_STEP, _BIAS, _ACTIVATION, _X_SCALE = map(
    REQUEST.index,
    ("b_bits", "span", "a_bits", "a_flip", "a_zeros", "a_zeros_step", "bias", "activation",
     "x_scale"),
)  # fmt: skip
_OUT, _OUT_ROW, _OUT_COLUMN, _OUT_FORM = map(
    REQUEST.index, ("out", "out_row", "out_column", "out_form")
)
_CODES = slice(REQUEST.index("code_scale"), REQUEST.index("code_max") + 1)
# Elements of x below which quantizing it on several threads costs more than it brings.
_THREADED = 1 << 18


class Weights(NamedTuple):
    """Quantized w (n, k) as the kernels take it: codes, as they are or in panels, and scales.

    Not grouped: scale and zero point have one value or n. Grouped: 64 values a group and panel,
    zero points negative.
    """

    codes: Array
    scale: Array
    zeros: Array | None  # int32
    bits: int
    signed: bool
    axis: int | None
    group_size: int | None
    shape: tuple[int, int]  # (k, n)
    packed: bool
    request: bytes  # what a Request says of them, which is no weight: `nbytes` counts arrays

    @property
    def affine(self) -> bool:
        return self.zeros is not None


def _weights(
    codes: Array, stored: int, scale: Array, zeros: Array | None, q: QuantizedTensor, *,
    packed: bool,
) -> Weights:  # fmt: skip
    """Weights whose codes are stored in so many bits, and their Request, which holds addresses."""
    n, k = q.shape
    values: dict[str, Any] = {
        "b_bits": stored,
        "b_flip": flip_of(stored, q.signed),
        "b_nibbles": ALONG_K if stored == 4 and not packed else 0,
        "packed": int(packed),
        "span": max(1, k if q.group_size is None else min(q.group_size, k)),
        "a_bits": 8,
        "scaled": 1,
    }
    if q.group_size is not None:
        values["panel_scales"] = address_of(scale)
        values["panel_zeros"] = 0 if zeros is None else address_of(zeros)
    else:
        values["w_scale"] = address_of(scale)
        values["w_scale_step"] = 4 * (scale.size > 1)
        if zeros is not None:
            values["b_zeros"] = address_of(zeros)
            values["b_zeros_step"] = 4 * (zeros.size > 1)
    request = np.array(_NOTHING._replace(**values), np.int64).tobytes()
    return Weights(
        codes, scale, zeros, q.bits, q.signed, q.axis, q.group_size, (k, n), packed, request
    )


def _request(w: Weights) -> Array:
    """A Request of these weights, to fill in."""
    return np.frombuffer(w.request, np.int64).copy()


def _in_panels(values: Array) -> Array:
    """Values (n, groups) as (panels, groups, 64), zeros where n ends."""
    n, groups = values.shape
    panels = np.zeros((-(-n // PANEL), groups, PANEL), values.dtype)
    whole = n // PANEL
    panels[:whole] = values[: whole * PANEL].reshape(whole, PANEL, groups).transpose(0, 2, 1)
    if n % PANEL:
        panels[whole, :, : n % PANEL] = values[whole * PANEL :].T
    return panels


def _of_panels(values: Array, n: int) -> Array:
    """What `_in_panels` was given."""
    panels, groups, _ = values.shape
    rows = values.transpose(0, 2, 1).reshape(panels * PANEL, groups)
    return np.ascontiguousarray(rows[:n])


def _in_place(q: QuantizedTensor) -> Weights:
    """Weights whose codes stay where they are; scales of groups are brought into panels."""
    scale, zeros = q.scale, q.zero_point
    if q.group_size is not None:
        scale = _in_panels(scale)
        zeros = None if zeros is None else _in_panels(-zeros)
    else:
        scale = np.ascontiguousarray(scale)
        zeros = None if zeros is None else np.ascontiguousarray(zeros)
    return _weights(q.values.T, 4 if q.bits == 4 else 8, scale, zeros, q, packed=False)


def prepack(q: QuantizedTensor) -> Weights:
    """Weights in panels, with copies of their scales."""
    w = _in_place(q)
    k, n = w.shape
    r = Request(*_request(w).tolist())
    codes, stored = pack_panels(w.codes, k, n, r.b_bits, r.b_nibbles, w.signed, r.span)
    zeros = None if w.zeros is None else w.zeros.copy()
    return _weights(codes, stored, w.scale.copy(), zeros, q, packed=True)


def unpack(w: Weights, shape: tuple[int, int]) -> QuantizedTensor:
    """The QuantizedTensor (n, k) that was packed."""
    k, n = shape
    r = Request(*_request(w).tolist())
    values = unpack_codes(w.codes, k, n, r.b_bits, w.signed, r.span).T
    values = nibbles.pack(values) if w.bits == 4 else np.ascontiguousarray(values)
    scale, zeros = w.scale, w.zeros
    if w.group_size is None:
        scale = scale if w.axis is not None else scale.reshape(())
        zeros = zeros if zeros is None or w.axis is not None else zeros.reshape(())
    else:
        scale = _of_panels(scale, n)
        zeros = None if zeros is None else -_of_panels(zeros, n)
    return QuantizedTensor._trusted(
        values, scale, zeros, w.bits, w.axis, w.group_size, w.signed, (n, k)
    )


def apply(
    x: Array | QuantizedRows, w: QuantizedTensor | PackedMatrix, bias: Array | None,
    activation: str | None, x_bits: int, out: Array, requantization: Requantization | None,
) -> None:  # fmt: skip
    """out = activation(x @ w.T + bias), or its codes.

    x (rows, k), out (rows, n), neither empty but for k; bias contiguous FP32.
    """
    weights = w._contents if type(w) is PackedMatrix else _in_place(w)
    m, n = out.shape
    k = weights.shape[0]
    request = _request(weights)
    request[_OUT] = address_of(out)
    request[_OUT_ROW], request[_OUT_COLUMN] = out.strides
    if bias is not None:
        request[_BIAS] = address_of(bias)
    if activation is not None:
        request[_ACTIVATION] = CODES[activation]
    if requantization is not None:
        request[_OUT_FORM] = CODE_OUT
        request[_CODES] = requantization
    else:
        request[_OUT_FORM] = HALF_OUT if out.itemsize == 2 else SINGLE_OUT
    bits, span = int(request[_BITS]), int(request[_SPAN])
    count = threads.get_num_threads()
    owners: tuple[Any, ...] = (x,)
    if x_bits == 16:
        a = x
        if x.itemsize == 4:
            a = np.empty(x.shape, np.float16)
            if k:
                convert(x, a)
        chosen = _plan_halves(m, n, k, span, bits, weights.packed, count)
    else:
        if type(x) is np.ndarray:
            a, scale = owners = _rows_of(x)
        else:
            a, scale, zero_point = owners = (x.codes.array, x.scale, x.zero_point)
            request[_A_BITS], request[_A_FLIP] = x.codes.bits, 0
            if x.codes.bits == 4:
                request[_A_FLIP] = 8 if x.codes.signed else 0
            elif not x.codes.signed:
                request[_A_FLIP] = BYTE_FLIP
            if zero_point is not None:
                request[_A_ZEROS], request[_A_ZEROS_STEP] = address_of(zero_point), 4
        request[_X_SCALE] = address_of(scale)
        grouped = weights.group_size is not None
        shifted = bool(request[_A_ZEROS]) or request[_A_FLIP] == BYTE_FLIP
        readied = shifted or expands(bits)
        chosen = plan(1, m, n, k, span, bits, False, weights.packed, grouped, readied, count)
    launch(chosen, (a, weights.codes, NO_OUT, request), (*owners, weights, bias, out))


@functools.lru_cache(maxsize=1024)
def _plan_halves(
    m: int, n: int, k: int, span: int, bits: int, packed: bool, thread_count: int
) -> Plan:
    """The plan of a layer with FP16 input: tasks end with k and MC."""
    tasks = tasks_of(1, m, n, k, thread_count)
    rows = max(task[3] - task[2] for task in tasks)
    # Sums of MC rows, twice, take half of the L2 cache.
    mc = blocking.split(rows, max(6, blocking.cache_bytes(2) // (16 * PANEL)), 6)
    room = 0 if packed else padded(k, span, unit_of(bits)) // unit_of(bits)
    return Plan(
        linear_halves.multiply_halves,
        linear_halves.scratch_bytes(mc, k, span, bits, room),
        tuple(np.array((*task, k, mc), np.int64) for task in tasks),
    )


def _rows_of(x: Array) -> tuple[Array, Array]:
    """Codes of rows of x, room for whole blocks after each, and their scales."""
    m, k = x.shape
    codes = np.empty((m, row_bytes(k)), np.uint8)[:, :k]
    scale = np.empty(m, np.float32)
    quantize = quantize_singles if x.itemsize == 4 else quantize_halves
    if m * k <= _THREADED or m == 1:
        quantize(x, codes, scale, 0, m, scratch(PART_BYTES))
        return codes, scale
    parts = min(threads.get_num_threads(), m)
    cuts = [m * t // parts for t in range(parts + 1)]

    def run(row0: int, row1: int) -> None:
        quantize(x, codes, scale, row0, row1, scratch(PART_BYTES))

    threads.run([functools.partial(run, *rows) for rows in itertools.pairwise(cuts)])
    return codes, scale
