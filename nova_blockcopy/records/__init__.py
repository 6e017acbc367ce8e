# SPDX-License-Identifier: Apache-2.0
"""The files that outlive this process: journals and notes."""
