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
    halfbyte.linear(x, w, x_bits=width)
    halfbyte.linear(x, w, x_bits="8")  # type: ignore[arg-type]


def product(activation: Chosen | None) -> None:
    halfbyte.gemm_f16(w, w.T, alpha=2, activation=activation)
    halfbyte.gemm_f16(w, w.T, activation="rleu")  # type: ignore[arg-type]
    halfbyte.gemm_f16(w, w.T, alpha="2")  # type: ignore[arg-type]


def quantization(bits: int, name: str) -> None:
    halfbyte.quantize(x, bits=bits, method="mse", rounding="stochastic", seed=1)
    halfbyte.quantize(x, bits="4")  # type: ignore[arg-type]
    halfbyte.quantize(x, method="mes")  # type: ignore[arg-type]
    halfbyte.quantize(x, rounding=name)  # type: ignore[arg-type]
    halfbyte.requantize(x, 0.1, activation="relu")
    halfbyte.requantize(x, 0.1, activation="gelu")  # type: ignore[arg-type]
    halfbyte.HistogramObserver("mse").scale_zero_point(bits=bits)
    halfbyte.HistogramObserver("absmax")  # type: ignore[arg-type]
    halfbyte.formats.decode_onnx(x, 0.1, data_type="INT8")
    halfbyte.formats.decode_onnx(x, 0.1, data_type="INT9")  # type: ignore[arg-type]
    halfbyte.formats.decode_ggml(x, "Q4_1")  # type: ignore[arg-type]


def training(rate: float) -> None:
    optimizer = halfbyte.AdamW([w], lr=rate)
    optimizer.lr = optimizer.lr / 2
    optimizer.lr = "a"  # type: ignore[assignment]
    optimizer.betas = (0.9,)  # type: ignore[assignment]
    optimizer.lrate = 1  # type: ignore[attr-defined]
    optimizer.grad = [w]  # type: ignore[attr-defined]
    halfbyte.SGD([w], rate).nesterov = 1.5  # type: ignore[assignment]
