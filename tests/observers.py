# SPDX-License-Identifier: Apache-2.0
"""Observers of every kind, what Hypothesis draws for them to see, and what they are compared by."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import strategies as st

import halfbyte
from assertions import assert_same_bits
from halfbyte_reference.inputs import floats, halves
from strategies import finite_kinds, laid_out, layouts, seeds

CHANNELS = 4

MAKERS = {
    "min-max": lambda library: library.MinMaxObserver(),
    "min-max, first axis": lambda library: library.MinMaxObserver(0),
    "min-max, last axis": lambda library: library.MinMaxObserver(axis=-1),
    "moving average": lambda library: library.MovingAverageObserver(),
    "moving average, axis": lambda library: library.MovingAverageObserver(axis=0, momentum=0.75),
    "last update": lambda library: library.MovingAverageObserver(momentum=1),
    "mse": lambda library: library.HistogramObserver(),
    "percentile": lambda library: library.HistogramObserver("percentile"),
    "median": lambda library: library.HistogramObserver("percentile", percentile=50),
    "few": lambda library: library.HistogramObserver(method="percentile", percentile=0.5),
}
MERGEABLE = {
    name: make
    for name, make in MAKERS.items()
    if not isinstance(make(halfbyte), halfbyte.MovingAverageObserver)
}
WITHOUT_AXIS = {name: make for name, make in MERGEABLE.items() if make(halfbyte).axis is None}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
mergeable = pytest.mark.parametrize("make", MERGEABLE.values(), ids=MERGEABLE)
without_axis = pytest.mark.parametrize("make", WITHOUT_AXIS.values(), ids=WITHOUT_AXIS)
widths = st.sampled_from((8, 4, 3, 2))


@dataclass(frozen=True)
class Update:
    """An array of CHANNELS rows and CHANNELS columns in each of `depth` planes between them."""

    depth: int
    seed: int
    kind: str
    power: int
    half: bool
    layout: str

    @property
    def x(self):
        """Finite numbers of one size, or of every size."""
        shape = (CHANNELS, self.depth, CHANNELS)
        if self.half:
            return laid_out(halves(shape, self.seed, self.kind), self.layout)
        with np.errstate(over="ignore", under="ignore"):
            x = np.ldexp(floats(shape, self.seed, self.kind), self.power)
        top = np.finfo(np.float32).max
        return laid_out(np.clip(x, -top, top).astype(np.float32), self.layout)


updates = st.builds(
    Update,
    depth=st.sampled_from((1, 2, 0, 7, 40)),
    seed=seeds,
    kind=finite_kinds,
    power=st.sampled_from((0, 1, -3, 20, -120, 126, -145)),
    half=st.booleans(),
    layout=layouts,
)
several = st.lists(updates, min_size=1, max_size=4)


def observed(make, arrays, library=halfbyte):
    """Return a new observer that has seen the arrays."""
    observer = make(library)
    for x in arrays:
        observer.update(x)
    return observer


def results(observer):
    """Every scale and zero point an observer gives."""
    return [
        part
        for bits in (8, 4, 3, 2)
        for symmetric in (True, False)
        for part in observer.scale_zero_point(bits, symmetric)
    ]


def assert_same_results(got, want, where=""):
    """Claim equal bits, and None where there is none."""
    for a, b in zip(results(got), results(want), strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            assert_same_bits(a, b, where)
