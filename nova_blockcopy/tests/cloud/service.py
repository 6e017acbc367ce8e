# SPDX-License-Identifier: Apache-2.0
"""Services: processes on a host that can be started, awaited and ended."""

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

#: The directory of the Python environment that runs this code.
PREFIX = pathlib.Path(sys.prefix)
_TAIL = 3000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A process that outlives its starter; a file keeps its pid.

    :param argv: the command line; the output goes to the log
    :param log: a path outside of the host; each start appends to the file
    :param answers: tells whether the service answers
    :param environment: variables in addition to those of this process
    """

    name: str
    at: host.Host
    argv: tuple[str, ...]
    log: pathlib.Path
    answers: 'Callable[[Service], bool]'
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def variables(self) -> list[str]:
        """The environment, as arguments of env(1)."""
        return [f'{k}={v}' for k, v in self.environment.items()]

    def start(self) -> None:
        """Start the service, unless it runs."""
        if self.process is not None:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        begin = self.log.stat().st_size if self.log.exists() else 0
        pid = self.at.start('env', *self.variables, *self.argv, log=self.log)
        record = {
            'pid': pid,
            'created': psutil.Process(pid).create_time(),
            'begin': begin,
        }
        self._file.write_text(json.dumps(record))

    def wait(self, seconds: float = 90) -> None:
        """Wait until the service answers.

        :param seconds: time limit
        :raises LabError: the service ended or does not answer; the message
            has the end of the log
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
        """End the service by SIGTERM, or by SIGKILL after a time limit.

        :param seconds: time limit
        :raises LabError: the service had to be killed
        """
        process = self.process
        if process is None:
            return
        process.terminate()
        if psutil.wait_procs([process], timeout=seconds)[1]:
            self.kill()
            raise self._error(f'did not end in {seconds} s')

    def kill(self) -> None:
        """End the service by SIGKILL."""
        process = self.process
        if process is not None:
            process.kill()
            psutil.wait_procs([process], timeout=30)

    @property
    def process(self) -> psutil.Process | None:
        """The process of the service; None if the service does not run."""
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
        """Return the output of the service since its last start."""
        begin = json.loads(self._file.read_text())['begin']
        with self.log.open('rb') as f:
            f.seek(begin)
            return f.read().decode(errors='replace')

    @property
    def _file(self) -> pathlib.Path:
        return self.log.with_suffix('.json')

    def _error(self, problem: str) -> host.LabError:
        return host.LabError(
            f'{self.name} on host {self.at.name} {problem}. '
            f'The end of {self.log}:\n{self.output()[-_TAIL:]}'
        )


def program(name: str) -> str:
    """Return the path of a command of the Python environment."""
    return str(PREFIX / 'bin' / name)


def search_path(*first: pathlib.Path) -> str:
    """Return a PATH: these directories, the environment's, the system's."""
    return ':'.join(
        [*map(str, first), str(PREFIX / 'bin'), os.environ['PATH']]
    )


def runs(_service: Service) -> bool:
    """Take a service that has not ended for one that answers."""
    return True


def says(text: str) -> Callable[[Service], bool]:
    """Return a check for a text in the output since the last start."""
    return lambda service: text in service.output()
