# SPDX-License-Identifier: Apache-2.0
"""Statistics of rounds: ratios are formed within a round, and only then is a median taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

from bench.rows import Entry, Result


def quartiles(values: Mapping[int, float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile, interpolated linearly."""
    ordered = sorted(values.values())

    def at(fraction: float) -> float:
        place = fraction * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    return at(0.25), at(0.5), at(0.75)


def ratio(above: Mapping[int, float], below: Mapping[int, float]) -> float | None:
    """Median of above / below over the rounds that both took part in."""
    shared = above.keys() & below.keys()
    return median(above[r] / below[r] for r in shared) if shared else None


def of_roof(result: Result, entry: Entry | None) -> float | None:
    """Least possible time / time. A peer is compared with the roof of the same round."""
    if entry is None:
        return None
    return ratio(entry.least or _by_round(e.least for e in result.entries), entry.seconds)


def of_one(result: Result, entry: Entry | None, kind: str) -> float | None:
    """Time at one roof alone / time. A peer is compared with the roof of the same round."""
    if entry is None:
        return None
    alone = entry.alone.get(kind) or _by_round(e.alone.get(kind, {}) for e in result.entries)
    return ratio(alone, entry.seconds)


def of_copy(result: Result, entry: Entry | None) -> float | None:
    """np.copyto's time for as many bytes / time."""
    return of_one(result, entry, "copy")


def speedup(over: Entry | None, entry: Entry | None) -> float | None:
    """How many times faster `entry` is than `over`."""
    if over is None or entry is None:
        return None
    return ratio(over.seconds, entry.seconds)


def best_peer(result: Result, *, exact: bool = False) -> Entry | None:
    """The fastest that is not halfbyte; `exact`: of those whose every bit is the reference's."""
    peers = [e for e in result.entries if not e.ours and e.seconds]
    if exact:
        peers = [e for e in peers if e.verdict is not None and e.verdict.same_bits]
    return min(peers, key=lambda e: median(e.seconds.values()), default=None)


def _by_round(measured: Iterable[Mapping[int, float]]) -> dict[int, float]:
    """Medians over all who were there."""
    rounds: dict[int, list[float]] = {}
    for values in measured:
        for r, value in values.items():
            rounds.setdefault(r, []).append(value)
    return {r: median(values) for r, values in rounds.items()}
