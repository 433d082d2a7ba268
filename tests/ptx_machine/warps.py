# SPDX-License-Identifier: Apache-2.0
"""What lanes of a warp do together: shuffles, votes, matrices. On arrays of (warps, 32 lanes)."""

import numpy as np

_LANES = np.arange(32)


def _sources(mode, b, c):
    """Return the lane that each reads, itself if that is out of range, and whether it is in range.

    c has a clamp in its low byte and a mask of segments in the next.
    """
    b, clamp, segment = b & 31, c & 31, c >> 8 & 31
    least = _LANES & segment
    most = least | clamp & ~segment
    source = {"up": _LANES - b, "down": _LANES + b, "bfly": _LANES ^ b,
              "idx": least | b & ~segment}[mode]  # fmt: skip
    inside = source >= most if mode == "up" else source <= most
    return np.where(inside, source, _LANES), inside


def shuffle(lanes, mode, value, b, c, line):
    """Return what lanes read from each other, and whether in range, which may be the same
    for all warps."""
    value = lanes.by_warp(value)
    b, c = (lanes.by_warp(x) if x.ndim else x for x in (b, c))
    source, inside = _sources(mode, b.astype(np.int64), c.astype(np.int64))
    if source.ndim == 1:
        got, here = value[:, source], lanes.present()[:, source]
    else:
        got, here = (np.take_along_axis(x, source, 1) for x in (value, lanes.present()))
    if not here.all():
        nobody = lanes.by_lane(~here)
        if nobody.any():
            lanes.launch.fault("warp divergence", line, lanes, nobody)
    return lanes.by_lane(got), inside


def spread(lanes, values):
    """Return what belongs to warps, or to lanes of all warps, as an array over lanes."""
    return lanes.by_lane(np.array(np.broadcast_to(values, (lanes.warps(), 32))))


def vote(lanes, mode, predicate):
    """Return what the lanes of each warp say together."""
    said, member = lanes.by_warp(predicate), lanes.present()
    if mode == "ballot":
        return spread(lanes, _bits(said & member))
    every = (said | ~member).all(1, keepdims=True)
    some = (said & member).any(1, keepdims=True)
    return spread(lanes, {"all": every, "any": some, "uni": every | ~some}[mode])


def active(lanes):
    """Return the mask of lanes of the same warp that are here."""
    return spread(lanes, _bits(lanes.present()))


def _bits(said):
    return np.packbits(said, axis=1, bitorder="little").view(np.uint32)


def matrices(lanes, address, count, function, access):
    """Read rows that 8 lanes a matrix name, and deal them to all lanes of the warps."""
    reading = lanes
    if count < 4:
        reading = lanes.subset(lanes.get("lane") < 8 * count)
        address = lanes.by_warp(address)[:, : 8 * count].reshape(-1)
    (rows,) = lanes.launch.shared.load(reading, address, access)
    rows = rows.view(np.uint8).reshape(-1, count, 8, 16)
    return function(rows).reshape(count, -1)


def products(lanes, function, *factors):
    """Multiply the fragments of several instructions: (registers, instructions) of arrays."""
    dense = []
    for rows in factors:
        out = np.empty((len(rows), len(rows[0]), lanes.count), np.uint32)
        for target, row in zip(out, rows, strict=True):
            for n, value in enumerate(row):
                target[n] = value
        dense.append(out.reshape(len(rows), -1, 32))
    d = function(*dense)
    return d.reshape(d.shape[0], len(factors[0][0]), -1)
