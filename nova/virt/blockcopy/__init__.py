# SPDX-License-Identifier: Apache-2.0
"""Where nova-compute looks for ``compute_driver = blockcopy.…``."""

from nova_blockcopy.nova.driver import BlockCopyLibvirtDriver

__all__ = ['BlockCopyLibvirtDriver']
