# SPDX-License-Identifier: Apache-2.0
"""The peer channel over Nova's RPC."""

import time
from typing import Any

import ddt
import oslo_messaging

from nova_blockcopy import exception
from nova_blockcopy.migration import peer
from nova_blockcopy.nova import channel
from nova_blockcopy.nova import compat
from nova_blockcopy.tests.nova import base

STATUS = {'operation': 'status', 'guest': 'g'}
ORDER = {'operation': 'pivot', 'guest': 'g'}
SILENCE = oslo_messaging.MessagingTimeout('Timed out waiting for a reply')


@ddt.ddt
class TestChannel(base.TestCase):
    def setUp(self):
        super().setUp()
        self.asked: list[Any] = []
        self.answers: list[Any] = []
        # a fake that Nova's own signature is checked against
        self.fake(compat, 'ComputeAPI')
        api = compat.ComputeAPI.return_value
        api.check_instance_shared_storage.side_effect = self.answer
        self.pauses: list[float] = []
        self.fake(time, 'sleep', side_effect=self.pauses.append)
        self.channel = channel.RpcChannel(self.context, base.THERE)

    def answer(self, context, data, instance=None, host=None):
        self.assertIs(self.context, context)
        self.asked.append((host, data))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def refused(self, message):
        return str(
            self.assertRaises(exception.PeerError, self.channel.call, message)
        )

    @ddt.data(STATUS, ORDER)
    def test_there_and_back(self, message):
        self.answers = [{'x': 1}]
        self.assertEqual({'x': 1}, self.channel.call(message))
        ((host, data),) = self.asked
        self.assertEqual(base.THERE, host)
        self.assertEqual(message, data[channel.KEY])

    @ddt.data(False, True, None)
    def test_a_host_without_us(self, answer):
        self.answers = [answer] * 9
        said = self.refused(ORDER)
        self.assertIn(base.THERE, said)
        self.assertIn('does not run nova-blockcopy', said)
        self.assertIn('pivot', said)

    def test_what_a_host_without_us_would_look_for_is_nowhere(self):
        """Nova's own driver answers False to what we send."""
        self.answers = [{}]
        self.channel.call(ORDER)
        stock = compat.LibvirtDriver.check_instance_shared_storage_remote
        self.assertIs(False, stock(None, self.context, self.asked[0][1]))

    @ddt.data(
        SILENCE,
        oslo_messaging.MessageDeliveryFailure('gone'),
        oslo_messaging.RemoteError('OSError', 'it broke', None),
    )
    def test_no_answer_to_an_order_is_an_error_at_once(self, error):
        self.answers = [error, {}]
        said = self.refused(ORDER)
        self.assertIn(base.THERE, said)
        self.assertIn('pivot', said)
        self.assertEqual(1, len(self.asked))

    @ddt.data(
        [SILENCE],
        [SILENCE] * 4,
        # while it starts, a host may answer without us for a moment
        [False, SILENCE],
    )
    def test_a_question_is_asked_again(self, silences):
        self.answers = [*silences, {'done': False}]
        self.assertEqual({'done': False}, self.channel.call(STATUS))
        self.assertEqual(len(silences), len(self.pauses))
        self.assertTrue(all(pause > 0 for pause in self.pauses))

    def test_a_question_is_not_asked_for_ever(self):
        self.answers = [SILENCE] * 100
        self.assertIn('status', self.refused(STATUS))
        self.assertLess(len(self.asked), 10)

    def test_a_question_that_is_asked_once(self):
        self.answers = [SILENCE, {}]
        self.channel = channel.RpcChannel(
            self.context, base.THERE, questions=1
        )
        self.assertIn('status', self.refused(STATUS))
        self.assertEqual(1, len(self.asked))

    def test_a_failure_over_there_is_an_answer(self):
        error = exception.JobFailed(disk='vda', reason='so')
        self.answers = [{'error': peer.failure(error)}]
        raised = self.assertRaises(
            exception.JobFailed, peer.ask, self.channel, 'pivot', 'g'
        )
        self.assertEqual(str(error), str(raised))
        self.assertEqual(1, len(self.asked))
