# SPDX-License-Identifier: Apache-2.0
"""Two whole machines, set up as Debian's packages set up hosts.

Each machine is a QEMU with a system of its own: systemd, AppArmor, LVM on
device-mapper, libvirt with the settings of its package, and the package of
this driver beside Nova's. The engine runs as user ``nova`` in a unit, with a
helper by sudo.
"""
