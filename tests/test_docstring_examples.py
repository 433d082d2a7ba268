# SPDX-License-Identifier: Apache-2.0
"""Examples in docstrings run as they stand, and print what they say."""

import doctest

import numpy as np
import pytest

import halfbyte

MODULES = halfbyte, halfbyte.formats
PUBLIC = {name: getattr(module, name) for module in MODULES for name in module.__all__}
CALLED = {name: value for name, value in PUBLIC.items() if callable(value)}
# What they may use: `import numpy as np`, `from halfbyte import *`, and that of formats.
NAMES = {"np": np, **PUBLIC}
# Made by functions whose examples show them, without an argument, or without a result.
NO_EXAMPLE = {"PackedMatrix", "MatMulNBits", "OnnxTensors", "get_num_threads", "warm_up"}


def examples_of(name):
    """Every example of this class or function, and of the class's methods."""
    found = doctest.DocTestFinder().find(CALLED[name], name, globs=NAMES)
    return [test for test in found if test.examples]


@pytest.fixture
def threads():
    """The number of threads is afterwards as before."""
    before = halfbyte.get_num_threads()
    yield
    halfbyte.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("name", CALLED)
def test_examples_print_what_they_say(name):
    runner, printed = doctest.DocTestRunner(), []
    for test in examples_of(name):
        runner.run(test, out=printed.append)
    assert not printed, "".join(printed)


def test_all_have_examples_but_these():
    assert {name for name in CALLED if not examples_of(name)} == NO_EXAMPLE
