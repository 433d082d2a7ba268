# SPDX-License-Identifier: Apache-2.0
"""Each operation keeps on each backend what README promises of it."""

import pathlib

import pytest

from backends import all_backends, device_backends
from promises import ROWS, Judge, table

README = pathlib.Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("operation", ROWS)
def test_operation_keeps_its_promise(operation, backend):
    judge = Judge(backend)
    ROWS[operation](backend, judge)
    assert judge.cell


def test_readme_promises_what_was_judged(nvrtc):
    lines = table([all_backends()[-1], device_backends()[0]])
    assert "\n".join(lines) in README.read_text(encoding="utf-8"), "\n".join(lines)
