# SPDX-License-Identifier: Apache-2.0
"""Live storage migration for OpenStack Nova by libvirt block copy.

The modules right here are values and decisions: states, options, errors, the
plan. They are pure. Each folder is a layer on top of them, and imports only
from those named before it:

* ``runtime``: threads, waiting and rights
* ``records``: the files that outlive the process
* ``host``: what one host does: libvirt, NBD servers, images, commands
* ``drivers``: how a block copy is run; loaded by stevedore
* ``copies``: the copies of one guest, from start to proven pivot
* ``migration``: the peer channel between the two hosts of one migration
* ``migration.source``, ``migration.destination``: one wing for each host
* ``nova``: the compute driver that feeds all this, and is fed by Nova
"""
