# SPDX-License-Identifier: Apache-2.0
"""Calls as a user types them, for mypy alone: an error that is ignored here and is none, is one."""

from typing import Literal

import numpy as np

import halfbyte

x = np.ones((2, 4), np.float32)
w = halfbyte.to_f16(np.ones((3, 4), np.float32))
Chosen = Literal["gelu", "silu"]


def layer(activation: Chosen | None, name: str, width: int) -> None:
    halfbyte.linear(x, w, activation=activation)
    halfbyte.linear(x, w, activation="relu", x_bits=16)
    halfbyte.linear(x, w, activation=None, x_bits=8)
    halfbyte.linear(x, w, activation="rleu")  # type: ignore[arg-type]
    halfbyte.linear(x, w, activation=name)  # type: ignore[arg-type]
    halfbyte.linear(x, w, x_bits=7)  # type: ignore[arg-type]
    halfbyte.linear(x, w, x_bits=width)  # type: ignore[arg-type]


def product(activation: Chosen | None) -> None:
    halfbyte.gemm_f16(w, w.T, alpha=2, activation=activation)
    halfbyte.gemm_f16(w, w.T, activation="rleu")  # type: ignore[arg-type]
    halfbyte.gemm_f16(w, w.T, alpha="2")  # type: ignore[arg-type]
