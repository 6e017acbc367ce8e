# SPDX-License-Identifier: Apache-2.0
"""Threads, waiting, and functions that run as root."""
