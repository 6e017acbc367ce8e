# SPDX-License-Identifier: Apache-2.0
"""Threads, waiting and rights: how work runs in this process."""
