# SPDX-License-Identifier: Apache-2.0
"""A whole OpenStack on one machine: for the tests, and as a tool for people.

The two hosts of the lab each get a nova-compute of their own. A third host
has what they need: RabbitMQ, MariaDB, keystone, placement, glance, neutron,
and Nova's API, conductor and scheduler. Nothing in it is faked, except for
LVM where the machine has no device-mapper.
"""
