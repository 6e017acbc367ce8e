# SPDX-License-Identifier: Apache-2.0
"""Neutron's core plugin for the cloud: ports of servers, without agents.

A port is a tap device on each host with a binding of the port. The tap devices
carry no traffic, because the tests look only at the bindings.
"""

from importlib import metadata
from typing import Any

from neutron.plugins.ml2 import plugin  # type: ignore[import-not-found]
from neutron_lib import constants  # type: ignore[import-not-found]
from neutron_lib.plugins.ml2 import api  # type: ignore[import-not-found]
from stevedore import extension


class Taps(api.MechanismDriver):  # type: ignore[misc]
    """Binds any port to any host."""

    def initialize(self) -> None:
        return

    def bind_port(self, context: Any) -> None:
        context.set_binding(
            context.segments_to_bind[0][api.ID],
            'tap',
            {},
            status=constants.PORT_STATUS_ACTIVE,
        )


class Plugin(plugin.Ml2Plugin):  # type: ignore[misc]
    """ML2 with :class:`Taps`, which has no entry point of its own."""

    def __init__(self) -> None:
        super().__init__()
        where = metadata.EntryPoint('taps', f'{__name__}:Taps', '')
        taps = extension.Extension('taps', where, Taps, Taps())
        self.mechanism_manager.mech_drivers['taps'] = taps
        self.mechanism_manager.ordered_mech_drivers.append(taps)
