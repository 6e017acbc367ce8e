# SPDX-License-Identifier: Apache-2.0
"""The question to a destination whether a guest could come."""

import contextlib
import dataclasses
import threading
import uuid
from collections.abc import Callable
from collections.abc import Iterable
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
from nova_blockcopy.runtime import log as logging

Measure = Callable[[hypervisor.Guest, Iterable[str]], appraisal.Measured]


def unmeasured(
    _guest: hypervisor.Guest, _disks: Iterable[str]
) -> appraisal.Measured:
    """For an appraisal that takes no time."""
    return appraisal.NOTHING


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """One question from this host to another one. Runs on the source.

    ``home`` is how the destination's libvirt reaches this host, and
    ``endpoint`` tells how this host's libvirt reaches an address. ``deadline``
    is the time in seconds for the whole question. ``measures`` has the rate of
    the network measured.
    """

    here: hypervisor.Hypervisor
    channel: peer.Channel
    peer: str
    home: model.Endpoint
    endpoint: Callable[[str], model.Endpoint]
    settings: conf.Settings
    deadline: float
    measures: bool = False

    def appraise(
        self,
        guest: str,
        choose: survey.Choose,
        measure: Measure = unmeasured,
    ) -> appraisal.Appraisal:
        """Appraise a migration by the facts of both hosts.

        :param guest: UUID or name
        :param choose: tells which disks move
        :param measure: takes the figures that only a measurement gives
        :raises HypervisorError: the guest has ended meanwhile
        """
        found = survey.Survey(
            self.here, self.settings, self.peer, choose
        ).look(guest)
        there, unasked = None, 'the guest was not found on this host.'
        measured = appraisal.NOTHING
        known = found.guest
        if known is not None:
            try:
                found, there = self._answered(found, known)
            except (exception.NoEngine, exception.PeerError) as e:
                unasked = str(e)
            measured = measure(known, [disk.disk for disk in found.disks])
        side = found.side
        if there is not None:  # only the destination knows its address
            address = there.address or self.peer
            side = survey.tried(side, self.endpoint(address).uri)
        return appraisal.Appraisal(
            guest=known.name if known else guest,
            disks=found.disks,
            left_alone=found.left_alone,
            source=side,
            destination=there,
            unasked='' if there else unasked,
            rules=survey.rules(self.settings),
            measured=measured,
        )

    def _answered(
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
                    rehearsal.listening(
                        found.side.host, self.settings, sends=self.measures
                    )
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
            measures=self.measures,
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
    timer = threading.Timer(seconds, logging.carried(over.set))
    timer.daemon = True
    timer.start()
    try:
        yield over
    finally:
        timer.cancel()
