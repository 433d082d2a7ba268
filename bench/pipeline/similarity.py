# SPDX-License-Identifier: Apache-2.0
"""How far embeddings, unit vectors in rows, are from others, and what they are good for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FOLDS = 10


def cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The cosine between each row of x and that row of y."""
    return np.einsum("ij,ij->i", x, y, dtype=np.float64)


def pairwise(x: np.ndarray) -> np.ndarray:
    """The cosine of each pair of rows."""
    upper = np.triu_indices(len(x), k=1)
    return (x @ x.T)[upper]


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """The correlation of the ranks of x with those of y; equal values share their mean rank."""
    return float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])


def _ranks(x: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def nearest(x: np.ndarray) -> np.ndarray:
    """For each row the index of another row that is nearest to it."""
    similar = x @ x.T
    np.fill_diagonal(similar, -np.inf)
    return similar.argmax(axis=1)


def neighbour_accuracy(
    x: np.ndarray, labels: Sequence[str], folds: int = FOLDS, seed: int = 0
) -> tuple[float, ...]:
    """Per cent of rows whose nearest row has their label, in each of so many disjoint parts.

    The parts are the same for any x, so that those of two schemes are pairs.
    """
    _, numbers = np.unique(labels, return_inverse=True)
    right = numbers[nearest(x)] == numbers
    order = np.random.default_rng(seed).permutation(len(x))
    return tuple(100 * float(right[part].mean()) for part in np.array_split(order, folds))
