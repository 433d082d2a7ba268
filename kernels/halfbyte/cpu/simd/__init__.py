# SPDX-License-Identifier: Apache-2.0
"""Vectors and register tiles as Numba types: the only place that writes LLVM IR.

The idea in twenty lines. A CPU has 16 or 32 vector registers; a matrix product is fast when the
corner of C that it works on, a *tile* of `rows` x `vectors`, stays in them while k runs. C
compilers reach that with intrinsics, one source for each instruction set. Here the tile is a
value, and its size is its Numba type:

    acc = tile_zero(isa, shape)                       # rows x vectors registers, all +0
    for p in range(k):
        acc = tile_fma(isa, acc, a, a_row, b, kind)   # rows broadcasts, vectors loads, r*v FMAs
    tile_store(acc, c, c_row)

`isa` and `shape` hold nothing at run time: Numba looks at their types when it compiles the call,
and the functions of this package, its *intrinsics*, unroll the tile into LLVM vector instructions
for exactly that size. LLVM sees one aggregate of vectors going round the loop, splits it, and
gives each vector a register. The same lines compile to ymm or zmm code, or to plain SSE, by the
type of the first argument.

Everything else works on one vector at a time: loads and stores, FP16 (HALF) converted to FP32 and
back, codes of 8 and 4 bits (BYTE, NIBBLE) to integers, arithmetic with Python's operators,
comparisons and `select`. `widened(isa, 32)` is an Isa whose vectors are several registers each.
Memory is named by integer byte addresses: pointers that kernels can do arithmetic on. Nothing is
aligned unless it says so.
`..._part` loads and stores only the first `count` lanes.

How to read an intrinsic. Its body runs while Numba compiles a call, and its arguments are the
*types* of the call's arguments; `isa.isa` is the Isa that an IsaType stands for. It returns two
things: the signature, written `result(argument, ...)`, and `codegen`, which Numba calls to emit
the call's instructions. `codegen` gets the arguments once more, as LLVM values (`args`), appends
to the caller's code through `builder`, and returns the LLVM value of the result.

    types.py         vectors, tiles, shapes and kinds of memory, as Numba types
    emit.py          what several intrinsics emit: loads, conversions, masks, FMA
    tiles.py         register tiles
    dots.py          register tiles of integer sums
    interleave.py    bytes of rows to the dwords that integer tiles multiply
    vectors.py       vectors to and from memory
    scalars.py       single values and runs of bytes
    arithmetic.py    on vectors, lane by lane, and all lanes into one
    transpose.py     square blocks of 16-bit values
    environment.py   the rounding mode, and the order of streamed stores
"""

from halfbyte.cpu.simd.arithmetic import (
    bits,
    doubles,
    larger,
    largest,
    magnitude,
    multiply_add,
    power_of_two,
    root,
    select,
    singles,
    smaller,
    smallest,
    splat,
    splat_integer,
    total,
    zeros,
)
from halfbyte.cpu.simd.dots import (
    a_bytes,
    expanded_kind,
    kind_of_small,
    multiplies_words,
    pair_units,
    shared_shape,
    tile_add_outer,
    tile_add_pairs,
    tile_add_scaled,
    tile_dot,
    tile_scale,
    tile_spread,
)
from halfbyte.cpu.simd.environment import (
    enter_default_rounding,
    finish_streaming,
    leave_default_rounding,
)
from halfbyte.cpu.simd.interleave import (
    add_bytes,
    block_columns,
    field,
    high_part,
    interleave_rows,
    join_nibbles,
    low_part,
    sort_nibbles,
    sums_of_32,
    transpose_dwords,
    widen_bytes,
)
from halfbyte.cpu.simd.scalars import (
    bytes_of,
    clear_upper_nibble,
    copy_bytes,
    copy_element,
    load_byte,
    load_double,
    load_integer,
    load_scalar,
    single_from_bits,
    store_byte,
    store_double,
    store_integer,
    store_scalar,
    zero_bytes,
)
from halfbyte.cpu.simd.tiles import (
    narrowed,
    shape_columns,
    tile_chain,
    tile_fma,
    tile_load,
    tile_prefetch,
    tile_shape,
    tile_store,
    tile_zero,
)
from halfbyte.cpu.simd.transpose import block_of, transpose_words
from halfbyte.cpu.simd.types import (
    BITS,
    BYTE,
    DOUBLE,
    HALF,
    INTEGER,
    NIBBLE,
    NIBBLE_BYTE,
    SINGLE,
    SMALL_BYTE,
    WORD,
)
from halfbyte.cpu.simd.vectors import (
    kind_bytes,
    lanes_of,
    load,
    load_part,
    prefetch_line,
    store,
    store_part,
    stream,
    widened,
)

__all__ = [
    "BITS",
    "BYTE",
    "DOUBLE",
    "HALF",
    "INTEGER",
    "NIBBLE",
    "NIBBLE_BYTE",
    "SINGLE",
    "SMALL_BYTE",
    "WORD",
    "a_bytes",
    "add_bytes",
    "bits",
    "block_columns",
    "block_of",
    "bytes_of",
    "clear_upper_nibble",
    "copy_bytes",
    "copy_element",
    "doubles",
    "enter_default_rounding",
    "expanded_kind",
    "field",
    "finish_streaming",
    "high_part",
    "interleave_rows",
    "join_nibbles",
    "kind_bytes",
    "kind_of_small",
    "lanes_of",
    "larger",
    "largest",
    "leave_default_rounding",
    "load",
    "load_byte",
    "load_double",
    "load_integer",
    "load_part",
    "load_scalar",
    "low_part",
    "magnitude",
    "multiplies_words",
    "multiply_add",
    "narrowed",
    "pair_units",
    "power_of_two",
    "prefetch_line",
    "root",
    "select",
    "shape_columns",
    "shared_shape",
    "single_from_bits",
    "singles",
    "smaller",
    "smallest",
    "sort_nibbles",
    "splat",
    "splat_integer",
    "store",
    "store_byte",
    "store_double",
    "store_integer",
    "store_part",
    "store_scalar",
    "stream",
    "sums_of_32",
    "tile_add_outer",
    "tile_add_pairs",
    "tile_add_scaled",
    "tile_chain",
    "tile_dot",
    "tile_fma",
    "tile_load",
    "tile_prefetch",
    "tile_scale",
    "tile_shape",
    "tile_spread",
    "tile_store",
    "tile_zero",
    "total",
    "transpose_dwords",
    "transpose_words",
    "widen_bytes",
    "widened",
    "zero_bytes",
    "zeros",
]
