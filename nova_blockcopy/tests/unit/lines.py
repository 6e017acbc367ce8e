# SPDX-License-Identifier: Apache-2.0
"""The lines that nova-compute's log would have, in oslo.log's format."""

import logging
import re

import fixtures
from oslo_config import cfg
from oslo_log import formatters
from oslo_log import log

#: In front of the message: time, process, level, logger and request.
_LINE = re.compile(
    r'\S+ \S+ \d+ (?P<level>\w+) (?P<logger>\S+) \[(?P<request>[^]]*)\] '
    r'(?:\[instance: (?P<instance>[^]]*)\] )?(?P<text>.*)',
    re.DOTALL,
)


class Line:
    """A line of the log, in its parts."""

    def __init__(self, whole: str) -> None:
        found = _LINE.fullmatch(whole)
        assert found is not None, whole
        self.whole = whole
        self.level = found['level']
        self.logger = found['logger']
        self.request = found['request']
        self.instance = found['instance']
        #: The message, with a traceback if there is one.
        self.text = found['text']

    def __repr__(self) -> str:
        return self.whole


class Lines(fixtures.Fixture):
    """All lines of our loggers, from DEBUG on, as oslo.log formats them."""

    def _setUp(self) -> None:
        self.all: list[Line] = []
        conf = cfg.ConfigOpts()
        log.register_options(conf)
        conf([])
        # where a line of the level DEBUG comes from
        conf.set_override('logging_debug_format_suffix', '')
        handler = _Handler(self.all)
        handler.setFormatter(formatters.ContextFormatter(config=conf))
        logger = logging.getLogger('nova_blockcopy')
        before = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        self.addCleanup(logger.setLevel, before)
        self.addCleanup(logger.removeHandler, handler)

    def of(self, *levels: str) -> list[str]:
        """The messages of these levels."""
        return [each.text for each in self.all if each.level in levels]

    def complaints(self) -> list[str]:
        """The messages that ask for a person.

        Clear text is the choice of the operator, and each export warns of it.
        """
        return [
            text
            for text in self.of('WARNING', 'ERROR', 'CRITICAL')
            if ' is exported in clear text ' not in text
        ]


class _Handler(logging.Handler):
    def __init__(self, lines: list[Line]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        # others format the same record
        own = logging.makeLogRecord(record.__dict__)
        self._lines.append(Line(self.format(own)))
