# SPDX-License-Identifier: Apache-2.0
"""The command ``nova-blockcopy``, for the migrations of this host."""
