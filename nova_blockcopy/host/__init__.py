# SPDX-License-Identifier: Apache-2.0
"""Access to this host: its images, QEMU's programs, and its libvirt.

Each module wraps one system outside of this process.
"""
