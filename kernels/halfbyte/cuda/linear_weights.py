# SPDX-License-Identifier: Apache-2.0
"""Quantized weights as the kernels of a layer take them, packed once or as they lie."""

from __future__ import annotations

from typing import Any, NamedTuple

from halfbyte.cuda import copies, linear_layout, runtime
from halfbyte.cuda.linear_layout import BLOCK_K, Layout, Matrix, layout_of
from halfbyte.tensors import QuantizedTensor

_CHUNK = 16  # bytes of a load
# Codes of 4 bits are multiplied as 16 times what they are: so many products of them fit int32.
_MOST_STEPS = 131071


class Weights(NamedTuple):
    """Codes (n, pitch) of a matrix (n, k), and what belongs to them."""

    codes: Any
    scale: Any
    zeros: Any  # int32, or None
    sums: Any  # int32 (n, groups), of codes as stored, or None
    stored: int  # bits of a code: 8 or 4
    raw: bool  # codes lie as in a QuantizedTensor: unsigned ones, and two neighbours a byte
    bits: int
    signed: bool
    axis: int | None
    group_size: int | None
    shape: tuple[int, int]  # (k, n)

    @property
    def affine(self) -> bool:
        """Whether there are zero points."""
        return self.zeros is not None

    @property
    def layout(self) -> Layout:
        """How rows are laid out."""
        return layout_of(self.shape[0], self.group_size)

    @property
    def offset(self) -> int:
        """What was subtracted from codes."""
        widened = self.bits == 4 and self.stored == 8
        return 0 if widened else linear_layout.flip_of(self.bits, self.signed)

    @property
    def flip(self) -> int:
        """Bits of a word of codes that change when it is read."""
        return self.offset * (0x11111111 if self.stored == 4 else 0x01010101) if self.raw else 0

    @property
    def chunks(self) -> int:
        """Loads of 16 bytes that a row has."""
        places = self.shape[0] if self.raw else self.layout.places
        return places * self.stored // 8 // _CHUNK

    @property
    def pitch(self) -> int:
        """Bytes between rows."""
        pitch: int = self.codes.strides[0]
        return pitch


def prepack(q: QuantizedTensor) -> Weights:
    """Copy everything into the layout; what belongs to a group, columns side by side."""
    parts = (None if x is None else copies.copied(x.T).T for x in (q.scale, q.zero_point))
    return _packed(q, *parts, sums=True)


def weights_of(q: QuantizedTensor, *, raw: bool, sums: bool) -> Weights:
    """Return weights for one product. raw: they may be read as they are."""
    if not sums and _readable(q, raw=raw):
        return _weights(q, q.values, q.scale, q.zero_point, None, q.bits, raw=True)
    return _packed(q, q.scale, q.zero_point, sums=sums)


def unpack(w: Weights, shape: tuple[int, int]) -> QuantizedTensor:
    """The QuantizedTensor (n, k) that was packed."""
    k, n = shape
    values = linear_layout.unpacked(w.codes, w.stored, w.bits, w.signed, w.layout, (n, k))
    scale, zeros = (None if x is None else copies.copied(x) for x in (w.scale, w.zeros))
    return QuantizedTensor._trusted(
        values, scale, zeros, w.bits, w.axis, w.group_size, w.signed, (n, k)
    )


def _packed(q: QuantizedTensor, scale: Any, zeros: Any, *, sums: bool) -> Weights:
    n, k = q.shape
    layout = layout_of(k, q.group_size)
    stored = 4 if q.bits == 4 and layout.group <= _MOST_STEPS else 8
    pitch = layout.places * stored // 8
    step = q.values.strides[1] if q.values.shape[1] > 1 else 1
    source = Matrix(q.values, n, q.values.strides[0] if n > 1 else 0, step)
    codes, added = linear_layout.packed(source, q.bits, q.signed, layout, pitch, stored, sums=sums)
    return _weights(q, codes, scale, zeros, added, stored, raw=False)


def _weights(
    q: QuantizedTensor, codes: Any, scale: Any, zeros: Any, sums: Any, stored: int, *, raw: bool
) -> Weights:
    n, k = q.shape
    form = (q.bits, q.signed, q.axis, q.group_size)
    return Weights(codes, scale, zeros, sums, 4 if stored == 4 else 8, raw, *form, (k, n))


def _readable(q: QuantizedTensor, *, raw: bool) -> bool:
    """Whether chunks of codes can be read where they lie; if not `raw`, in the layout itself."""
    values, layout = q.values, layout_of(q.shape[1], q.group_size)
    bits = 4 if q.bits == 4 else 8
    if bits == 4 and layout.group > _MOST_STEPS:
        return False
    if not raw and (bits == 4 or linear_layout.flip_of(q.bits, q.signed)):
        return False
    places = (runtime.address(values), values.strides[0], q.shape[1] * bits // 8)
    whole = q.shape[1] % (BLOCK_K if not raw else 8 * _CHUNK // bits) == 0
    return (
        layout.dense
        and whole
        and values.strides[1] == 1
        and all(place % _CHUNK == 0 for place in places)
    )
