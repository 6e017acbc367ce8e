# SPDX-License-Identifier: Apache-2.0
"""One migration between two hosts, and the channel between them."""
