# SPDX-License-Identifier: Apache-2.0
"""One process that serves, on one host: start, wait for it, end it."""

import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Callable
from collections.abc import Mapping

import psutil

from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.lab import host

#: Where the environment that runs this has its commands and its files.
PREFIX = pathlib.Path(sys.prefix)
_TAIL = 3000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A process that outlives its starter and is known by its number.

    :param argv: of the command; what it prints goes to the log
    :param log: as named outside of the host; is added to at each start
    :param answers: tells whether it is of use yet
    :param environment: what it gets besides our own
    """

    name: str
    at: host.Host
    argv: tuple[str, ...]
    log: pathlib.Path
    answers: 'Callable[[Service], bool]'
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.process is not None:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        begin = self.log.stat().st_size if self.log.exists() else 0
        variables = [f'{k}={v}' for k, v in self.environment.items()]
        pid = self.at.start('env', *variables, *self.argv, log=self.log)
        record = {
            'pid': pid,
            'created': psutil.Process(pid).create_time(),
            'begin': begin,
        }
        self._file.write_text(json.dumps(record))

    def wait(self, seconds: float = 90) -> None:
        """Wait until it answers.

        :raises LabError: it ended or is silent, with the end of its log
        """
        if not waiting.until(
            lambda: self.process is None or self.answers(self),
            timeout=seconds,
            interval=0.1,
        ):
            raise self._error(f'does not answer after {seconds} s')
        if self.process is None:
            raise self._error('has ended')

    def stop(self, seconds: float = 60) -> None:
        """Ask it to end; after some time, kill it.

        :raises LabError: it had to be killed
        """
        process = self.process
        if process is None:
            return
        process.terminate()
        if psutil.wait_procs([process], timeout=seconds)[1]:
            self.kill()
            raise self._error(f'did not end in {seconds} s')

    def kill(self) -> None:
        """End it without notice."""
        process = self.process
        if process is not None:
            process.kill()
            psutil.wait_procs([process], timeout=30)

    @property
    def process(self) -> psutil.Process | None:
        """What runs; None if nothing does."""
        try:
            record = json.loads(self._file.read_text())
            process = psutil.Process(record['pid'])
            if process.create_time() != record['created']:
                return None
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
        except (FileNotFoundError, psutil.NoSuchProcess):
            return None
        return process

    def output(self) -> str:
        """What it has said since it was last started."""
        begin = json.loads(self._file.read_text())['begin']
        with self.log.open('rb') as f:
            f.seek(begin)
            return f.read().decode(errors='replace')

    @property
    def _file(self) -> pathlib.Path:
        return self.log.with_suffix('.json')

    def _error(self, what: str) -> host.LabError:
        return host.LabError(
            f'{self.name} on host {self.at.name} {what}. '
            f'The end of {self.log}:\n{self.output()[-_TAIL:]}'
        )


def program(name: str) -> str:
    """A command of the environment that runs this."""
    return str(PREFIX / 'bin' / name)


def search_path(*first: pathlib.Path) -> str:
    """A PATH that begins with some directories, then the environment's."""
    return ':'.join(
        [*map(str, first), str(PREFIX / 'bin'), os.environ['PATH']]
    )


def runs(_service: Service) -> bool:
    """Tells nothing of a service but that it has not ended."""
    return True


def says(text: str) -> Callable[[Service], bool]:
    """Tells that a service has said something since it was started."""
    return lambda service: text in service.output()
