# SPDX-License-Identifier: Apache-2.0
"""The block copies of one guest. Runs on its destination."""
