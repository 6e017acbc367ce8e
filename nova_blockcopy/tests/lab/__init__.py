# SPDX-License-Identifier: Apache-2.0
"""The lab: two hosts on one machine, for tests and for people.

A host is a network, a mount and a UTS namespace with a libvirtd of its own.
A veth pair connects the two hosts. QEMU emulates the guests (TCG), so the lab
needs no KVM. Loop devices stand in for LVM volumes: both are block devices,
and not every machine has device-mapper.
"""
