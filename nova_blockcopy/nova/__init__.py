# SPDX-License-Identifier: Apache-2.0
"""Nova: the compute driver that nova-compute loads.

It feeds the engine and leaves everything else to Nova's libvirt driver. All
contact with Nova's internals is in ``compat``.
"""
