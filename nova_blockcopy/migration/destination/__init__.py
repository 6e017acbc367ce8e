# SPDX-License-Identifier: Apache-2.0
"""The destination: the host that takes a guest and answers the source."""
