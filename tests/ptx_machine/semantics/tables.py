# SPDX-License-Identifier: Apache-2.0
"""Instructions that a constant describes: lop3's table of any logic, prmt's choice of bytes.

Each constant is turned into a few operations on whole words, once.
"""

import functools

import numpy as np

from ptx_machine.semantics.operations import Operation, on_bits


def _everywhere(result, *operands):
    """Return a result for every lane, though it may depend on none that differ."""
    if result.ndim:
        return result
    return np.full(np.broadcast_shapes(*(x.shape for x in operands)), result)


# --------------------------------------------------------------------------------------- lop3

# The functions of two bits: bit 2 x + y of a table's number is the result.
_OF_TWO = (
    lambda x, y: x & ~x,
    lambda x, y: ~(x | y),
    lambda x, y: ~x & y,
    lambda x, y: ~x,
    lambda x, y: x & ~y,
    lambda x, y: ~y,
    lambda x, y: x ^ y,
    lambda x, y: ~(x & y),
    lambda x, y: x & y,
    lambda x, y: ~(x ^ y),
    lambda x, y: y,
    lambda x, y: ~x | y,
    lambda x, y: x,
    lambda x, y: x | ~y,
    lambda x, y: x | y,
    lambda x, y: x | ~x,
)


def _split(table, place):
    """Return the functions of the two other operands where operand `place` is 0, and where 1."""
    halves = [0, 0]
    for entry in range(8):
        bits = [entry >> 2 & 1, entry >> 1 & 1, entry & 1]
        chosen = bits.pop(place)
        halves[chosen] |= (table >> entry & 1) << (2 * bits[0] + bits[1])
    return halves


def _joined(zero, one):
    """Return a function of z and of x, y: what x and y make where z is 0, and where it is 1."""
    f, g, difference = _OF_TWO[zero], _OF_TWO[one], _OF_TWO[zero ^ one]
    if zero == one:
        return lambda z, x, y: +f(x, y)  # a copy, where f is x
    if zero == 0:
        return lambda z, x, y: z & g(x, y)
    if one == 15:
        return lambda z, x, y: z | f(x, y)
    if zero ^ one == 15:
        return lambda z, x, y: z ^ f(x, y)
    return lambda z, x, y: f(x, y) ^ (z & difference(x, y))


def _operations(split):
    """Return about how many operations a split takes, beyond those of two operands."""
    _, zero, one = split
    return 0 if zero == one else 1 if zero == 0 or one == 15 or zero ^ one == 15 else 2


@functools.cache
def _logic(table):
    """Return a function of three operands with few operations in it."""
    place, zero, one = min(((i, *_split(table, i)) for i in (2, 1, 0)), key=_operations)
    first, second = (i for i in range(3) if i != place)
    join = _joined(zero, one)
    return lambda *operands: join(operands[place], operands[first], operands[second])


def _lop3(a, b, c, table):
    return _everywhere(_logic(int(table))(a, b, c), a, b, c)


# --------------------------------------------------------------------------------------- prmt


@functools.cache
def _moves(selectors):
    """Return (of b?, shift to the left, mask): bytes that move together are moved together."""
    masks = {}
    for i in range(4):
        source = selectors >> 4 * i & 7
        move = source > 3, 8 * (i - source % 4)
        masks[move] = masks.get(move, 0) | 255 << 8 * i
    return tuple((*move, np.uint32(mask)) for move, mask in masks.items())


def _prmt(a, b, selectors):
    if selectors.ndim or selectors & 0x8888:
        return _prmt_any(a, b, selectors)
    parts = []
    for of_b, shift, mask in _moves(int(selectors) & 0x7777):
        x = b if of_b else a
        if shift:
            x = x << shift if shift > 0 else x >> -shift
        parts.append(x & mask)
    return _everywhere(functools.reduce(np.bitwise_or, parts), a, b)


def _prmt_any(a, b, selectors):
    """Choose bytes, or their signs, by selectors that differ from lane to lane."""
    both = b.astype(np.uint64) << 32 | a
    result = np.uint32(0)
    for i in range(4):
        selector = selectors >> 4 * i
        byte = (both >> 8 * (selector & 7)).astype(np.uint8)
        signs = (byte.view(np.int8) >> 7).view(np.uint8)
        chosen = np.where(selector & 8, signs, byte).astype(np.uint32)
        result = result | chosen << 8 * i
    return result


OPERATIONS: dict[str, Operation] = {
    "lop3.b32": on_bits("b32 b32 b32 b32 b32", _lop3),
    "prmt.b32": on_bits("b32 b32 b32 b32", _prmt),
}
