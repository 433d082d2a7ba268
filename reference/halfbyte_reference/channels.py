# SPDX-License-Identifier: Apache-2.0
"""Channels: the elements that share one scale, and where that scale lies.

axis None, group_size None   one channel                       scale ()
axis a                       one for each index along a        scale (shape[a],)
group_size g                 g neighbours along the last axis  scale shape[:-1] + (ceil(k / g),)
"""

import math

import numpy as np


def gather(x: np.ndarray, axis: int | None, group_size: int | None) -> np.ndarray:
    """Return the elements of each channel along a last axis: scale's shape + (elements,).

    A short last group is filled up with zeros: 0 is in every range and its code means exactly 0,
    so it moves neither an extreme nor an error.
    """
    if axis is not None:
        x = np.moveaxis(x, axis, 0)
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))
    if group_size is None:
        return x.reshape(x.size)
    groups = -(-x.shape[-1] // group_size)
    filled = np.zeros((*x.shape[:-1], groups * group_size), x.dtype)
    filled[..., : x.shape[-1]] = x
    return filled.reshape(*x.shape[:-1], groups, group_size)


def spread(
    values: np.ndarray, shape: tuple[int, ...], axis: int | None, group_size: int | None
) -> np.ndarray:
    """Return each element's own entry of `values`: the shape of a scale, or () for all channels."""
    if values.ndim and axis is not None:
        along = [1] * len(shape)
        along[axis] = shape[axis]
        values = values.reshape(along)
    elif values.ndim and group_size is not None:
        values = np.repeat(values, group_size, axis=-1)[..., : shape[-1]]
    return np.broadcast_to(values, shape)
