# SPDX-License-Identifier: Apache-2.0
"""A small BERT with random weights."""

import numpy as np

D, LAYERS, WORDS, HEADS = 64, 2, 100, 4
IDS = np.random.default_rng(1).integers(0, WORDS, (5, 7))


def random_tensors(seed=0, size=1.0):
    """A checkpoint, by the names that BERT's have. size: of what linear layers add."""
    rng = np.random.default_rng(seed)

    def normal(*shape, size=1.0):
        return (size * rng.standard_normal(shape)).astype(np.float32)

    def norm(name):
        return {
            f"{name}.LayerNorm.weight": 1 + normal(D, size=0.1),
            f"{name}.LayerNorm.bias": normal(D, size=0.1),
        }

    def linear(name, n, k):
        w = normal(n, k, size=size * k**-0.5)
        return {f"{name}.weight": w, f"{name}.bias": normal(n, size=0.1)}

    tensors = norm("embeddings")
    for kind, length in (("word", WORDS), ("position", 16), ("token_type", 2)):
        tensors[f"embeddings.{kind}_embeddings.weight"] = normal(length, D)
    for i in range(LAYERS):
        name = f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            tensors |= linear(f"{name}.attention.self.{part}", D, D)
        tensors |= linear(f"{name}.attention.output.dense", D, D)
        tensors |= norm(f"{name}.attention.output")
        tensors |= linear(f"{name}.intermediate.dense", 4 * D, D)
        tensors |= linear(f"{name}.output.dense", D, 4 * D) | norm(f"{name}.output")
    return tensors
