# SPDX-License-Identifier: Apache-2.0
"""An inspection of a migration: is all that a guest sees on both sides?

The journal, the records and libvirt tell what should be there. This reads
what is there.
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
    """A listener of one migration, which compares all disks when ready.

    The guest is hushed for that, and paused so that QEMU writes out what it
    holds of a qcow2; then it goes on. Being a context manager, it removes
    what it has read.

    :param until_end: the guest stays hushed, so that what arrived can be
        compared too, by :meth:`arrived`
    :param then: called after the comparison, while the migration waits
    """

    def __init__(
        self,
        made: scene.Scene,
        *,
        until_end: bool = False,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        #: What differed when all copies were ready.
        self.differences: list[contents.Difference] = []
        #: Whether that was found out.
        self.done = False
        self._made = made
        self._until_end = until_end
        self._then = then
        #: Why it was not.
        self.failure: Exception | None = None
        self._directory = pathlib.Path(
            tempfile.mkdtemp(prefix='contents-', dir=made.lab.directory)
        )

    def __enter__(self) -> 'Inspection':
        return self

    def __exit__(self, *_exception: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    def __call__(self, now: progress.Progress) -> None:
        """Take in a progress; the first one that is ready counts."""
        if now.state is not states.State.READY or self.done or self.failure:
            return
        try:
            self._inspect()
        except Exception as e:  # the engine only logs what a listener raises
            self.failure = e
            raise
        finally:
            self._then()

    def check(self) -> list[contents.Difference]:
        """What differed when all copies were ready.

        :raises AssertionError: that was not found out
        """
        if self.failure is not None:
            raise AssertionError(
                f'the inspection failed: {self.failure!r}'
            ) from self.failure
        if not self.done:
            raise AssertionError('the migration did not get ready')
        return self.differences

    def arrived(self) -> list[contents.Difference]:
        """What differs now from what there was when all copies were ready.

        Lets the guest go. To be called once, at the end of the migration.
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
        # which makes QEMU write out its tables, of the copies' targets too:
        # do_vm_stop() in system/cpus.c flushes all that has a name
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
    """Wait until nothing is left to copy; the guest writes nothing more.

    A copy learns of new writes only when it looks, so its figures may be
    old; its bitmap never is. What has been taken off the bitmap, but is not
    written yet, is in the figures (mirror_run() in QEMU's block/mirror.c).

    :raises AssertionError: there is always something left
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
        raise AssertionError('the copies never catch up')


def _ask(at: host.Host, guest: str, command: str) -> Any:
    printed = at.run(
        *('virsh', 'qemu-monitor-command', guest),
        json.dumps({'execute': command}),
    ).stdout
    return json.loads(printed)['return']
