# SPDX-License-Identifier: Apache-2.0
"""The package as users meet it: its names, its version, and how little importing it loads."""

from importlib import metadata, resources

import pytest

import children
import halfbyte

PUBLIC = (
    "HistogramObserver",
    "Int4Array",
    "MinMaxObserver",
    "MovingAverageObserver",
    "PackedMatrix",
    "QuantizedTensor",
    "dequantize",
    "fake_quantize",
    "fake_quantize_backward",
    "formats",
    "gemm_f16",
    "get_num_threads",
    "linear",
    "prepack",
    "quantize",
    "requantize",
    "set_num_threads",
    "to_f16",
    "to_f32",
    "warm_up",
)


def test_nothing_else_is_public():
    assert set(halfbyte.__all__) == set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_name_is_public(name):
    assert name in halfbyte.__all__


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_has_a_docstring(name):
    assert getattr(halfbyte, name).__doc__


@pytest.mark.parametrize("name", halfbyte.formats.__all__)
def test_name_of_formats_has_a_docstring(name):
    assert getattr(halfbyte.formats, name).__doc__


@pytest.mark.parametrize("heavy", ["numba", "llvmlite", "cupy", "torch", "halfbyte_reference"])
def test_import_does_not_load(heavy):
    child = children.run_child("print_modules_after_import", "halfbyte")
    assert child.returncode == 0, child.stderr
    assert heavy not in child.stdout.split()


@pytest.mark.parametrize("name", ["halfbyte", "numba", "torch", "scipy"])
def test_reference_does_not_load(name):
    child = children.run_child("print_modules_after_import", "halfbyte_reference")
    assert child.returncode == 0, child.stderr
    assert name not in child.stdout.split()


def test_package_is_typed():
    assert (resources.files("halfbyte") / "py.typed").is_file()


def test_version_is_the_distributions():
    try:
        installed = metadata.version("halfbyte")
    except metadata.PackageNotFoundError:
        pytest.skip("no distribution named halfbyte is installed")
    assert halfbyte.__version__ == installed
