# SPDX-License-Identifier: Apache-2.0
"""python -m bench.pipeline.embeddings [--quick]    real weights: embeddings of sentences

all-MiniLM-L6-v2 with its linear layers through `halfbyte.linear`, in each scheme, on docstrings of
the standard library: how far the embeddings are from those in FP32, how often a sentence's nearest
neighbour is from the same module, bytes, and time; beside torch and onnxruntime where installed.

No scheme is calibrated: scales come from the weights, and from each row of x in its turn.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import platform
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

import halfbyte
from bench import machine
from bench.pipeline import minilm, similarity, text
from bench.pipeline.bert import moved
from bench.pipeline.devices import CPU, Array, Device, on_host
from bench.pipeline.embedders import Contender, Embedder, Made, contenders
from bench.pipeline.progress import Progress
from bench.pipeline.table import Embedded, difference, spread

FULL, QUICK = (40, 12), (12, 8)  # modules, sentences of each
BATCHES = (1, 32)
ROUNDS, QUICK_ROUNDS = 5, 1  # in which contenders take turns
SECONDS = 0.03  # of a turn, at least


class Corpus(NamedTuple):
    ids: list[np.ndarray]  # a sentence each
    labels: list[str]

    @property
    def median(self) -> int:
        """Tokens of a sentence."""
        return int(statistics.median(map(len, self.ids)))

    def of_one_length(self, count: int) -> np.ndarray:
        """So many sentences of the median length: longer ones, shortened."""
        long = [ids for ids in self.ids if len(ids) >= self.median][:count]
        return np.stack([np.append(ids[: self.median - 1], ids[-1]) for ids in long])


def corpus_of(*, quick: bool) -> Corpus:
    sentences = text.sentences(*(QUICK if quick else FULL))
    ids = minilm.tokens([sentence.text for sentence in sentences])
    return Corpus(ids, [sentence.module for sentence in sentences])


def steps(*, quick: bool, device: Device = CPU) -> int:
    """How often `run` says progress.step."""
    return (
        1
        + len(contenders(quick=quick, library=device.library))
        + (QUICK_ROUNDS if quick else ROUNDS)
    )


def run(
    quick: bool, progress: Any, rows: list[Embedded] | None = None, device: Device = CPU
) -> list[Embedded]:
    """A row for each contender, FP32 first; each is in `rows` as soon as it is known, times last.

    Returns `rows`; without any where something is not installed, which `progress` is told.
    """
    rows = [] if rows is None else rows
    missing = ", ".join(minilm.missing())
    if missing:
        progress.note(f"embeddings: left out, not installed: {missing} ({minilm.INSTALL})")
        return rows
    progress.step("embeddings: docstrings")
    corpus, model = corpus_of(quick=quick), minilm.network()
    there = moved(model, device)
    embedders: dict[int, Embedder] = {}  # by row
    baseline = None
    with others_on_one_thread():
        for i, contender in enumerate(contenders(quick=quick, library=device.library)):
            progress.step(f"embeddings: {contender.scheme}, {contender.library}")
            note = _absent(contender.library, device)
            if note:
                absent = Embedded(contender.scheme, None, None, None, None)
                rows.append(replace(absent, library=contender.library, note=note))
                continue
            made = contender.make(model if contender.library == "torch" else there)
            embeddings = embed_all(made.embed, corpus.ids, device)
            baseline = embeddings if baseline is None else baseline
            rows.append(_row(contender, made, embeddings, baseline, corpus, device))
            embedders[i] = made.embed
        times = _times(embedders, corpus, QUICK_ROUNDS if quick else ROUNDS, progress, device)
    for i, of_row in times.items():
        rows[i] = replace(rows[i], milliseconds=of_row)
    return rows


def _absent(library: str, device: Device) -> str:
    """Why a library is left out, if it is."""
    if importlib.util.find_spec(library) is None:
        return "not installed"
    if library == "torch" and device.library == "cupy":
        import torch

        return "" if torch.cuda.is_available() else "no CUDA"
    return ""


def embed_all(embed: Embedder, ids: Sequence[np.ndarray], device: Device = CPU) -> np.ndarray:
    """The embeddings of all sentences: those of one length are a batch, so that none is padded."""
    by_length = defaultdict(list)
    for i, sentence in enumerate(ids):
        by_length[len(sentence)].append(i)

    def embedded(batch: list[np.ndarray]) -> np.ndarray:
        return on_host(embed(device.asarray(np.stack(batch))))

    parts = {
        i: row
        for members in by_length.values()
        for i, row in zip(members, embedded([ids[i] for i in members]), strict=True)
    }
    return np.stack([parts[i] for i in range(len(ids))])


def _row(
    contender: Contender,
    made: Made,
    x: np.ndarray,
    baseline: np.ndarray,
    corpus: Corpus,
    device: Device,
) -> Embedded:
    same_bits = None
    if made.reference is not None:
        shortest = device.asarray(min(corpus.ids, key=len)[None])
        got, want = (on_host(embed(shortest)) for embed in (made.embed, made.reference))
        same_bits = got.tobytes() == want.tobytes()
    return Embedded(
        contender.scheme,
        float(similarity.cosines(x, baseline).mean()),
        similarity.spearman(similarity.pairwise(x), similarity.pairwise(baseline)),
        similarity.neighbour_accuracy(x, corpus.labels),
        made.nbytes,
        library=contender.library,
        same_bits=same_bits,
    )


# ---- time --------------------------------------------------------------------------------------
def _times(
    embedders: dict[int, Embedder],
    corpus: Corpus,
    rounds: int,
    progress: Any,
    device: Device,
) -> dict[int, dict[int, float]]:
    """Milliseconds a sentence, by embedder and batch, on one thread or a GPU: the fastest of the
    rounds, for what else runs only adds."""
    batches = {count: device.asarray(corpus.of_one_length(count)) for count in BATCHES}
    seen: dict[tuple[int, int], list[float]] = defaultdict(list)
    threads = halfbyte.get_num_threads()
    halfbyte.set_num_threads(1)
    try:
        for i in range(rounds):
            progress.step(f"embeddings: times, round {i + 1} of {rounds}")
            for key, embed in embedders.items():
                for count, ids in batches.items():
                    seen[key, count].append(_milliseconds(embed, ids, device) / count)
    finally:
        halfbyte.set_num_threads(threads)
    return {key: {n: min(seen[key, n]) for n in BATCHES} for key in embedders}


def _milliseconds(embed: Embedder, ids: Array, device: Device) -> float:
    """Of a call that follows others. What a GPU has been asked for is waited for each time."""
    embed(ids)
    device.wait()
    calls, began = 0, time.perf_counter()
    while True:
        embed(ids)
        device.wait()
        calls += 1
        took = time.perf_counter() - began
        if took >= SECONDS:
            return 1000 * took / calls


@contextlib.contextmanager
def others_on_one_thread() -> Iterator[None]:
    """NumPy's BLAS and torch on one thread: what they return may depend on the number of threads,
    and threads that wait by spinning take the cores of whoever comes next."""
    from threadpoolctl import threadpool_limits

    torch: Any = None
    if importlib.util.find_spec("torch"):
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        if torch is not None:
            torch.set_num_threads(threads)


# ---- table -------------------------------------------------------------------------------------
NOTES = """\
A sentence is the first paragraph of a docstring; nearest neighbours are looked for among all
sentences, and accuracy is the mean of their tenths ± its standard deviation. Differences to FP32
are paired, ± the half of a 95 % interval; of so many intervals one or another misses. No scheme was
shown any data: scales are those of the weights, and of x as it comes. halfbyte quantizes x a row at
a time, torch and onnxruntime's INT8 a batch at a time, onnxruntime's 4 bits a block at a time.

MB are the weights of linear layers and their scales; tables of words and positions, 47.7 MB in
FP32, are the same in all rows. Milliseconds are a sentence's, of the median number of tokens, on
one thread. What is not a linear layer is NumPy in the rows of numpy and halfbyte, and compiled code
in those of torch and onnxruntime.
"""
HEADER = (
    *("linear layers", "by", "cosine", "Spearman", "same module, %", "difference", "MB"),
    *(f"ms, batch {count}" for count in BATCHES),
    "bits",
)


def table(rows: Sequence[Embedded]) -> str:
    """The rows in Markdown."""
    lines = [HEADER, ("---",) * len(HEADER), *(_cells(row, rows[0]) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(row: Embedded, baseline: Embedded) -> tuple[str, ...]:
    if row.accuracy is None:
        return (row.scheme, row.library, row.note, *[""] * (len(HEADER) - 3))
    apart, half = difference(row, baseline)
    return (
        row.scheme,
        row.library,
        f"{row.cosine:.4f}",
        f"{row.spearman:.4f}",
        spread(row.accuracy),
        "" if row is baseline else f"{round(apart, 2) + 0.0:+.2f} ± {half:.2f}",
        f"{row.nbytes / 1e6:.2f}",
        *(f"{row.milliseconds[n]:.2f}" if row.milliseconds else "" for n in BATCHES),
        {True: "reference's", False: "DIFFERENT", None: ""}[row.same_bits],
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.pipeline.embeddings",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer sentences")
    quick = parser.parse_args(argv).quick
    progress = Progress({"embeddings": 1.0})
    progress.phase("embeddings", steps(quick=quick))
    rows: list[Embedded] = []
    complete = False
    try:
        run(quick, progress, rows)
        complete = True
    except KeyboardInterrupt:
        pass
    progress.end()
    if rows:
        described = machine.describe()
        print(f"{described['cpu']}, Python {platform.python_version()}, one thread\n")
        print(table(rows), NOTES, sep="\n\n", end="")
    if not complete:
        print("\ninterrupted: incomplete")
    return 1 if not complete or any(row.same_bits is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
