# SPDX-License-Identifier: Apache-2.0
"""An inspection of a migration: do both sides have the same content?

The inspection reads every byte of the exports and of the bases, and does not
rely on the journal, the guest's records or libvirt.
"""

import json
import pathlib
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.lab import contents
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import scene

_SECONDS = 60
_TICK = 0.02


class Inspection:
    """A listener of one migration that compares all disks in state READY.

    The inspection tells the guest to stop writing and pauses it, so that QEMU
    writes out the tables of qcow2 images. After the comparison, the guest
    runs and writes again. The inspection is a context manager, which removes
    its copies of the disks.

    :param until_end: the guest does not write again before :meth:`arrived`,
        which compares the disks after the migration
    :param then: called after the comparison, while the migration waits
    """

    def __init__(
        self,
        made: scene.Scene,
        *,
        until_end: bool = False,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        #: The disks whose two sides differed in state READY.
        self.differences: list[contents.Difference] = []
        #: Whether the comparison is complete.
        self.done = False
        self._made = made
        self._until_end = until_end
        self._then = then
        #: The error that the comparison failed with.
        self.failure: Exception | None = None
        self._directory = pathlib.Path(
            tempfile.mkdtemp(prefix='contents-', dir=made.lab.directory)
        )

    def __enter__(self) -> 'Inspection':
        return self

    def __exit__(self, *_exception: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    def __call__(self, now: progress.Progress) -> None:
        """Inspect the disks at the first progress in state READY."""
        if now.state is states.State.READY:
            self.inspect()

    def inspect(self) -> None:
        """Inspect the disks of a migration that is in state READY, once."""
        if self.done or self.failure:
            return
        try:
            self._inspect()
        except Exception as e:  # the engine logs errors of listeners only
            self.failure = e
            raise
        finally:
            self._then()

    def check(self) -> list[contents.Difference]:
        """Return the differences in state READY.

        :raises AssertionError: the disks were not compared
        """
        if self.failure is not None:
            raise AssertionError(
                f'the inspection failed: {self.failure!r}'
            ) from self.failure
        if not self.done:
            raise AssertionError('the migration did not reach state READY')
        return self.differences

    def arrived(self) -> list[contents.Difference]:
        """Compare the disks after the migration with those in state READY.

        The guest writes again afterwards. Call this once.
        """
        guest, away = self._made.guest, self._made.away
        guest.pause(away)
        nodes = contents.sources(self._definition(away))
        found = [
            difference
            for target in guest.targets
            if (difference := self._compared(away, target, nodes[target]))
        ]
        guest.resume(away)
        guest.let_go(away)
        return found

    def _inspect(self) -> None:
        guest, away = self._made.guest, self._made.away
        guest.hush(away)
        _drain(away, guest.uuid)
        # A pause makes QEMU write out the tables of qcow2, of the copies'
        # targets, too: do_vm_stop() in system/cpus.c flushes all named nodes.
        guest.pause(away)
        xml = self._definition(away)
        nodes, targets = contents.sources(xml), contents.mirrors(xml)
        for target in guest.targets:
            contents.read(away, nodes[target], self._kept(target))
            difference = self._compared(away, target, targets[target])
            if difference:
                self.differences.append(difference)
        guest.resume(away)
        if not self._until_end:
            guest.let_go(away)
        self.done = True

    def _compared(
        self, at: host.Host, target: str, node: contents.Node
    ) -> contents.Difference | None:
        found = self._directory / f'{target}.found'
        contents.read(at, node, found)
        try:
            return contents.compare(target, self._kept(target), found)
        finally:
            found.unlink()

    def _kept(self, target: str) -> pathlib.Path:
        return self._directory / target

    def _definition(self, at: host.Host) -> str:
        return at.run('virsh', 'dumpxml', self._made.guest.uuid).stdout


def _drain(at: host.Host, guest: str) -> None:
    """Wait until the copies have copied all writes of a guest that is quiet.

    The figures of a job may be old, because the job reads its dirty bitmap
    from time to time. The bitmap itself is never old. Data that has left the
    bitmap, but is not written yet, is in the figures (mirror_run() in QEMU's
    block/mirror.c). So both are checked.

    :raises AssertionError: data is left after the time limit
    """

    def drained() -> bool:
        bitmaps = [
            bitmap
            for node in _ask(at, guest, 'query-named-block-nodes')
            for bitmap in node.get('dirty-bitmaps', [])
        ]
        jobs = _ask(at, guest, 'query-block-jobs')
        return not any(bitmap['count'] for bitmap in bitmaps) and all(
            job['offset'] == job['len'] and job['ready'] and not job['busy']
            for job in jobs
        )

    if not waiting.until(drained, timeout=_SECONDS, interval=_TICK):
        raise AssertionError(f'the copies did not catch up in {_SECONDS} s')


def _ask(at: host.Host, guest: str, command: str) -> Any:
    printed = at.run(
        *('virsh', 'qemu-monitor-command', guest),
        json.dumps({'execute': command}),
    ).stdout
    return json.loads(printed)['return']
