#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""Two hosts on one machine: for the tests, and as a tool for people.

A host is a network, a mount and a UTS namespace with a libvirtd of its own;
the two are joined by a veth pair. Guests are emulated (TCG), so no KVM is
needed. Loop devices stand in for LVM volumes: both are block devices, and
device-mapper is not there on every machine.
"""
