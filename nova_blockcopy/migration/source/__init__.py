# SPDX-License-Identifier: Apache-2.0
"""The source: the host that gives a guest away and decides every step."""
