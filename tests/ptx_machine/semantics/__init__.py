# SPDX-License-Identifier: Apache-2.0
"""The meaning of PTX instructions on NumPy arrays.

Every instruction is an entry of a table, under its full name: one that is not there is not known,
whatever it resembles.
"""
