# SPDX-License-Identifier: Apache-2.0
"""A host with journals on disk, and the command in this process."""

import io
import json
import logging
from typing import Any

from oslo_config import cfg

from nova_blockcopy import events
from nova_blockcopy import model
from nova_blockcopy import progress
from nova_blockcopy import states
from nova_blockcopy.cli import shell
from nova_blockcopy.cli import site
from nova_blockcopy.conf import nova
from nova_blockcopy.records import journal
from nova_blockcopy.records import report
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples

State = states.State


class CliTestCase(base.TestCase):
    """``host-a``, whose libvirt has the guest."""

    def setUp(self):
        super().setUp()
        # cliff sets up the log of the whole process
        root, ours = logging.getLogger(), logging.getLogger('nova_blockcopy')
        self.addCleanup(ours.setLevel, ours.level)
        self.addCleanup(setattr, root, 'handlers', [*root.handlers])
        self.addCleanup(root.setLevel, root.level)
        self.machine = fakes.Machine(samples.domain(samples.disk_xml()))
        self.connection = fakes.Connection(self.machine)
        self.options = cfg.ConfigOpts()
        nova.register_opts(self.options)
        self.options([])
        self.site = site.Site(self.settings(), 'host-a', self.options)
        self.site.here = self.connection.hypervisor('host-a')
        self.out, self.err = io.StringIO(), io.StringIO()
        self.answer = ''

    def run_it(self, *argv: str) -> int:
        """Run the command; its exit code."""
        self.out, self.err = io.StringIO(), io.StringIO()
        app = shell.Shell(
            self.site,
            stdin=io.StringIO(f'{self.answer}\n'),
            stdout=self.out,
            stderr=self.err,
        )
        return app.run(argv)

    def said(self, *argv: str) -> str:
        """Run a command that succeeds; what it prints."""
        self.assertEqual(0, self.run_it(*argv), self.err.getvalue())
        return self.out.getvalue()

    def json(self, *argv: str) -> Any:
        return json.loads(self.said(*argv, '-f', 'json'))

    def begun(
        self, *seen: states.State, role=model.Role.SOURCE, **values: Any
    ) -> journal.Record:
        """A migration of the guest that has had these states."""
        first, *later = seen or (State.PREPARING,)
        values = {
            'moves': (samples.move(source=samples.image('/dev/vg/root')),),
            'peer': 'host-b',
            **values,
        }
        record = self.site.journal.open(
            samples.record(role=role, state=first, **values)
        )
        for state in later:
            record = self.site.journal.write(record, state)
        return record

    def reported(self, record: journal.Record, **values: Any) -> None:
        """The engine's figures of a migration."""
        figures = progress.Progress(
            state=record.state,
            disks=(
                model.DiskProgress(
                    disk='vda',
                    processed_bytes=3 * 2**20,
                    total_bytes=9 * 2**20,
                ),
            ),
            rate=2.0 * 2**20,
            rates={'vda': 2.0 * 2**20},
            limit=8 * 2**20,
        )
        reporter = report.Reporter(self.site.reports)
        subject = events.Subject(
            migration=record.migration,
            guest=record.guest,
            name=record.name,
            role=record.role,
            mode=record.mode,
            peer=record.peer,
        )
        reporter(events.Started(subject=subject, state=record.state, limit=0))
        reporter(events.Progressed(subject=subject, progress=figures))
