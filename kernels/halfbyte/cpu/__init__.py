# SPDX-License-Identifier: Apache-2.0
"""The CPU backend: Numba kernels. Imports nothing from `halfbyte.cuda`."""
