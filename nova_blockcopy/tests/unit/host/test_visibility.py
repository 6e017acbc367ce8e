# SPDX-License-Identifier: Apache-2.0
"""Which processes of a host are seen, and which images are safe then."""

import itertools

import ddt
import fixtures

from nova_blockcopy import model
from nova_blockcopy.host import visibility
from nova_blockcopy.tests.unit import base

Visibility = visibility.Visibility
_FIRST = 4026531836
_OTHER = 4026532281


@ddt.ddt
class TestVisibility(base.TestCase):
    @ddt.data(
        (_FIRST, set(), Visibility.ALL),
        (_FIRST, {'libvirtd'}, Visibility.ALL),
        (_OTHER, {'libvirtd', 'sshd'}, Visibility.GUESTS),
        (_OTHER, {'virtqemud'}, Visibility.GUESTS),
        (_OTHER, {'dumb-init', 'nova-compute'}, Visibility.OWN),
        (0, set(), Visibility.OWN),
    )
    @ddt.unpack
    def test_what_is_seen(self, namespace, programs, wanted):
        self.assertIs(wanted, visibility.decide(namespace, programs))

    def test_proc_does_not_show_the_process(self):
        for name, value in (
            ('_NAMESPACE', '/none'),
            ('_DAEMONS', frozenset({'none'})),
        ):
            self.useFixture(fixtures.MockPatchObject(visibility, name, value))
        self.assertIs(Visibility.OWN, visibility.current())

    def test_guests_that_are_seen_are_no_matter(self):
        for seen, kind, told in itertools.product(
            (Visibility.ALL, Visibility.GUESTS), model.ImageKind, (True, False)
        ):
            self.assertIsNone(visibility.blind_spot(seen, kind, told=told))

    def test_a_file_whose_locks_are_told(self):
        self.assertIsNone(
            visibility.blind_spot(
                Visibility.OWN, model.ImageKind.FILE, told=True
            )
        )

    @ddt.data(
        (model.ImageKind.BLOCK, True, 'block device'),
        (model.ImageKind.BLOCK, False, 'block device'),
        (model.ImageKind.FILE, False, 'file system'),
    )
    @ddt.unpack
    def test_a_guest_may_go_unnoticed(self, kind, told, words):
        reason = visibility.blind_spot(Visibility.OWN, kind, told=told)
        self.assertIn(words, str(reason))
        self.assertIn('pid_mode', str(reason))
