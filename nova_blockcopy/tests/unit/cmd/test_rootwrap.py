# SPDX-License-Identifier: Apache-2.0
"""What the real oslo.rootwrap would do."""

from oslo_rootwrap import wrapper

from nova_blockcopy.runtime import privsep
from nova_blockcopy.tests.unit.cmd import base

_CHECK = 'Rootwrap filter'


class TestRootwrap(base.CommandTestCase):
    def setUp(self):
        super().setUp()
        self.run_as(root=True)

    def without_default(self):
        """Be oslo.rootwrap before 7.5, which allows no helper by itself."""
        real = wrapper.load_filters
        self.stub(
            'oslo_rootwrap.wrapper.load_filters',
            lambda paths: real(paths)[:-1],
        )

    def assert_refused(self, *words):
        said = self.check(self.file())
        self.assert_said(said, _CHECK, base.FAILURE, *words)

    def test_the_filter_of_this_project(self):
        self.without_default()
        self.stub(f'{privsep.__name__}.context.helper_command', _command)
        self.assert_said(self.check(self.file()), _CHECK, base.SUCCESS)

    def test_no_filter(self):
        self.without_default()
        (self.directory / 'rootwrap.d/nova-blockcopy.filters').unlink()
        self.assert_refused('nova-blockcopy.filters', self.directory)

    def test_the_helper_is_in_another_directory(self):
        text = self.rootwrap.read_text().replace('/bin', '/sbin')
        self.rootwrap.write_text(text)
        self.assert_refused('exec_dirs', f'{self.directory}/sbin')

    def test_no_configuration(self):
        self.rootwrap.unlink()
        self.assert_refused('No such file', self.rootwrap, 'rootwrap_config')

    def test_a_damaged_configuration(self):
        self.rootwrap.write_text('so')
        self.assert_refused(self.rootwrap, 'Correct')

    def test_it_is_not_used(self):
        text = '[workarounds]\ndisable_rootwrap = true'
        self.rootwrap.unlink()
        self.assert_said(
            self.check(self.file(text)), _CHECK, base.SUCCESS, 'not used'
        )


def _command(socket):
    """The command of nova-compute, with Debian's files."""
    return [
        *('sudo', 'nova-rootwrap', '/etc/nova/rootwrap.conf'),
        *('privsep-helper', '--config-file', '/etc/nova/nova.conf'),
        *('--privsep_context', f'{privsep.__name__}.context'),
        *('--privsep_sock_path', socket),
    ]
