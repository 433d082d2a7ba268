# SPDX-License-Identifier: Apache-2.0
"""Atomic operations: lanes that name the same item are served one after another, lowest first."""

import numpy as np

_NUMBERS = {"u32": np.uint32, "s32": np.int32, "u64": np.uint64, "s64": np.int64,
            "b32": np.uint32, "b64": np.uint64, "f32": np.float32, "f64": np.float64}  # fmt: skip

_UPDATES = {
    "add": np.add,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "exch": lambda old, b: b,
    "cas": lambda old, b, c: np.where(old == b, c, old),
    "inc": lambda old, b: np.where(old >= b, np.uint32(0), old + np.uint32(1)),
    "dec": lambda old, b: np.where((old == 0) | (old > b), b, old - np.uint32(1)),
}
# Whatever the order, the same comes out; that of floats is that of the lanes.
_AT_ONCE = ("add", "min", "max", "and", "or", "xor")


def serve(lanes, view, place, values, name, kind, wanted):
    """Update items; return what every lane found, if that is wanted."""
    number = _NUMBERS[kind]
    view = view.view(number)
    values = [x.view(number) for x in values]
    update = _UPDATES[name]
    if not wanted and name in _AT_ONCE:
        update.at(view, place, values[0])
        return None
    values = [lanes.spread(x) for x in values]
    old = np.empty(lanes.count, number)
    for some in _rounds(place):
        where = place[some]
        found = view[where]
        old[some] = found
        view[where] = update(found, *(x[some] for x in values))
    return old.view(f"u{old.itemsize}") if wanted else None


def _rounds(place):
    """Yield groups of lanes that name an item each: the first of every item, the second, ..."""
    order = np.argsort(place, kind="stable")
    ordered = place[order]
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    counts = np.diff(np.append(first, place.size))
    if first.size == place.size:
        yield slice(None)
        return
    for turn in range(int(counts.max())):
        yield order[first[counts > turn] + turn]
