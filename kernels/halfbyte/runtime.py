# SPDX-License-Identifier: Apache-2.0
"""Threads, and compiling ahead of the first call."""

from __future__ import annotations

import operator


def set_num_threads(n: int) -> None:
    """Set how many threads a call on NumPy arrays may use, the calling one included.

    Parameters
    ----------
    n : int
        From 1 to 1024. Results do not depend on it.

    Raises
    ------
    TypeError
        `n` is not an integer.
    ValueError
        `n` is out of range.

    Examples
    --------
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    """
    from halfbyte.cpu import threads

    try:
        count = operator.index(n)
    except TypeError:
        msg = f"set_num_threads: n is a {type(n).__name__}; need an integer"
        raise TypeError(msg) from None
    if not 1 <= count <= threads.MOST:
        msg = f"set_num_threads: n is {count}; need 1 to {threads.MOST}"
        raise ValueError(msg)
    threads.set_num_threads(count)


def get_num_threads() -> int:
    """Return how many threads a call on NumPy arrays may use, the calling one included.

    By default the environment variable HALFBYTE_NUM_THREADS, else the CPUs this process may use.
    """
    from halfbyte.cpu import threads

    return threads.get_num_threads()


def warm_up() -> None:
    """Compile every CPU kernel, or load it from the cache on disk, before the first call needs it.

    Takes about two minutes of one core the first time on a machine, and half a second later. What
    is being compiled is logged by the logger "halfbyte", at level INFO.
    """
    from halfbyte.cpu import warm

    warm.compile_all()
