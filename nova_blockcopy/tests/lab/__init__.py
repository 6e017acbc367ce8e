# SPDX-License-Identifier: Apache-2.0
"""Two hosts on one machine: for the tests, and as a tool for people.

A host is a network, a mount and a UTS namespace with a libvirtd of its own;
the two are joined by a veth pair. Guests are emulated (TCG), so no KVM is
needed. Loop devices stand in for LVM volumes: both are block devices, and
device-mapper is not there on every machine.
"""
