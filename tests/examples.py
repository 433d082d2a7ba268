# SPDX-License-Identifier: Apache-2.0
"""How many examples Hypothesis draws for a test, chosen while it runs."""

from contextlib import contextmanager

from hypothesis import settings

# Where `@given` keeps a test's settings, and looks for them whenever it runs.
_SETTINGS = "_hypothesis_internal_use_settings"


@contextmanager
def examples_of(test, most):
    """Draw no more than `most` examples for a test of Hypothesis within the block."""
    before = getattr(test, _SETTINGS, None)
    if before is None:
        yield
        return
    count = min(most, before.max_examples)
    setattr(test, _SETTINGS, settings(parent=before, max_examples=count))
    try:
        yield
    finally:
        setattr(test, _SETTINGS, before)
