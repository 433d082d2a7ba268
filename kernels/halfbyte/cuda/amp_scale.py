# SPDX-License-Identifier: Apache-2.0
"""The loss scale and the count of good iterations in a GPU's memory, where updates change them.

Nothing here waits for the GPU but `read`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from halfbyte.arrays import single_bits
from halfbyte.batch import Batch
from halfbyte.cuda import amp, copies, runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halfbyte.amp.scale import Rule
    from halfbyte.cuda.amp_lists import Table

# What the kernel calls State.
_STATE = np.dtype(
    [
        ("scale", np.float32),
        ("inverse", np.float32),
        ("found", np.uint32),
        ("unused", np.uint32),
        ("tracker", np.int64),
    ]
)
_SETTINGS = np.dtype(
    [
        ("growth", np.float64),
        ("backoff", np.float64),
        ("interval", np.int64),
        ("least", np.float32),
        ("largest", np.float32),
    ]
)
_MOST = 2**62  # of what is counted
_BLOCK = 256


def upload(scale: float, tracker: int) -> Any:
    """Return a state."""
    state = np.zeros(1, _STATE)
    state["scale"], state["tracker"] = scale, min(tracker, _MOST)
    state["inverse"].view(np.uint32)[0] = single_bits(1.0 / scale)  # it may be subnormal
    return runtime.upload(state.view(np.uint8))


def read(state: Any) -> tuple[float, int]:
    """Return the scale and the count of good iterations; waits for the GPU."""
    host = runtime.download(state).view(_STATE)[0]
    return float(host["scale"]), int(host["tracker"])


def inverse(state: Any) -> Any:
    """Return the address of what undoes the scaling."""
    return _address(state, "inverse")


def unscale(sources: Batch, targets: Batch, state: Any) -> Any:
    """Write sources over the scale to targets.

    Returns a flag, whether all are finite, and notes it for the next update.
    """
    finite = runtime.flag(True)
    factor = amp.Factor(address=inverse(state))
    amp.multiply(sources, targets, factor, amp.Verdict(_address(state, "found"), finite))
    return finite


def look(table: Table | None, state: Any) -> Any:
    """Look at a step's gradients over the scale. None: there are none. Returns as `unscale`."""
    finite = runtime.flag(True)
    if table is not None:
        factor = amp.Factor(address=inverse(state))
        amp.look(table, factor, amp.Verdict(_address(state, "found"), finite))
    return finite


def update(state: Any, rule: Rule, *, bad: bool) -> None:
    """Adapt the scale to what was found. bad: whether something was found elsewhere."""
    _launch(state, rule, bad, 0.0, -1)


def set_scale(state: Any, scale: float) -> None:
    """Set the scale, and forget what was found."""
    _launch(state, None, False, scale, -1)


def load(state: Any, scale: float, tracker: int) -> None:
    """Set the scale and the count of good iterations."""
    _launch(state, None, False, scale, tracker)


def scaled(x: Any, state: Any) -> Any:
    """Return a float16, float32 or float64 array times the scale, in its dtype."""
    if x.dtype == np.float64:
        product = copies.copied(x)
        if x.size:
            arguments = (product, state, np.int64(x.size))
            runtime.launch("amp_losses", {}, -(-x.size // _BLOCK), _BLOCK, arguments)
        return product
    product = runtime.empty_like(x, x.dtype)
    factor = amp.Factor(address=_address(state, "scale"))
    amp.multiply(Batch([runtime.header(x)]), Batch([runtime.header(product)]), factor)
    return product


def variants() -> Iterator[tuple[str, dict[str, int | str]]]:
    """Yield the file and the defines of the kernels."""
    yield "amp_scale", {}
    yield "amp_losses", {}


def _address(state: Any, name: str) -> Any:
    return np.uint64(runtime.address(state) + _STATE.fields[name][1])  # type: ignore[index]


def _launch(state: Any, rule: Rule | None, bad: bool, scale: float, tracker: int) -> None:
    settings = np.zeros(1, _SETTINGS)
    if rule is not None:
        settings[0] = rule._replace(interval=min(rule.interval, _MOST + 1))
    numbers = (np.int32(bad), np.float32(scale), np.int64(min(tracker, _MOST)))
    runtime.launch("amp_scale", {}, 1, 1, (state, settings, *numbers))
