# SPDX-License-Identifier: Apache-2.0
"""Processes that compile a kernel, or find it compiled: see `children.run_child`."""

import errno
import logging
import sys
from unittest import mock

import numpy as np
from numba.core import caching

import halfbyte


def cast(failure=""):
    """Cast both ways, and print what is logged. failure: name of the error that each attempt to
    write ends with."""
    logging.basicConfig(level="INFO", stream=sys.stdout, format="%(levelname)s %(message)s")
    if failure:
        error = OSError(getattr(errno, failure), "no")
        caching.IndexDataCacheFile._open_for_write = mock.Mock(side_effect=error)
    x = np.array([1.5, -2.0], np.float32)
    if not (halfbyte.to_f32(halfbyte.to_f16(x)) == x).all():
        msg = "another result"
        raise AssertionError(msg)
