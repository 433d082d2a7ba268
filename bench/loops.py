# SPDX-License-Identifier: Apache-2.0
"""Compiled loops of bare instructions: what `roofs` measures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LINE = 64  # bytes of a cache line
I16, I32 = ir.IntType(16), ir.IntType(32)

# One step of a chain: builder, what the chain holds, the factor -> what it holds next.
Step = Callable[[Any, Any, Any], Any]


def fma_loop(lanes: int, chains: int, fused: bool) -> Callable[[int, Any], Any]:
    """A compiled loop of `chains` multiply-adds a step, each on `lanes` float32.

    Without FMA instructions (not `fused`) llvm.fma would be a slow call: multiply, then add.
    """
    vector = ir.VectorType(ir.FloatType(), lanes)

    def step(builder: Any, acc: Any, factor: Any) -> Any:
        if fused:
            # The accumulator as addend is updated in place; as factor, it would be copied.
            return _call(builder, f"llvm.fma.v{lanes}f32", vector, factor, factor, acc)
        return builder.fadd(builder.fmul(acc, factor), factor)

    return _loop(vector, types.float32, chains, step)


def dot_loop(lanes: int, chains: int, vnni: bool) -> Callable[[int, Any], Any]:
    """A compiled loop of `chains` exact sums of integer products a step, each on `lanes` int32.

    With VNNI that is `vpdpbusd`, four products of bytes a lane. Without it, two of 16-bit integers:
    `pmaddwd` and an addition, or, where the target has it, the one instruction that does both.
    """
    vector = ir.VectorType(I32, lanes)

    def step(builder: Any, acc: Any, factor: Any) -> Any:
        if vnni:
            name = f"llvm.x86.avx512.vpdpbusd.{32 * lanes}"
            return _call(builder, name, vector, acc, factor, factor)
        # Two invariant factors would have one product, which leaves the loop.
        return builder.add(acc, _multiply_words(builder, acc, factor))

    return _loop(vector, types.int32, chains, step)


def _multiply_words(builder: Any, x: Any, y: Any) -> Any:
    """What LLVM knows as pmaddwd: products of 16-bit integers, neighbours added up."""
    count = 2 * x.type.count
    halves, wide = ir.VectorType(I16, count), ir.VectorType(I32, count)
    x, y = (builder.sext(builder.bitcast(v, halves), wide) for v in (x, y))
    product = builder.mul(x, y)
    even, odd = (
        builder.shuffle_vector(product, product, ir.Constant(ir.VectorType(I32, count // 2), which))
        for which in (list(range(0, count, 2)), list(range(1, count, 2)))
    )
    return builder.add(even, odd)


def _call(builder: Any, name: str, vector: Any, *operands: Any) -> Any:
    # Spelled out: llvmlite's declare_intrinsic does not know vectors.
    kind = ir.FunctionType(vector, [operand.type for operand in operands])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), operands)


def _loop(vector: Any, scalar: Any, chains: int, step: Step) -> Callable[[int, Any], Any]:
    """The chains are the loop's phi nodes, so that nothing but registers is touched."""
    floats = scalar is types.float32
    number = float if floats else int

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        steps, factor = args
        first = builder.insert_element(ir.Constant(vector, ir.Undefined), factor, _i32(0))
        zeros = ir.Constant(ir.VectorType(I32, vector.count), [0] * vector.count)
        factor = builder.shuffle_vector(first, first, zeros)

        before = builder.block
        loop = builder.append_basic_block("loop")
        after = builder.append_basic_block("after")
        builder.branch(loop)
        builder.position_at_end(loop)
        count = builder.phi(steps.type)
        count.add_incoming(steps, before)
        results = []
        accs = [builder.phi(vector) for _ in range(chains)]
        for i, acc in enumerate(accs):
            # Different starts: equal chains would be merged into one.
            acc.add_incoming(ir.Constant(vector, [number(i)] * vector.count), before)
            results.append(step(builder, acc, factor))
            acc.add_incoming(results[-1], loop)
        left = builder.sub(count, ir.Constant(steps.type, 1))
        count.add_incoming(left, loop)
        more = builder.icmp_signed(">", left, ir.Constant(steps.type, 0))
        builder.cbranch(more, loop, after)
        builder.position_at_end(after)

        add = builder.fadd if floats else builder.add
        total = results[0]
        for result in results[1:]:
            total = add(total, result)
        return builder.extract_element(total, _i32(0))

    @intrinsic
    def chains_of(_typing: Any, steps: Any, factor: Any) -> Any:
        return scalar(types.int64, scalar), codegen

    @numba.njit(nogil=True)
    def run(steps, factor):
        return chains_of(steps, factor)

    return run


@numba.njit(nogil=True)
def read_all(words):
    """Integer addition may be reordered, so LLVM makes wide loads of this; only by index, though:
    `for word in words` stays scalar and reads at 0.7 of the rate."""
    total = np.uint64(0)
    for i in range(words.size):
        total += words[i]
    return total


def stream_loop(lanes: int) -> Callable[[np.ndarray], None]:
    """A compiled loop that fills whole cache lines (rows of 8 words, aligned), each by non-temporal
    stores of `lanes` float32, which have left the core when it returns.

    Not with zeros: lines of zeros go more than twice as fast (Zen 5: 77 GB/s, any others 32).
    """
    vector = ir.VectorType(ir.FloatType(), lanes)

    def write(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        for offset in range(0, LINE, 4 * lanes):
            address = builder.add(args[0], ir.Constant(args[0].type, offset))
            at = builder.inttoptr(address, vector.as_pointer())
            stored = builder.store(ir.Constant(vector, [1.5] * lanes), at)
            stored.align = 4 * lanes
            stored.set_metadata("nontemporal", builder.module.add_metadata([_i32(1)]))
        return context.get_dummy_value()

    def fence(context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        if builder.module.triple.startswith(("x86_64", "i686")):
            fence_type = ir.FunctionType(ir.VoidType(), [])
            sfence = cgutils.get_or_insert_function(
                builder.module, fence_type, "llvm.x86.sse.sfence"
            )
            builder.call(sfence, ())
        return context.get_dummy_value()

    @intrinsic
    def write_line(_typing: Any, address: Any) -> Any:
        return types.none(types.uintp), write

    @intrinsic
    def finish(_typing: Any) -> Any:
        return types.none(), fence

    @numba.njit(nogil=True)
    def run(lines):
        address = np.uintp(lines.ctypes.data)
        for i in range(lines.shape[0]):
            write_line(address + np.uintp(i) * np.uintp(LINE))
        finish()

    return run


def _i32(value: int) -> Any:
    return ir.Constant(I32, value)
