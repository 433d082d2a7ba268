# SPDX-License-Identifier: Apache-2.0
"""Embeddings of the pipeline: a small network with random weights in place of the real one."""

import io

import numpy as np
import pytest

import halfbyte
from assertions import assert_same_bits
from bench.pipeline import (
    bert,
    embedders,
    embeddings,
    minilm,
    similarity,
    text,
)
from bench.pipeline.progress import Progress
from halfbyte_reference import bounds
from small_bert import HEADS, IDS, D, random_tensors

OURS = [contender for contender in embedders.contenders() if contender.library == "halfbyte"]
SCHEMES = {contender.scheme: contender for contender in OURS}


@pytest.fixture(scope="module")
def model():
    return bert.load(random_tensors(), HEADS)


@pytest.fixture(scope="module")
def baseline(model):
    return embedders.contenders()[0].make(model).embed


def made(model, library, scheme):
    (contender,) = (
        contender
        for contender in embedders.contenders()
        if (contender.library, contender.scheme) == (library, scheme)
    )
    return contender.make(model)


def test_embeddings_have_length_one(baseline):
    """A sum of d squares, half of whose error a root leaves; the root; and d quotients."""
    lengths = np.linalg.norm(baseline(IDS).astype(np.float64), axis=1)
    assert (np.abs(lengths - 1) <= bounds.gamma(D // 2 + 3, bounds.U32)).all()


# ---- halfbyte's schemes ------------------------------------------------------------------------
@pytest.mark.parametrize("scheme", SCHEMES)
def test_bits_are_those_of_the_reference(scheme, model):
    ours = SCHEMES[scheme].make(model)
    assert ours.embed(IDS).tobytes() == ours.reference(IDS).tobytes()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_embedding_does_not_depend_on_its_batch(scheme, model):
    embed = SCHEMES[scheme].make(model).embed
    assert embed(IDS[2:3])[0].tobytes() == embed(IDS)[2].tobytes()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_embeddings_do_not_depend_on_the_number_of_threads(scheme, model):
    embed = SCHEMES[scheme].make(model).embed
    before = halfbyte.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            halfbyte.set_num_threads(threads)
            results.append(embed(IDS).tobytes())
    finally:
        halfbyte.set_num_threads(before)
    assert results[0] == results[1]


def test_fewer_bits_are_fewer_bytes_and_farther_away(model, baseline):
    names = "FP16", "W8A8, per channel", "W4A8, groups of 32"
    schemes = [SCHEMES[name].make(model) for name in names]
    nbytes = [scheme.nbytes for scheme in schemes]
    near = [similarity.cosines(scheme.embed(IDS), baseline(IDS)).mean() for scheme in schemes]
    assert nbytes == sorted(nbytes, reverse=True)
    assert near == sorted(near, reverse=True)


def test_bytes_are_those_of_codes_and_scales(model):
    count = sum(weights.w.size for weights in model.linears)
    rows = sum(len(weights.w) for weights in model.linears)
    assert SCHEMES["FP16"].make(model).nbytes == 2 * count
    assert SCHEMES["W8A8, per channel"].make(model).nbytes == count + 4 * rows
    assert SCHEMES["W4A8, groups of 32"].make(model).nbytes == count // 2 + 4 * count // 32


@pytest.mark.parametrize("scheme", ["INT8, dynamic", "W4A8, groups of 32"])
def test_onnxruntime_gets_the_same_weights(scheme, model, onnx, onnxruntime):
    name = "W8A8, per channel" if scheme.startswith("INT8") else scheme
    ours, theirs = SCHEMES[name].make(model), made(model, "onnxruntime", scheme)
    assert ours.nbytes == theirs.nbytes
    assert similarity.cosines(ours.embed(IDS), theirs.embed(IDS)).min() > 0.999


# ---- what is measured --------------------------------------------------------------------------
def test_ranks_are_correlated_and_ties_share_theirs():
    x, y = np.array([1.0, 2.0, 2.0, 9.0]), np.array([7.0, 5.0, 6.0, 0.0])
    # Ranks 1, 2.5, 2.5, 4 and 4, 2, 3, 1: products of deviations -4.5, squares 4.5 and 5.
    assert similarity.spearman(x, y) == pytest.approx(-4.5 / np.sqrt(4.5 * 5))


def test_nearest_row_is_another_one():
    x = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]])
    assert similarity.nearest(x).tolist() == [1, 2, 1, 2]


def test_neighbours_of_each_sentence_count_once():
    # Within a cluster rows are ever farther apart, so that the last of it is nobody's nearest.
    angles = np.repeat([0.0, 1.0, 2.0, 3.0], 10) + np.tile(np.arange(10.0) ** 2 / 1000, 4)
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    labels = [f"{i // 10}" for i in range(40)]
    labels[9] = "another"
    tenths = similarity.neighbour_accuracy(x, labels)
    assert len(tenths) == 10
    assert np.mean(tenths) == pytest.approx(97.5)


def test_sentences_are_so_many_of_each_module():
    sentences = text.sentences(5, 8)
    modules = [sentence.module for sentence in sentences]
    assert len(set(modules)) == 5
    assert all(modules.count(module) == 8 for module in modules)
    assert len({sentence.text for sentence in sentences}) == 40


def test_sentences_are_chosen_by_a_seed():
    assert text.sentences(3, 8) == text.sentences(3, 8)
    assert text.sentences(3, 8) != text.sentences(3, 8, seed=1)


def test_sentences_of_one_length_are_a_batch(model):
    embed = SCHEMES["W8A8, per channel"].make(model).embed  # to the bit, whatever the batch
    sentences = [row[:length] for row, length in zip(IDS, (7, 3, 7, 2, 3), strict=True)]
    want = np.concatenate([embed(sentence[None]) for sentence in sentences])
    assert_same_bits(embeddings.embed_all(embed, sentences), want)


# ---- the whole ---------------------------------------------------------------------------------
@pytest.fixture
def progress():
    return Progress({"embeddings": 1.0}, io.StringIO())


@pytest.fixture
def small(monkeypatch, model):
    """The small network in place of the real one, and a number for each word."""

    def tokens(texts):
        return [np.array([len(w) for w in t.split()][:16], np.int64) for t in texts]

    monkeypatch.setattr(minilm, "missing", list)
    monkeypatch.setattr(minilm, "network", lambda: model)
    monkeypatch.setattr(minilm, "tokens", tokens)
    monkeypatch.setattr(embeddings, "SECONDS", 0.0)
    monkeypatch.setattr(embeddings, "BATCHES", (1, 4))


def test_run_has_a_row_for_each_contender(small, progress, torch, onnx, onnxruntime):
    rows = embeddings.run(quick=True, progress=progress)
    assert [(row.library, row.scheme) for row in rows] == [
        (contender.library, contender.scheme) for contender in embedders.contenders(quick=True)
    ]
    assert all(row.same_bits for row in rows if row.library == "halfbyte")
    assert all(set(row.milliseconds) == {1, 4} for row in rows)


def test_what_is_not_installed_is_a_row_that_says_so(small, progress, monkeypatch):
    spec = embeddings.importlib.util.find_spec
    absent = ("torch", "onnxruntime")
    monkeypatch.setattr(
        embeddings.importlib.util, "find_spec", lambda n: None if n in absent else spec(n)
    )
    rows = embeddings.run(quick=True, progress=progress)
    assert {row.library: row.note for row in rows if row.note} == dict.fromkeys(
        absent, "not installed"
    )
    assert "| not installed |" in embeddings.table(rows)


def test_rows_of_an_interrupted_run_are_kept(small, progress, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(embeddings, "_times", interrupted)
    rows = []
    with pytest.raises(KeyboardInterrupt):
        embeddings.run(quick=True, progress=progress, rows=rows)
    assert rows
    assert "| FP16 | halfbyte |" in embeddings.table(rows)


def test_without_the_weights_there_is_no_row_but_a_way_to_get_them(monkeypatch, progress):
    monkeypatch.setattr(minilm, "missing", lambda: [minilm.PACKAGE])
    assert embeddings.run(quick=True, progress=progress) == []
    assert minilm.INSTALL in progress.stream.getvalue()
