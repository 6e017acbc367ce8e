# SPDX-License-Identifier: Apache-2.0
"""The checker that the functional tests rely on: it does find damage."""

import time

import ddt

from nova_blockcopy.tests.lab import records
from nova_blockcopy.tests.unit import base

REGION = records.Region(offset=0, length=64 * records.RECORD)


def content(written):
    """A region as the guest's init leaves it."""
    region = bytearray(REGION.length)
    for number in range(written):
        at = REGION.position(number)
        region[at : at + records.RECORD] = records.expected('vda', number)
    return region


def check(region, written):
    return records.check('vda', bytes(region), REGION, written)


@ddt.ddt
class TestCheck(base.TestCase):
    @ddt.data(1, 40, 64)
    def test_an_undamaged_region_is_intact(self, written):
        self.assertEqual(
            records.Verdict(disk='vda', written=written, missing=0, wrong=0),
            check(content(written), written),
        )
        self.assertTrue(check(content(written), written).intact)

    def test_a_place_that_is_empty_is_missing(self):
        region = content(40)
        for number in (0, 39):
            at = REGION.position(number)
            region[at : at + records.RECORD] = bytes(records.RECORD)
        verdict = check(region, 40)
        self.assertEqual((2, 0), (verdict.missing, verdict.wrong))
        self.assertFalse(verdict.intact)

    def test_more_is_claimed_than_there_is(self):
        verdict = check(content(39), 40)
        self.assertEqual((1, 0), (verdict.missing, verdict.wrong))

    @ddt.data(0, 8, records.RECORD - 1)
    def test_one_altered_byte_is_wrong(self, byte):
        region = content(40)
        region[REGION.position(17) + byte] ^= 1
        verdict = check(region, 40)
        self.assertEqual((0, 1), (verdict.missing, verdict.wrong))
        self.assertFalse(verdict.intact)

    def test_records_in_each_others_places_are_wrong(self):
        region = content(40)
        one, two = (REGION.position(number) for number in (3, 4))
        size = records.RECORD
        region[one : one + size], region[two : two + size] = (
            region[two : two + size],
            region[one : one + size],
        )
        self.assertEqual(2, check(region, 40).wrong)

    def test_records_of_another_disk_are_wrong(self):
        verdict = records.check('vdb', bytes(content(40)), REGION, 40)
        self.assertEqual((0, 40), (verdict.missing, verdict.wrong))

    def test_a_region_cut_short_is_missing_records(self):
        verdict = check(content(64)[: 32 * records.RECORD], 64)
        self.assertEqual((32, 0), (verdict.missing, verdict.wrong))

    def test_nothing_written_proves_nothing(self):
        self.assertFalse(check(content(0), 0).intact)

    def test_every_slot_is_used_once(self):
        places = {REGION.position(number) for number in range(REGION.slots)}
        self.assertEqual(set(range(0, REGION.length, records.RECORD)), places)


class TestLog(base.TestCase):
    def setUp(self):
        super().setUp()
        self.consoles = [self.directory / name for name in ('a', 'b')]

    def follow(self, *contents):
        for console, content in zip(self.consoles, contents, strict=False):
            console.write_bytes(content)
        log = records.Log(self.consoles)
        log.start()
        # stopping reads what is left, so nothing is to be waited for
        log.stop()
        return log

    def test_acknowledgements_are_counted_by_their_number(self):
        log = self.follow(b'boot\nw a 0\nw a 1\nw b 0\nw a 7\n')
        self.assertEqual(8, log.written('vda'))
        self.assertEqual(1, log.written('vdb'))
        self.assertEqual(0, log.written('vdc'))
        self.assertEqual([], log.errors)

    def test_both_hosts_are_read(self):
        log = self.follow(b'w a 4\n', b'w a 5\nw a 6\n')
        self.assertEqual(7, log.written('vda'))

    def test_half_a_line_is_no_claim(self):
        self.assertEqual(1, self.follow(b'w a 0\nw a 12').written('vda'))

    def test_an_error_of_the_guest_is_kept(self):
        log = self.follow(b'w a 0\ne a 1 5\n')
        self.assertEqual(['e a 1 5'], log.errors)
        self.assertEqual(1, log.written('vda'))

    def test_an_error_as_the_guest_reboots_is_none(self):
        log = self.follow(
            b'e a 0 5\nw a 0\ne a 1 5\n[    2.6] reboot: Restarting\nw a 0\n'
        )
        self.assertEqual(['e a 0 5'], log.errors)


class TestOtherReports(base.TestCase):
    """What is made of a console, however it arrives."""

    def setUp(self):
        super().setUp()
        self.console = self.directory / 'console'
        self.found = records.Log([self.console])

    def _say(self, *lines):
        with self.console.open('a') as f:
            f.writelines(f'{line}\r\n' for line in lines)
        self.found._read(self.console)

    def test_each_kind_of_line_counts_by_itself(self):
        self._say('w a 0', 'c a 8', 'w a 1', 'w b 0', 'c b 16', 'nonsense')
        self.assertEqual(2, self.found.written('vda'))
        self.assertEqual(1, self.found.written('vdb'))
        self.assertEqual(8, self.found.chaos('vda'))
        self.assertEqual(16, self.found.chaos('vdb'))
        self.assertEqual([], self.found.errors)

    def test_a_failure_of_any_writer_is_an_error(self):
        self._say('e a 3 5', 'e b 9 discard 95', 'e a 1 read 5')
        self.assertEqual(
            ['e a 3 5', 'e b 9 discard 95', 'e a 1 read 5'], self.found.errors
        )

    def test_orders_are_answered(self):
        self._say('quiet')
        self.assertEqual((1, True), (self.found.answers, self.found.quiet))
        self._say('quiet', 'going')
        self.assertEqual((3, False), (self.found.answers, self.found.quiet))

    def test_reads_have_a_rate(self):
        now = time.monotonic()
        self.assertEqual(0, self.found.read_rate('vda', 0, now))
        for at, count in ((1, 100), (2, 300), (4, 500)):
            self.found._take(f'r a {count}'.encode(), now + at)
        self.assertEqual(200, self.found.read_rate('vda', now, now + 3))
        self.assertAlmostEqual(
            400 / 3, self.found.read_rate('vda', now, now + 9)
        )
        # a rate takes two reports
        self.assertEqual(0, self.found.read_rate('vda', now + 3, now + 9))
        self.assertEqual(0, self.found.read_rate('vdb', now, now + 9))
