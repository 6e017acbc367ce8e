# SPDX-License-Identifier: Apache-2.0
"""What one host does: each module is an edge to a system outside."""
