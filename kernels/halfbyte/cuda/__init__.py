# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels, and what compiles and launches them. Imported when a GPU array arrives."""
