# SPDX-License-Identifier: Apache-2.0
"""The host that gives a guest away; it decides every step."""
