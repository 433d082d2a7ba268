# SPDX-License-Identifier: Apache-2.0
"""What lanes of a warp tell each other: shuffles and votes, on arrays of (warps, 32 lanes)."""

import numpy as np

LANES = np.arange(32)


def _shuffle(place, upward=False):
    """Return a function of b and c: the lane that each reads, and whether it is in range.

    c has a clamp in its low byte and a mask of segments in the next. A lane whose source is out
    of range reads itself.
    """

    def sources(b, c):
        b, clamp, segment = (
            b.astype(np.int64) & 31,
            c.astype(np.int64) & 31,
            c.astype(np.int64) >> 8 & 31,
        )
        least = LANES & segment
        most = least | clamp & ~segment
        source = place(b, least, segment)
        inside = source >= most if upward else source <= most
        return np.where(inside, source, LANES), inside

    return sources


SHUFFLES = {
    "up": _shuffle(lambda b, least, segment: LANES - b, upward=True),
    "down": _shuffle(lambda b, least, segment: LANES + b),
    "bfly": _shuffle(lambda b, least, segment: LANES ^ b),
    "idx": _shuffle(lambda b, least, segment: least | b & ~segment),
}


# -------------------------------------------------------------------------------------- votes


def _all(predicate, member):
    return (predicate | ~member).all(1, keepdims=True)


def _any(predicate, member):
    return (predicate & member).any(1, keepdims=True)


def _uni(predicate, member):
    return _all(predicate, member) | ~_any(predicate, member)


def _ballot(predicate, member):
    return np.packbits(predicate & member, axis=1, bitorder="little").view(np.uint32)


VOTES = {"all": _all, "any": _any, "uni": _uni, "ballot": _ballot}
