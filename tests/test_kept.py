# SPDX-License-Identifier: Apache-2.0
"""Compiled kernels are kept on disk, found by other processes, and done without where need be."""

import functools
from pathlib import Path
from unittest import mock

import pytest
from numba.core import config

import children
from halfbyte.cpu import kept

run_child = functools.partial(children.run_child, module="children_that_compile")


def said_by(child):
    assert child.returncode == 0, child.stderr
    return child.stdout.splitlines()


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """Return a folder of kernels, and what the process that compiled them said."""
    folder = tmp_path_factory.mktemp("warm")
    return str(folder), said_by(run_child("cast", NUMBA_CACHE_DIR=str(folder)))


def test_compiling_is_logged(warm):
    assert [line.rpartition(" for ")[0] for line in warm[1]] == [
        "INFO compiling to_half",
        "INFO compiling to_single",
    ]


def test_compiled_kernels_are_found_by_the_next_process(warm):
    assert said_by(run_child("cast", NUMBA_CACHE_DIR=warm[0])) == []


def test_compiled_kernels_are_found_where_nothing_can_be_written(warm):
    assert said_by(run_child("cast", "EACCES", NUMBA_CACHE_DIR=warm[0])) == []


@pytest.mark.parametrize("failure", ["EACCES", "ENOSPC"])
def test_kernels_that_cannot_be_kept_are_warned_of_once(failure, tmp_path):
    said = said_by(run_child("cast", failure, NUMBA_CACHE_DIR=str(tmp_path)))
    warned = [line for line in said if not line.startswith("INFO")]
    assert len(warned) == 1
    assert warned[0].startswith("WARNING compiled kernels cannot be kept in ")
    assert str(tmp_path) in warned[0]


def test_folder_that_cannot_be_made_is_warned_of(tmp_path):
    (tmp_path / "file").touch()
    said = said_by(run_child("cast", NUMBA_CACHE_DIR=str(tmp_path / "file")))
    assert any(line.startswith("WARNING compiled kernels cannot") for line in said)


def test_interpreted_kernels_are_refused():
    child = run_child("cast", NUMBA_DISABLE_JIT="1")
    assert child.stderr.splitlines()[-1].startswith("RuntimeError: halfbyte: NUMBA_DISABLE_JIT is")


def kernel():
    """Stand for a function with a file, beside which Numba would keep it."""


@pytest.fixture
def several(monkeypatch):
    """Return a cache whose places are those where NUMBA_CACHE_DIR is not set."""
    monkeypatch.setattr(config, "CACHE_DIR", "")
    kept._kinds.cache_clear()
    cache = kept.Cache(kernel)
    assert len(cache._caches) >= 2
    yield cache
    kept._kinds.cache_clear()


def test_first_place_is_beside_the_source(several):
    assert several.cache_path == str(Path(__file__).parent / "__pycache__")


def test_next_place_is_asked_where_one_cannot_be_read(several, monkeypatch):
    first, second, *_ = several._caches
    monkeypatch.setattr(first, "load_overload", mock.Mock(side_effect=PermissionError))
    monkeypatch.setattr(second, "load_overload", lambda *_: "compiled")
    assert several.load_overload(None, None) == "compiled"


def test_next_place_keeps_what_one_cannot(several, monkeypatch, tmp_path):
    first, second, *_ = several._caches
    kept_in = []
    for cache, keep in ((first, mock.Mock(side_effect=PermissionError)), (second, kept_in.append)):
        monkeypatch.setattr(cache, "_cache_path", str(tmp_path))
        monkeypatch.setattr(cache, "save_overload", lambda _, compiled, keep=keep: keep(compiled))
    several.save_overload(None, "compiled")
    assert kept_in == ["compiled"]
