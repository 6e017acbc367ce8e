# SPDX-License-Identifier: Apache-2.0
"""The question to a destination whether a guest could come."""

import contextlib
import dataclasses
import threading
import uuid
from collections.abc import Iterator

from nova_blockcopy import appraisal
from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.host import hypervisor
from nova_blockcopy.host import rehearsal
from nova_blockcopy.migration import peer
from nova_blockcopy.migration.source import ledger
from nova_blockcopy.migration.source import remote
from nova_blockcopy.migration.source import survey


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """One question from this host to another one. Runs on the source.

    ``home`` is how the destination's libvirt reaches this host. ``deadline``
    is the time in seconds for the whole question.
    """

    channel: peer.Channel
    peer: str
    home: model.Endpoint
    settings: conf.Settings
    deadline: float

    def ask(
        self, found: survey.Found, guest: hypervisor.Guest
    ) -> tuple[survey.Found, appraisal.Side]:
        """Ask the destination about a guest.

        :returns: the facts of both hosts
        :raises PeerError: the destination gives no answer
        """
        with contextlib.ExitStack() as stack:
            port = None
            try:
                port = stack.enter_context(
                    rehearsal.listening(found.side.host, self.settings)
                )
            except exception.ExportsRefused as e:
                found = _refused(found, e)
            return found, self._ask(found, guest, port)

    def _ask(
        self,
        found: survey.Found,
        guest: hypervisor.Guest,
        port: model.Rehearsal | None,
    ) -> appraisal.Side:
        there = remote.RemoteDestination(
            self.channel,
            ledger.first(
                guest,
                migration=str(uuid.uuid4()),
                mode=self.settings.mode,
                peer=self.peer,
                home=self.home,
            ),
            self.settings.poll_interval,
        )
        question = appraisal.Question(
            name=guest.name,
            peer=found.side.host,
            home=self.home,
            rehearsal=port,
            tls=self.settings.export_tls,
            mode=self.settings.mode,
            needs=tuple(map(_need, found.disks)),
        )
        with _within(self.deadline) as over:
            try:
                return there.appraise(question, over)
            except exception.Aborted:
                raise exception.PeerError(
                    operation='appraise',
                    reason=f'{self.peer} gave no answer within '
                    f'{self.deadline:g} s.',
                ) from None


def _need(disk: appraisal.Disk) -> appraisal.Need:
    return appraisal.Need(
        disk=disk.disk,
        path=disk.image.path,
        kind=disk.image.kind,
        size_bytes=disk.size_bytes,
        travel_bytes=disk.travel_bytes,
    )


def _refused(
    found: survey.Found, error: exception.ExportsRefused
) -> survey.Found:
    side = dataclasses.replace(
        found.side, refusals=(*found.side.refusals, str(error))
    )
    return dataclasses.replace(found, side=side)


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[threading.Event]:
    """An event that is set when the time is over."""
    over = threading.Event()
    timer = threading.Timer(seconds, over.set)
    timer.daemon = True
    timer.start()
    try:
        yield over
    finally:
        timer.cancel()
