# SPDX-License-Identifier: Apache-2.0
"""Whole stories of servers, on a cloud."""
