# SPDX-License-Identifier: Apache-2.0
"""The cloud: a whole OpenStack on one machine, for tests and for people.

Each of the lab's two hosts runs a nova-compute. A third host runs the control
plane: RabbitMQ, MariaDB, keystone, placement, glance, neutron, and Nova's API,
conductor and scheduler. All services are real. Only LVM has a stand-in where
the machine has no device-mapper.
"""
