# SPDX-License-Identifier: Apache-2.0
"""The host that takes a guest; it answers the source."""
