# SPDX-License-Identifier: Apache-2.0
"""Access to one host: images, QEMU's programs, and libvirt.

Each module wraps one system outside of this process.
"""
