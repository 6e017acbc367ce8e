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
