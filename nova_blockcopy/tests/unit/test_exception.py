# SPDX-License-Identifier: Apache-2.0
"""Every error can be said, and keeps its class on its way."""

import inspect
import re

import ddt

from nova_blockcopy import exception
from nova_blockcopy.host import command
from nova_blockcopy.migration import peer
from nova_blockcopy.tests.unit import base

ALL = [
    kind
    for _name, kind in inspect.getmembers(exception, inspect.isclass)
    if issubclass(kind, exception.BlockCopyError)
]
_KEYWORD = re.compile(r'%\((\w+)\)s')


def example(kind):
    words = _KEYWORD.findall(kind.msg_fmt)
    return kind(**{word: f'<{word}>' for word in words})


@ddt.ddt
class TestErrors(base.TestCase):
    @ddt.data(*ALL, command.CommandFailed, command.CommandTimeout)
    def test_every_message_can_be_rendered(self, kind):
        said = str(example(kind))
        self.assertNotIn('%', said)
        for word in _KEYWORD.findall(kind.msg_fmt):
            self.assertIn(f'<{word}>', said)

    @ddt.data(*ALL)
    def test_every_error_travels(self, kind):
        error = example(kind)
        again = exception.from_wire(kind.__name__, str(error))
        self.assertIs(kind, type(again))
        self.assertEqual(str(error), str(again))

    def test_a_percent_sign_of_somebody_else_is_no_format(self):
        said = '100 %(reason)s done'
        self.assertEqual(said, str(exception.JobFailed(said)))
        self.assertIn(said, str(exception.JobFailed(disk='vda', reason=said)))

    @ddt.data('NoSuchError', 'Any', 'ValueError', 'from_wire', '__name__')
    def test_a_class_that_is_not_known_here_is_a_peer_error(self, name):
        error = exception.from_wire(name, 'what it said')
        self.assertIs(exception.PeerError, type(error))
        self.assertEqual('what it said', str(error))

    def test_an_error_as_data_is_raised_again(self):
        error = example(exception.BaseRefused)
        raised = self.assertRaises(
            exception.BaseRefused, peer.raise_failure, peer.failure(error)
        )
        self.assertEqual(str(error), str(raised))

    def test_no_error_is_none(self):
        self.assertIsNone(peer.failure(None))
        peer.raise_failure(peer.failure(None))
