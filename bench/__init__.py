# SPDX-License-Identifier: Apache-2.0
"""Speedup tables: `python -m bench`, from the root of the repository.

Every contender lives in a process of its own (`worker`), and they take turns in rounds
(`contenders`): in one process, another library's idle threads spin and steal a core. Ratios are
formed within a round, then their median is taken, so the drift of a noisy machine cancels. The
roofs (`roofs`) are measured around every sample of halfbyte, in its process.

A new operation is one file with rows, named in `rows.OPERATIONS`; see `rows`.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# The reference is not installed: it is found by its place in the repository.
if str(ROOT / "reference") not in sys.path:
    sys.path.insert(0, str(ROOT / "reference"))
