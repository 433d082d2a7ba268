# SPDX-License-Identifier: Apache-2.0
"""Integer arithmetic of 16, 32 and 64 bits; overflow wraps."""

import numpy as np

from ptx_machine.semantics.operations import INTEGERS, Operation, on_bits, on_numbers


def _quotient(a, b):
    """Divide toward zero; NumPy divides down."""
    return np.floor_divide(a - np.fmod(a, b), b)


def _high_64(a, b):
    """Return the upper halves of products of 128 bits, from products of 32 by 32 bits."""
    low = np.uint64(0xFFFFFFFF)
    a0, a1, b0, b1 = a & low, a >> 32, b & low, b >> 32
    middle, other = a1 * b0, a0 * b1
    carry = ((a0 * b0 >> 32) + (middle & low) + (other & low)) >> 32
    return a1 * b1 + (middle >> 32) + (other >> 32) + carry


def _signed_high_64(a, b):
    """Correct the unsigned product: a negative number is 2**64 too large in it."""
    x, y = a.view(np.uint64), b.view(np.uint64)
    return _high_64(x, y) - (x & (b >> 63).view(np.uint64)) - (y & (a >> 63).view(np.uint64))


def _high(kind, width):
    if width == 64:
        return _signed_high_64 if kind[0] == "s" else _high_64
    narrow, wide = (INTEGERS[bits][kind[0] == "s"] for bits in (width, 2 * width))
    return lambda a, b: (np.multiply(a, b, dtype=wide) >> width).astype(narrow)


def _products(kind, width) -> dict[str, Operation]:
    two, three = f"{kind} {kind} {kind}", f"{kind} {kind} {kind} {kind}"
    high = on_numbers(two, _high(kind, width))
    found = {
        f"mul.lo.{kind}": on_bits(two, np.multiply),
        f"mul.hi.{kind}": high,
        f"mad.lo.{kind}": on_bits(three, lambda a, b, c: a * b + c),
        f"mad.hi.{kind}": on_bits(three, lambda a, b, c: high.function(a, b) + c),
    }
    if width < 64:
        wide, dtype = f"{kind[0]}{2 * width}", INTEGERS[2 * width][kind[0] == "s"]
        found[f"mul.wide.{kind}"] = on_numbers(
            f"{wide} {kind} {kind}", lambda a, b: np.multiply(a, b, dtype=dtype)
        )
        found[f"mad.wide.{kind}"] = on_numbers(
            f"{wide} {kind} {kind} {wide}", lambda a, b, c: np.multiply(a, b, dtype=dtype) + c
        )
    return found


def _arithmetic(width) -> dict[str, Operation]:
    u, s = f"u{width}", f"s{width}"
    found = {
        f"neg.{s}": on_bits(f"{s} {s}", np.negative),
        f"abs.{s}": on_numbers(f"{s} {s}", np.abs),
        f"div.{u}": on_bits(f"{u} {u} {u}", np.floor_divide),
        f"rem.{u}": on_bits(f"{u} {u} {u}", np.remainder),
        f"div.{s}": on_numbers(f"{s} {s} {s}", _quotient),
        f"rem.{s}": on_numbers(f"{s} {s} {s}", np.fmod),
    }
    for kind in (u, s):
        two = f"{kind} {kind} {kind}"
        found[f"add.{kind}"] = on_bits(two, np.add)
        found[f"sub.{kind}"] = on_bits(two, np.subtract)
        found[f"min.{kind}"] = on_numbers(two, np.minimum)
        found[f"max.{kind}"] = on_numbers(two, np.maximum)
        found[f"sad.{kind}"] = on_numbers(
            f"{two} {kind}", lambda a, b, c: np.maximum(a, b) - np.minimum(a, b) + c
        )
        found |= _products(kind, width)
    return found


# -------------------------------------------------------------------------- sums of products


def _parts(x, width, kind):
    """Return the numbers that lie in words, low parts first, along a last axis."""
    return x[..., None].view(INTEGERS[width][kind[0] == "s"]).astype(np.int64)


def _sum(a, b, c):
    return (a * b).sum(-1).astype(np.uint32) + c


def _dot_products() -> dict[str, Operation]:
    found = {}
    for x in ("u32", "s32"):
        for y in ("u32", "s32"):
            found[f"dp4a.{x}.{y}"] = on_bits(
                "b32 b32 b32 b32",
                lambda a, b, c, x=x, y=y: _sum(_parts(a, 8, x), _parts(b, 8, y), c),
            )
            for half, place in (("lo", slice(0, 2)), ("hi", slice(2, 4))):
                found[f"dp2a.{half}.{x}.{y}"] = on_bits(
                    "b32 b32 b32 b32",
                    lambda a, b, c, x=x, y=y, place=place: _sum(
                        _parts(a, 16, x), _parts(b, 8, y)[..., place], c
                    ),
                )
    return found


OPERATIONS = {
    name: operation for width in (16, 32, 64) for name, operation in _arithmetic(width).items()
} | _dot_products()
