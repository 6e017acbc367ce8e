# SPDX-License-Identifier: Apache-2.0
"""What scenarios of our driver have in common."""

import json
import os
import pathlib
import typing

from nova_blockcopy import model
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.cloud import compute
from nova_blockcopy.tests.cloud import image
from nova_blockcopy.tests.cloud import server
from nova_blockcopy.tests.cloud.scenarios import base

DRIVER = 'blockcopy.BlockCopyLibvirtDriver'
#: Each scenario is for both modes; one run has one of them.
MODE = os.environ.get('NOVA_BLOCKCOPY_MODE', model.Mode.SEEDED)
#: For a state; on a busy machine, Nova needs minutes to begin.
SECONDS = 300


class BlockCopyTestCase(base.CloudTestCase):
    """On a cloud whose computes have our driver."""

    images = 'qcow2'
    shared = False
    options: typing.ClassVar[dict[str, dict[str, typing.Any]]] = {}

    def setUp(self):
        super().setUp()
        ours = {'mode': MODE, **self.options.get('blockcopy', {})}
        self.cloud = self.set_cloud(
            images=self.images,
            driver=DRIVER,
            shared=self.shared,
            **{**self.options, 'blockcopy': ours},
        )

    def boot(
        self,
        *,
        from_volume: bool = False,
        networked: bool = True,
        **writes: typing.Any,
    ) -> server.Server:
        guest = self.cloud.boot(
            self.cloud.a,
            writes=image.Writes(**writes) if writes else None,
            from_volume=from_volume,
            networked=networked,
        )
        self.addCleanup(self._delete, guest)
        return guest

    def move(self, guest: server.Server, to: compute.Compute) -> None:
        guest.live_migrate(to)
        self.assertEqual('completed', guest.wait_for_migration().status)
        self.assert_intact(guest, to)
        self.assert_nothing_left(to)

    def assert_nothing_left(self, at: compute.Compute) -> None:
        """No other host has anything, and no trace of a move is anywhere.

        Nova has the destination clean up without waiting for it.
        """
        waiting.until(
            lambda: not self._left_but_at(at), timeout=30, interval=0.5
        )
        self.assertEqual([], self._left_but_at(at))

    def _left_but_at(self, at: compute.Compute) -> list[str]:
        found = [
            line
            for each in self.cloud.computes
            if each is not at
            for line in each.litter()
        ]
        for each in self.cloud.computes:
            state = each.state / 'blockcopy'
            found += [
                f'{path.name} in {path.parent.name} on {each.name}'
                for path in state.rglob('*')
                if path.is_file()
            ]
            found += [
                f'{process.name()} on {each.name}'
                for process in each.host.processes()
                if process.name() == 'qemu-nbd'
            ]
        return found

    def allocated(self, guest: server.Server) -> list[str]:
        """The hosts whose resources placement counts for it."""
        api = self.cloud.api
        held = api.call(
            lambda to: to.session.get(
                f'/allocations/{guest.uuid}',
                endpoint_filter={'service_type': 'placement'},
            ).json()
        )['allocations']
        hypervisors = api.compute('GET', '/os-hypervisors')['hypervisors']
        return [
            each['hypervisor_hostname']
            for each in hypervisors
            if each['id'] in held
        ]

    def _delete(self, guest: server.Server) -> None:
        if guest.facts():
            guest.delete()
        self.assertEqual([], self.cloud.litter())

    def state(self, guest: server.Server, at: compute.Compute) -> str | None:
        """What a host's journal says of it."""
        path = self._journal(guest, at)
        try:
            return str(json.loads(path.read_text())['state'])
        except FileNotFoundError:
            return None

    def wait_for_state(
        self,
        guest: server.Server,
        at: compute.Compute,
        state: str,
        interval: float = 0.02,
    ) -> None:
        if not waiting.until(
            lambda: self.state(guest, at) == state,
            timeout=SECONDS,
            interval=interval,
        ):
            raise AssertionError(
                f'{guest.uuid} is {self.state(guest, at)} on {at.name}, not '
                f'{state}'
            )

    def _journal(
        self, guest: server.Server, at: compute.Compute
    ) -> pathlib.Path:
        return at.state / 'blockcopy' / 'journal' / f'{guest.uuid}.json'
