# SPDX-License-Identifier: Apache-2.0
"""Which instructions a kernel may use: the Isa.

An `Isa` is a row of a table: a name, how many FP32 lanes its vectors have, how many vector
registers there are, and which instructions exist beside plain arithmetic. It is a Python object
that Numba sees as a value of its own type (`IsaType`), so a kernel that takes it as its first
argument is compiled once for each, and the vector operations of `simd` read from that type
what to emit. Nothing else in a kernel knows the instruction set.

The Isa follows what LLVM is told to compile for (`NUMBA_CPU_NAME`, `NUMBA_CPU_FEATURES`; the host
where they are unset), never cpuid: LLVM aborts the process when asked for an instruction that its
target lacks. What the target has is found by compiling four lines of IR and reading the assembly.
`HALFBYTE_ISA` is a ceiling.

VNNI is an instruction (`vpdpbusd`) that multiplies bytes and adds up four products. Only integer
products know about it; all other kernels are compiled for `plain`, the Isa without.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pathlib
from typing import TYPE_CHECKING

import llvmlite.binding as llvm
from numba.core import types
from numba.core.registry import cpu_target
from numba.extending import NativeValue, models, register_model, unbox

if TYPE_CHECKING:
    from collections.abc import Iterator


PANEL = 64  # columns of b that are packed side by side, on every instruction set


class IsaType(types.Type):
    """The Numba type of an `Isa`. Its name holds a hash of this package's sources, because
    Numba's disk cache does not notice an edit in a function that the cached one calls."""

    def __init__(self, isa: Isa) -> None:
        self.isa = isa
        super().__init__(name=f"Isa({isa.name} x {isa.lanes}, {_fingerprint()})")


class Isa:
    """One instruction set: what the register tiles and vectors of `simd` are made of."""

    def __init__(
        self, name: str, *, lanes: int, registers: int, fma: bool, f16c: bool, block: int,
        vnni: bool = False,
    ) -> None:  # fmt: skip
        self.name = name
        self.lanes = lanes  # FP32 values in a vector
        self.register_bits = 32 * lanes
        self.registers = registers
        self.fma = fma  # without it a product and a sum: FP16 products are exact, same bits
        self.f16c = f16c  # without it halves convert by integer operations: same bits
        self.block = block  # side of a square of 16-bit values; a transpose turns one or two
        self.vnni = vnni  # products of bytes, four at a time; without it of 16 bits, two at a time
        self.pairs = fma and not vnni  # `pmaddubsw`: products of bytes, two at a time, to 16 bits
        self._numba_type_ = IsaType(self)

    def __repr__(self) -> str:
        return f"Isa({self.name!r})"

    def __reduce__(self) -> tuple[object, ...]:  # Numba's cache pickles types
        return _restored, (self.name, self.lanes)

    @property
    def plain(self) -> Isa:
        """The same vectors without VNNI, for kernels that multiply no integers."""
        if not self.vnni:
            return self
        same = (isa for isa in _TABLE if isa.register_bits == self.register_bits and not isa.vnni)
        return next(same).with_lanes(self.lanes)

    @functools.cache  # noqa: B019 - the few there are live as long as the process
    def with_lanes(self, lanes: int) -> Isa:
        """The same instructions for vectors of so many lanes: several registers, or part of one."""
        if lanes == self.lanes:
            return self
        other = object.__new__(Isa)  # not copy.copy, which goes by __reduce__
        other.__dict__.update(self.__dict__, lanes=lanes)
        other._numba_type_ = IsaType(other)
        return other

    def tile_vectors(self, rows: int, columns: int) -> int:
        """Vectors in a row of a register tile: the largest power of two that leaves a quarter of
        the registers to the operands, but no more than fit `columns`, and at least one."""
        vectors = 1
        while vectors * 2 * rows <= self.registers * 3 // 4 and vectors * 2 * self.lanes <= PANEL:
            vectors *= 2
        return max(1, min(vectors, columns // self.lanes))


@functools.cache
def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in sorted(pathlib.Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@register_model(IsaType)
class _IsaModel(models.OpaqueModel):
    """Nothing is left of an Isa at run time."""


@unbox(IsaType)
def _unbox_isa(typ, obj, c):  # type: ignore[no-untyped-def]
    return NativeValue(c.context.get_dummy_value())


# Weakest first.
_TABLE = (
    Isa("generic", lanes=4, registers=16, fma=False, f16c=False, block=8),
    Isa("avx2", lanes=8, registers=16, fma=True, f16c=True, block=8),
    Isa("avx512", lanes=16, registers=32, fma=True, f16c=True, block=16),
    Isa("avxvnni", lanes=8, registers=16, fma=True, f16c=True, block=8, vnni=True),
    Isa("avx512vnni", lanes=16, registers=32, fma=True, f16c=True, block=16, vnni=True),
)


def _by_name(name: str) -> Isa:
    return next(isa for isa in _TABLE if isa.name == name)


def _restored(name: str, lanes: int) -> Isa:
    return _by_name(name).with_lanes(lanes)


_PROBE = """
declare <8 x float> @llvm.fma.v8f32(<8 x float>, <8 x float>, <8 x float>)
declare i32 @llvm.vector.reduce.add.v16i32(<16 x i32>)
define <8 x float> @a(<8 x float> %x) {
  %y = call <8 x float> @llvm.fma.v8f32(<8 x float> %x, <8 x float> %x, <8 x float> %x)
  ret <8 x float> %y
}
define <8 x float> @b(<8 x half> %x) {
  %y = fpext <8 x half> %x to <8 x float>
  ret <8 x float> %y
}
define <32 x i16> @c(<32 x i16> %x, <32 x i16> %y) {
  %z = add <32 x i16> %x, %y
  ret <32 x i16> %z
}
define i32 @d(<16 x i8> %x, <16 x i8> %y) {
  %u = zext <16 x i8> %x to <16 x i32>
  %s = sext <16 x i8> %y to <16 x i32>
  %z = mul <16 x i32> %u, %s
  %sum = call i32 @llvm.vector.reduce.add.v16i32(<16 x i32> %z)
  ret i32 %sum
}
"""


@functools.cache
def _of_target() -> tuple[int, bool]:
    """Lanes and VNNI of the best Isa that LLVM's target can run."""
    module = llvm.parse_assembly(_PROBE)
    assembly = cpu_target.target_context.codegen()._tm.emit_assembly(module)
    if not ("vfmadd" in assembly and "vcvtph2ps" in assembly):
        return 4, False
    return 16 if "zmm" in assembly else 8, "vpdpbusd" in assembly


def runnable() -> tuple[str, ...]:
    """Names of the instruction sets that this process can run, weakest first.

    HALFBYTE_ISA admits what has vectors no wider than its own, and VNNI only if it has it.
    """
    ceiling = os.environ.get("HALFBYTE_ISA") or _TABLE[-1].name
    names = [isa.name for isa in _TABLE]
    if ceiling not in names:
        msg = f"HALFBYTE_ISA: unknown instruction set {ceiling!r}; need one of {names}"
        raise ValueError(msg)
    most = _by_name(ceiling)
    target_lanes, target_vnni = _of_target()
    lanes, vnni = min(most.lanes, target_lanes), most.vnni and target_vnni
    return tuple(isa.name for isa in _TABLE if isa.lanes <= lanes and isa.vnni <= vnni)


_active: Isa | None = None


def active() -> Isa:
    """The instruction set that kernels are called with."""
    global _active
    if _active is None:
        _active = _by_name(runnable()[-1])
    return _active


@contextlib.contextmanager
def forced(name: str) -> Iterator[Isa]:
    """Make a weaker instruction set the active one (whole process), for tests and benches."""
    global _active
    if name not in runnable():
        msg = f"isa.forced: {name!r} cannot run here; need one of {runnable()}"
        raise ValueError(msg)
    before = active()
    _active = _by_name(name)
    try:
        yield _active
    finally:
        _active = before
