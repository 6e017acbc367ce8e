# SPDX-License-Identifier: Apache-2.0
"""The place where nova-compute looks for its ``compute_driver``."""

from nova_blockcopy.nova.driver import BlockCopyLibvirtDriver

__all__ = ['BlockCopyLibvirtDriver']
