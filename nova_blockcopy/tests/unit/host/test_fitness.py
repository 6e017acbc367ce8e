# SPDX-License-Identifier: Apache-2.0
"""Whether a guest of another host can run here."""

import dataclasses

import ddt
import fixtures
import libvirt

from nova_blockcopy import exception
from nova_blockcopy import needs
from nova_blockcopy.host import fitness
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import fakes
from nova_blockcopy.tests.unit import samples


class _Network:
    def __init__(self, active):
        self.isActive = lambda: active


@ddt.ddt
class TestCheck(base.TestCase):
    def setUp(self):
        super().setUp()
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{fitness.__name__}._LINKS', str(self.directory)
            )
        )
        (self.directory / 'br0').touch()
        self.connection = fakes.Connection()
        self.connection.networks = {
            'default': _Network(1),
            'down': _Network(0),
        }
        self.connection.on_compare = self._compare
        self.compared = libvirt.VIR_CPU_COMPARE_SUPERSET
        self.needs = dataclasses.replace(
            needs.of(samples.domain()),
            cpu='<cpu/>',
            networks=('default',),
            links=('br0',),
            files=(__file__,),
            directories=(str(self.directory),),
        )

    def _compare(self):
        if self.compared is None:
            raise fakes.libvirt_error(message='unknown model')
        return self.compared

    def check(self, **changes):
        fitness.check(
            self.connection.hypervisor('host-b'),
            'guest',
            dataclasses.replace(self.needs, **changes),
        )

    def test_it_fits(self):
        self.check()

    @ddt.data(
        ({'links': ('br0', 'br1')}, 'no network device "br1"'),
        ({'directories': ('/nowhere/at',)}, 'directory /nowhere/at does not'),
        ({'files': ('/nowhere/kernel',)}, '/nowhere/kernel does not exist'),
        ({'networks': ('other',)}, 'no network "other" (no network)'),
        ({'networks': ('down',)}, '"down" is not active'),
    )
    @ddt.unpack
    def test_something_is_missing(self, changes, words):
        error = self.assertRaises(exception.GuestUnfit, self.check, **changes)
        self.assertIn('Guest "guest" cannot run on host-b', str(error))
        self.assertIn(words, str(error))

    @ddt.data(
        (libvirt.VIR_CPU_COMPARE_INCOMPATIBLE, 'lacks features'),
        (None, 'does not know its processor (unknown model)'),
    )
    @ddt.unpack
    def test_the_processor(self, compared, words):
        self.compared = compared
        error = self.assertRaises(exception.GuestUnfit, self.check)
        self.assertIn(words, str(error))
        self.check(cpu='')

    def test_the_machine(self):
        def refuse():
            raise fakes.libvirt_error(message='machine is not supported')

        self.connection.on_capabilities = refuse
        error = self.assertRaises(exception.GuestUnfit, self.check)
        self.assertIn('(machine is not supported)', str(error))
