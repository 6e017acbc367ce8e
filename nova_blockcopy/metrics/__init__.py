# SPDX-License-Identifier: Apache-2.0
"""The migrations of one host as figures for Prometheus."""
