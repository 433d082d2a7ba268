# SPDX-License-Identifier: Apache-2.0
"""What Hypothesis draws as gradients: arrays of any layout, with gaps, in every container."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from halfbyte_reference.inputs import floats, halves
from strategies import kinds, laid_out, layouts, out_layouts, seeds

# Lengths hug vectors of 8 and 16 lanes, blocks of 1024 and pieces of 65536.
_SMALL = (1, 0, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65)
_LONG = (1023, 1024, 1025, 65535, 65536, 65537, 2 * 65536 + 3)
_SHAPES = (
    (),
    (3, 5),
    (5, 3),
    (2, 3, 4),
    (33, 17),
    (1, 65),
    (65, 1),
    (4, 0, 3),
    (9, 1, 7),
    (2, 130),
)

CONTAINERS = ("list", "tuple", "dict")

lengths = st.sampled_from((*_SMALL, *_LONG))
small_shapes = st.one_of(st.sampled_from(_SMALL).map(lambda n: (n,)), st.sampled_from(_SHAPES))
shapes = st.one_of(small_shapes, small_shapes, lengths.map(lambda n: (n,)))
containers = st.sampled_from(CONTAINERS)
# Scales whose reciprocal is exact, rounded, subnormal, and so large that results overflow.
scales = st.sampled_from((1.0, 65536.0, 3.0, 0.1, 1e-3, 0.5, 2.0**127, 3e38, 2.0**-126, 1e-38))


@dataclass(frozen=True)
class Gradient:
    """One gradient, or none."""

    shape: tuple
    half: bool
    layout: str
    kind: str | None

    def array(self, seed):
        """Return the gradient, a new array each time."""
        if self.kind is None:
            return None
        make = halves if self.half else floats
        return laid_out(make(self.shape, seed, self.kind), self.layout)


@dataclass(frozen=True)
class Gradients:
    """Some gradients and what holds them."""

    entries: list
    container: str
    seed: int

    @property
    def arrays(self):
        """New arrays, None where there is no gradient."""
        return [entry.array([self.seed, i]) for i, entry in enumerate(self.entries)]

    def held(self, arrays):
        """Return a container of these arrays."""
        return held(arrays, self.container)


def held(arrays, container):
    """Return a list, a tuple or a dict of arrays."""
    if container == "dict":
        return {f"w{i}": array for i, array in enumerate(arrays)}
    return list(arrays) if container == "list" else tuple(arrays)


def gradients(half=None, layout=layouts, kind=kinds, shape=shapes):
    """Draw gradients; `half` says of what dtype, None that it is drawn too."""
    one = st.builds(
        Gradient,
        shape=shape,
        half=st.booleans() if half is None else st.just(half),
        layout=layout,
        kind=st.one_of(kind, kind, kind, st.none()),
    )
    return st.builds(Gradients, entries=st.lists(one, max_size=4), container=containers, seed=seeds)


def present(arrays):
    """Return the arrays that are not None."""
    return [array for array in arrays if array is not None]


def in_place(half=None, kind=kinds, shape=shapes):
    """Draw gradients that can be written."""
    return gradients(half, out_layouts, kind, shape)


def with_one(shape, layout, half, position, bad):
    """Return largest finite numbers and one bad one, at this place in C order."""
    dtype = np.float16 if half else np.float32
    x = np.full(shape, np.finfo(dtype).max, dtype)
    x[np.unravel_index(position, shape)] = bad
    return laid_out(x, layout)


def many_dimensions(make, seed):
    """Return an array of 5 dimensions, none of which can be merged with another."""
    x = np.full((3, 3, 3, 3, 6), np.nan, make(1, 1).dtype)[1:, ::2, :2, ::2, ::3]
    x[...] = make(x.shape, seed)
    return x
