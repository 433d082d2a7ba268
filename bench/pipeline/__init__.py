# SPDX-License-Identifier: Apache-2.0
"""`python -m bench pipeline`: networks trained in mixed precision, quantized, trained again in
few bits, on real data, with halfbyte's public functions.

`story` tells it phase by phase; each phase is a file, and so are the networks' layers. What a phase
finds are rows of `table`.
"""
