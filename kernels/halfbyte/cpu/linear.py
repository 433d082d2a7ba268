# SPDX-License-Identifier: Apache-2.0
"""Plan and launch layers with quantized weights."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from halfbyte.arrays import single_bits
from halfbyte.cpu import blocking, linear_halves, threads
from halfbyte.cpu.activations import CODES
from halfbyte.cpu.casts import convert
from halfbyte.cpu.gemm_f16 import _address, _tasks
from halfbyte.cpu.gemm_int import (
    BYTE_FLIP,
    NO_OUT,
    Plan,
    flip_of,
    launch,
    pack_panels,
    plan,
    unpack_codes,
)
from halfbyte.cpu.gemm_int_operands import CODE_OUT, HALF_OUT, REQUEST, SINGLE_OUT, Request
from halfbyte.cpu.gemm_int_panels import ALONG_K
from halfbyte.cpu.gemm_int_parts import unit_of
from halfbyte.cpu.gemm_int_rows import padded, row_bytes
from halfbyte.cpu.isa import PANEL
from halfbyte.cpu.linear_rows import quantize_halves, quantize_singles
from halfbyte.cpu.quantization_rows import PART_BYTES
from halfbyte.tensors import PackedMatrix, QuantizedTensor, nibbles

if TYPE_CHECKING:
    from halfbyte.arrays import Array
    from halfbyte.quantized import QuantizedRows, Requantization

_NOTHING = Request(*[0] * len(REQUEST))
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
    k: int
    packed: bool

    @property
    def affine(self) -> bool:
        return self.zeros is not None

    @property
    def stored_bits(self) -> int:
        return 4 if self.bits == 4 else 8

    @property
    def span(self) -> int:
        """Steps of k that share an accumulator."""
        k = max(self.k, 1)
        return k if self.group_size is None else min(self.group_size, k)


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


def _weights(q: QuantizedTensor) -> Weights:
    """Weights in place; scales of groups are brought into panels."""
    scale, zeros = q.scale, q.zero_point
    if q.group_size is not None:
        scale = _in_panels(scale)
        zeros = None if zeros is None else _in_panels(-zeros)
    else:
        scale = np.ascontiguousarray(scale)
        zeros = None if zeros is None else np.ascontiguousarray(zeros)
    k = q.shape[1]
    return Weights(q.values.T, scale, zeros, q.bits, q.signed, q.axis, q.group_size, k, False)


def prepack(q: QuantizedTensor) -> Weights:
    """Weights in panels, with copies of their scales."""
    w = _weights(q)
    n, k = q.shape
    codes = pack_panels(
        w.codes, k, n, w.stored_bits, ALONG_K if w.bits == 4 else 0, w.signed, w.span
    )
    scale = w.scale.copy()
    zeros = None if w.zeros is None else w.zeros.copy()
    return w._replace(codes=codes, scale=scale, zeros=zeros, packed=True)


def unpack(w: Weights, shape: tuple[int, int]) -> QuantizedTensor:
    """The QuantizedTensor (n, k) that was packed."""
    k, n = shape
    values = unpack_codes(w.codes, k, n, w.stored_bits, w.signed, w.span).T
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
    weights = w._contents if type(w) is PackedMatrix else _weights(w)
    m, n = out.shape
    k, stored, grouped = weights.k, weights.stored_bits, weights.group_size is not None
    form = CODE_OUT if requantization is not None else HALF_OUT if out.itemsize == 2 else SINGLE_OUT
    values: dict[str, Any] = {
        "b_bits": stored,
        "b_flip": flip_of(stored, weights.signed),
        "b_nibbles": 0 if weights.packed or stored == 8 else ALONG_K,
        "packed": int(weights.packed),
        "span": weights.span,
        "out": _address(out),
        "out_row": out.strides[0],
        "out_column": out.strides[1],
        "out_form": form,
        "scaled": 1,
        "activation": CODES[activation],
    }
    if grouped:
        values["panel_scales"] = _address(weights.scale)
        if weights.zeros is not None:
            values["panel_zeros"] = _address(weights.zeros)
    else:
        values["w_scale"] = _address(weights.scale)
        values["w_scale_step"] = 4 * (weights.scale.size > 1)
        if weights.zeros is not None:
            values["b_zeros"] = _address(weights.zeros)
            values["b_zeros_step"] = 4 * (weights.zeros.size > 1)
    if bias is not None:
        values["bias"] = _address(bias)
    if requantization is not None:
        values["code_scale"] = single_bits(requantization.scale)
        values["code_zero_point"] = requantization.zero_point
        values["code_min"] = requantization.qmin
        values["code_max"] = requantization.qmax
    count = threads.get_num_threads()
    if x_bits == 16:
        a = x
        if x.itemsize == 4:
            a = np.empty(x.shape, np.float16)
            if k:
                convert(x, a)
        chosen = _plan_halves(m, n, k, weights.span, stored, weights.packed, count)
        owners = (x,)
    else:
        owners = _rows_of(x) if type(x) is np.ndarray else (x.codes.array, x.scale, x.zero_point)
        a, scale, zero_point = owners
        values["x_scale"] = _address(scale)
        values["a_bits"], values["a_flip"] = 8, 0
        if type(x) is not np.ndarray:
            values["a_bits"] = x.codes.bits
            if x.codes.bits == 4:
                values["a_flip"] = 8 if x.codes.signed else 0
            else:
                values["a_flip"] = 0 if x.codes.signed else BYTE_FLIP
        if zero_point is not None:
            values["a_zeros"], values["a_zeros_step"] = _address(zero_point), 4
        chosen = plan(1, m, n, k, weights.span, stored, False, weights.packed, grouped, count)
    request = np.array(_NOTHING._replace(**values), np.int64)
    arguments = a, weights.codes, NO_OUT, request
    launch(chosen, arguments, (*owners, weights, bias, out))


@functools.lru_cache(maxsize=1024)
def _plan_halves(
    m: int, n: int, k: int, span: int, bits: int, packed: bool, thread_count: int
) -> Plan:
    """The plan of a layer with FP16 input: tasks end with k and MC."""
    tasks = _tasks(1, m, n, k, thread_count)
    rows = max(task[3] - task[2] for task in tasks)
    # Sums of MC rows, twice, take half of the L2 cache.
    mc = blocking.split(rows, max(6, blocking.cache_bytes(2) // (16 * PANEL)), 6)
    room = 0 if packed else padded(k, span, unit_of(bits)) // unit_of(bits)
    scratch = linear_halves.scratch_bytes(mc, k, span, bits, room)
    return Plan(
        linear_halves.multiply_halves,
        scratch,
        tuple(np.array((*task, k, mc), np.int64) for task in tasks),
    )


def _rows_of(x: Array) -> tuple[Array, Array, None]:
    """Codes of rows of x, room for whole blocks after each, and their scales."""
    m, k = x.shape
    codes = np.empty((m, row_bytes(k)), np.uint8)[:, :k]
    scale = np.empty(m, np.float32)
    quantize = quantize_singles if x.itemsize == 4 else quantize_halves
    parts = min(threads.get_num_threads(), m) if m * k > _THREADED else 1
    cuts = [m * t // parts for t in range(parts + 1)]

    def run(row0: int, row1: int) -> None:
        place = np.empty(PART_BYTES, np.uint8)
        quantize(x, codes, scale, row0, row1, _address(place))

    threads.run([functools.partial(run, *rows) for rows in itertools.pairwise(cuts)])
    return codes, scale, None
