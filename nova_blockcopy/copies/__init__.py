# SPDX-License-Identifier: Apache-2.0
"""The block jobs of one guest, and the seeding of the guest's bases.

The destination seeds the bases and copies disks into them. The source merges
deltas by the same classes.
"""
