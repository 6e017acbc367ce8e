# SPDX-License-Identifier: Apache-2.0
"""Live storage migration for OpenStack Nova by libvirt block copy.

The modules directly in this package are pure: values (model, states, errors)
and decisions (the plan, the forecast). Each folder is a layer on top of them.
A layer imports only from these modules and from the layers named before it:

* ``conf``: the options in nova.conf, and their values
* ``runtime``: threads, waiting, and functions that run as root
* ``records``: the files that outlive the process, such as the journal
* ``host``: one host's libvirt, NBD servers, images and commands
* ``drivers``: the copy drivers, which stevedore loads
* ``copies``: the copies of one guest, from their start to the proven pivot
* ``migration``: the peer channel between the two hosts of a migration
* ``migration.source``, ``migration.destination``: the code of each host; the
  two never import each other
* ``nova``: the compute driver, which connects the engine to Nova
"""
