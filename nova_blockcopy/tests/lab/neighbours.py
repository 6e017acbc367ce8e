# SPDX-License-Identifier: Apache-2.0
"""Guests that are seeded beside another guest, by one helper process.

The destination's nova-compute calls its helper for all guests. The pieces that
are copied for neighbours keep threads of the helper busy.
"""

import contextlib
import os
import shlex
from collections.abc import Iterator

from oslo_config import cfg
from oslo_privsep import priv_context

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.runtime import privsep
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import lab
from nova_blockcopy.tests.lab import scene
from nova_blockcopy.tests.unit import samples

#: MiB of each neighbour's disk and, in MiB/s, the limit of its migration. The
#: limit keeps the pieces under way for long, and the processors free.
_SIZE, _LIMIT = 512, 1
_SECONDS = 120


class Neighbours:
    """Guests on host a of a lab.

    :param count: of the guests
    """

    def __init__(self, it: lab.Lab, count: int) -> None:
        self._scenes = [
            scene.Scene.set(
                it,
                ('raw',),
                size=_SIZE * scene.MIB,
                data=(_SIZE - 16) * scene.MIB,
                interval=0.5,
                prefix=f'neighbour{number}',
                mode=model.Mode.SEEDED,
                block_migration_bandwidth=_LIMIT,
            )
            for number in range(count)
        ]

    @contextlib.contextmanager
    def seeding(self) -> Iterator[None]:
        """Have all neighbours seeded inside a ``with`` block.

        :raises LabError: a neighbour is not seeded, or no longer
        """
        runs = [made.migration() for made in self._scenes]
        waits = [
            made.home.submit(run.run)
            for made, run in zip(self._scenes, runs, strict=True)
        ]

        def all_seed() -> bool:
            return all(run.state is states.State.SEEDING for run in runs)

        try:
            if not waiting.until(all_seed, timeout=_SECONDS):
                raise host.LabError('A neighbour is not seeded.')
            yield
            if not all_seed():
                raise host.LabError('A neighbour has ended to be seeded.')
        finally:
            for run in runs:
                run.abort()
            for wait in waits:
                wait.exception()
        for made in self._scenes:
            made.empty_bases()

    def end(self) -> None:
        """End the guests."""
        for made in self._scenes:
            made.guest.end()


@contextlib.contextmanager
def helper(at: host.Host) -> Iterator[None]:
    """Use a helper process for one host, as its nova-compute does."""
    cfg.CONF([])
    options = at.home / 'helper.conf'
    at.outside(options).write_text(
        f'[blockcopy]\n'
        f'delta_dir = {at.home / "deltas"}\n'
        f'export_tls_dir = {at.certificates}\n'
        # loop devices are in /dev
        f'image_dirs = {at.images}, /dev\n'
    )
    command = shlex.join([*samples.HELPER, '--config-file', str(options)])
    cfg.CONF.set_override('helper_command', command, privsep.SECTION)
    _Context.network = at.call(_network)
    plain = type(privsep.context)
    privsep.context.__class__ = _Context
    try:
        yield
    finally:
        privsep.context.stop()
        privsep.context.__class__ = plain
        cfg.CONF.clear_override('helper_command', privsep.SECTION)


class _Context(priv_context.PrivContext):
    """A context whose threads use the helper only on one host."""

    network = ''

    @property
    def client_mode(self) -> bool:
        return _network() == self.network

    @client_mode.setter
    def client_mode(self, _value: bool) -> None:
        pass  # the thread decides


def _network() -> str:
    """Return the network namespace of this thread."""
    return os.readlink('/proc/thread-self/ns/net')
