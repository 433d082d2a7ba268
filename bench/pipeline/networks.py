# SPDX-License-Identifier: Apache-2.0
"""The networks: where layers stand. How a product is computed is an argument, `how`.

how.linear(layer, x), how.backward(layer, dy)     a layer, and its gradients
how.product(a, b), how.gradient(dx)               a product without weights; a gradient, rounded
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from bench.pipeline.data import CLASSES, SIDE
from bench.pipeline.devices import Array
from bench.pipeline.layers import (
    Linear,
    norm,
    norm_backward,
    number,
    reshaped,
    softmax,
    softmax_backward,
    windows,
    windows_backward,
)


class MLP:
    """Layers one after the other."""

    name = "MLP"
    chained = True  # a layer gives the next one its x

    def __init__(self, generator: np.random.Generator, hidden: int = 128, depth: int = 3) -> None:
        widths = [SIDE * SIDE, *[hidden] * (depth - 1), CLASSES]
        self.layers = [
            Linear.drawn(generator, k, n, "relu" if place < depth else None)
            for place, (k, n) in enumerate(itertools.pairwise(widths), 1)
        ]

    def forward(self, x: Array, how: Any) -> Array:
        for layer in self.layers:
            x = how.linear(layer, x)
        return x

    def backward(self, dy: Array, how: Any) -> None:
        for layer in reversed(self.layers):
            dy = how.backward(layer, dy)


class Convolution:
    """Two convolutions along the rows of an image, and a layer on all that they found."""

    name = "convolution"
    chained = True

    def __init__(self, generator: np.random.Generator, channels: int = 64) -> None:
        self.first = Linear.drawn(generator, 3 * SIDE, channels)
        self.second = Linear.drawn(generator, 3 * channels, channels)
        self.head = Linear.drawn(generator, (SIDE - 4) * channels, CLASSES, None)
        self.layers = [self.first, self.second, self.head]

    def forward(self, x: Array, how: Any) -> Array:
        images = x.shape[0]
        x = how.linear(self.first, windows(reshaped(x, images, SIDE, SIDE)))
        x = how.linear(self.second, windows(x))
        return how.linear(self.head, reshaped(x, images, x.shape[1] * x.shape[2]))

    def backward(self, dy: Array, how: Any) -> None:
        dy = how.backward(self.head, dy).reshape(dy.shape[0], SIDE - 4, -1)
        how.backward(self.first, windows_backward(how.backward(self.second, dy)))


class Block:
    """Attention, then two layers on each token; each is added to what it was given."""

    def __init__(self, generator: np.random.Generator, width: int, heads: int) -> None:
        self.heads = heads
        self.projections = Linear.drawn(generator, width, 3 * width, None)  # queries, keys, values
        self.out = Linear.drawn(generator, width, width, None)
        self.wide = Linear.drawn(generator, width, 2 * width)
        self.narrow = Linear.drawn(generator, 2 * width, width, None)
        self.layers = [self.projections, self.out, self.wide, self.narrow]

    def forward(self, x: Array, how: Any) -> Array:
        y, y_scale = norm(x)
        q, k, v = self.split(how.linear(self.projections, y))
        small = np.float32(q.shape[-1] ** -0.5)
        p = softmax(number(how.product(q, k.swapaxes(-1, -2))) * small)
        x = x + number(how.linear(self.out, self.joined(how.product(p, v))))
        z, z_scale = norm(x)
        self.seen = y, y_scale, q, k, v, p, z, z_scale, small
        return x + number(how.linear(self.narrow, how.linear(self.wide, z)))

    def backward(self, dy: Array, how: Any) -> Array:
        y, y_scale, q, k, v, p, z, z_scale, small = self.seen
        dz = number(how.backward(self.wide, how.backward(self.narrow, dy)))
        dx = dy + norm_backward(dz, z, z_scale)
        dh = self.divided(how.backward(self.out, dx))
        dp = number(how.product(dh, v.swapaxes(-1, -2)))
        ds = how.gradient(softmax_backward(dp, p) * small)
        parts = (
            how.product(ds, k),
            how.product(ds.swapaxes(-1, -2), q),
            how.product(p.swapaxes(-1, -2), dh),
        )
        dparts = np.concatenate([self.joined(part) for part in parts], axis=-1)
        return dx + norm_backward(number(how.backward(self.projections, dparts)), y, y_scale)

    def divided(self, x: Array) -> Array:
        """(images, tokens, width) as (heads, images, tokens, width / heads)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(2, 0, 1, 3)

    def joined(self, x: Array) -> Array:
        x = x.transpose(1, 2, 0, 3)
        return x.reshape(*x.shape[:2], -1)

    def split(self, x: Array) -> list[Array]:
        width = x.shape[-1] // 3
        return [self.divided(x[..., i * width : (i + 1) * width]) for i in range(3)]


class Transformer:
    """Two blocks that read the eight rows of an image as tokens."""

    name = "transformer"
    chained = False

    def __init__(self, generator: np.random.Generator, width: int = 64, heads: int = 2) -> None:
        # A row's pixels, and which row it is: the layer's weights hold the places' vectors, too.
        self.embedding = Linear.drawn(generator, 2 * SIDE, width, None)
        self.places = np.eye(SIDE, dtype=np.float32)
        self.blocks = [Block(generator, width, heads) for _ in range(2)]
        self.head = Linear.drawn(generator, width, CLASSES, None)
        inner = [layer for block in self.blocks for layer in block.layers]
        self.layers = [self.embedding, *inner, self.head]

    def forward(self, x: Array, how: Any) -> Array:
        rows = x.reshape(-1, SIDE, SIDE)
        self.places = np.asarray(self.places, like=rows)  # moved once
        tokens = np.concatenate([rows, np.broadcast_to(self.places, rows.shape)], axis=-1)
        x = number(how.linear(self.embedding, tokens))
        for block in self.blocks:
            x = block.forward(x, how)
        self.seen = norm(x)
        return how.linear(self.head, self.seen[0].mean(axis=1))

    def backward(self, dy: Array, how: Any) -> None:
        y, scale = self.seen
        dmean = number(how.backward(self.head, dy)) / np.float32(SIDE)
        dx = norm_backward(np.broadcast_to(dmean[:, None], y.shape), y, scale)
        for block in reversed(self.blocks):
            dx = block.backward(dx, how)
        how.backward(self.embedding, dx)


NETWORKS = (MLP, Convolution, Transformer)
