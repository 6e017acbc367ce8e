# SPDX-License-Identifier: Apache-2.0
"""The compute driver that nova-compute loads.

The driver runs the engine for block live migrations, and leaves everything
else to Nova's libvirt driver. Only ``compat`` imports from Nova. It names
everything of Nova that this package uses.
"""
