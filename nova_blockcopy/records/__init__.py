# SPDX-License-Identifier: Apache-2.0
"""The files that outlive the process: journals and notes."""
