# SPDX-License-Identifier: Apache-2.0
"""Everything that the engine reads, with bytes that nobody should write.

Each module is about one surface. ``python -m nova_blockcopy.tests.fuzz`` runs
them all.
"""
