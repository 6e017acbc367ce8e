# SPDX-License-Identifier: Apache-2.0
"""The channel: plain JSON only, and errors as data."""

import ddt

from nova_blockcopy import exception
from nova_blockcopy.migration import peer
from nova_blockcopy.tests.unit import base


@ddt.ddt
class TestInProcess(base.TestCase):
    def test_messages_arrive_as_copies_of_plain_types(self):
        seen = []

        def handle(message):
            seen.append(message)
            return {'answer': (1, 2)}

        sent = {'operation': 'x', 'list': (1, [2])}
        answer = peer.InProcess(handle).call(sent)
        self.assertEqual([{'operation': 'x', 'list': [1, [2]]}], seen)
        self.assertEqual({'answer': [1, 2]}, answer)
        seen[0]['list'].append('changed')
        self.assertEqual((1, [2]), sent['list'])

    @ddt.data(({'x': object()}, {}), ({}, {'x': object()}))
    @ddt.unpack
    def test_what_could_not_travel_does_not(self, message, answer):
        channel = peer.InProcess(lambda _message: answer)
        self.assertRaises(TypeError, channel.call, message)


@ddt.ddt
class TestAsk(base.TestCase):
    def test_what_is_asked(self):
        channel = peer.InProcess(lambda message: {'got': message})
        answer = peer.ask(channel, 'pivot', 'some-guest', migration='m', n=1)
        self.assertEqual(
            {
                'operation': 'pivot',
                'guest': 'some-guest',
                'migration': 'm',
                'n': 1,
            },
            answer['got'],
        )

    def test_an_error_in_the_answer_is_raised(self):
        error = exception.BaseRefused(path='/x', disk='vda', reason='no.')
        channel = peer.InProcess(
            lambda _message: {'error': peer.failure(error)}
        )
        raised = self.assertRaises(
            exception.BaseRefused, peer.ask, channel, 'prepare', 'guest'
        )
        self.assertEqual(str(error), str(raised))

    @ddt.data(
        *(7, [], 'TooLate', {}, {'class': 'TooLate'}),
        *(
            {'class': [], 'message': 'x'},
            {'class': 'TooLate', 'message': None},
        ),
    )
    def test_an_error_in_another_form(self, error):
        channel = peer.InProcess(lambda _message: {'error': error})
        raised = self.assertRaises(
            exception.PeerError, peer.ask, channel, 'prepare', 'guest'
        )
        self.assertIn('not understood', str(raised))

    def test_an_error_is_one_short_line(self):
        error = {'class': 'TooLate', 'message': 'a\n\x1b[2Jb' + 'c' * 10**6}
        channel = peer.InProcess(lambda _message: {'error': error})
        raised = self.assertRaises(
            exception.TooLate, peer.ask, channel, 'prepare', 'guest'
        )
        self.assertTrue(str(raised).startswith('a ?[2Jbccc'))
        self.assertLess(len(str(raised)), 5000)

    def test_what_is_done_is_answered(self):
        done = []
        self.assertEqual({}, peer.answered('work', lambda: done.append(1)))
        self.assertEqual([1], done)

    def test_what_fails_is_answered_too(self):
        def work():
            raise exception.TooLate(reason='no.')

        error = self.assertRaises(
            exception.TooLate,
            peer.raise_failure,
            peer.answered('work', work)['error'],
        )
        self.assertIn('no.', str(error))
