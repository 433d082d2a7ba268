# SPDX-License-Identifier: Apache-2.0
"""What the pipeline finds: a row for each scheme of a network, and a row for each of real weights.

Accuracies are kept seed by seed, so that differences to FP32 are paired: both networks of a pair
have seen the same data, and are tested on the same digits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev

# Two-sided 95 % points of Student's t with 1, 2, ... degrees of freedom (Abramowitz, Stegun 26.10).
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass
class Row:
    """A scheme of a network on digits; it is filled seed by seed."""

    network: str  # "MLP", "transformer", "convolution"
    scheme: str  # as in "W8A8 static, per channel"
    accuracy: list[float] = field(default_factory=list)  # of the test data, in percent, a seed each
    nbytes: int | None = None  # of all parameters, scales and zero points included
    milliseconds: dict[int, float] = field(default_factory=dict)  # of a batch of so many
    numpy: dict[int, float] = field(default_factory=dict)  # the same in FP32
    torch: dict[int, float] = field(default_factory=dict)
    torch_kind: str = ""  # what torch did: "f32", "int8"
    same_bits: bool | None = None  # as the reference's integer path; None: there is none
    of_bound: float | None = None  # largest distance to the fake-quantized product, of its bound

    def add(self, other: Row) -> None:
        """Another seed's."""
        self.accuracy += other.accuracy
        self.nbytes = other.nbytes
        if other.same_bits is not None:
            self.same_bits = other.same_bits and self.same_bits is not False
        if other.of_bound is not None:
            self.of_bound = max(other.of_bound, self.of_bound or 0.0)


@dataclass(frozen=True)
class Embedded:
    """A scheme of a network with real weights, on real text."""

    scheme: str
    cosine: float | None  # mean cosine similarity to the FP32 embeddings
    spearman: float | None  # of pairwise similarities, with those of FP32
    accuracy: tuple[float, ...] | None  # per cent, in each tenth, of sentences whose nearest
    # neighbour has their label
    nbytes: int | None  # of the linear layers' weights, scales and zero points included
    milliseconds: dict[int, float] = field(default_factory=dict)  # of a sentence, by batch
    library: str = "halfbyte"
    same_bits: bool | None = None  # as the reference's integer path; None: there is none
    note: str = ""  # such as "not installed"


def difference(row: Row | Embedded, baseline: Row | Embedded) -> tuple[float, float]:
    """The mean of paired differences, and half the width of its 95 % interval."""
    # An interrupted run has fewer seeds of what comes last.
    pairs = [x - y for x, y in zip(row.accuracy, baseline.accuracy, strict=False)]
    if len(pairs) < 2:
        return mean(pairs), math.inf
    return mean(pairs), STUDENT[len(pairs) - 2] * stdev(pairs) / math.sqrt(len(pairs))


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    return f"{mean(values):.2f} ± {stdev(values) if len(values) > 1 else 0:.2f}"
