# SPDX-License-Identifier: Apache-2.0
"""The harness's hold on the service of one host."""

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import nova_blockcopy
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.faults import channel
from nova_blockcopy.tests.faults import service
from nova_blockcopy.tests.lab import host as hosts
from nova_blockcopy.tests.lab import lab as labs

_SECONDS = 60
_PROJECT = pathlib.Path(nova_blockcopy.__file__).parent.parent


class Daemon:
    """The service of one host, which can be killed and started again.

    :param small: the small file systems of the lab
    :param options: options of the engine
    """

    def __init__(
        self,
        it: labs.Lab,
        at: hosts.Host,
        small: dict[str, int],
        options: dict[str, Any],
    ) -> None:
        self.at = at
        self.trace = service.trace(it, at)
        self._log = it.directory / f'service-{at.name}.log'
        self._address = service.address(it, at)
        self._order = {
            'lab': it.name,
            'host': at.name,
            'small': small,
            'options': options,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start the process; :meth:`wait` waits for its answer."""
        with self._log.open('ab') as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, '-m', service.__name__),
                    json.dumps(self._order),
                ],
                # closed by the end of this process, which ends the service
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=_PROJECT,
                env={**os.environ, **self.at.variables},
            )

    def wait(self) -> None:
        """Wait until the service answers.

        :raises LabError: it does not
        """
        if not waiting.until(self._answers, timeout=_SECONDS, interval=0.05):
            raise hosts.LabError(
                f'The service of host {self.at.name} does not start: '
                f'{self._log.read_text()[-2000:]}'
            )

    def start(self) -> None:
        """Start the service if it does not run, and wait for its answer."""
        if not self.alive:
            self.launch()
        self.wait()

    def kill(self, *, unit: bool = False) -> None:
        """Kill the service by SIGKILL.

        :param unit: kill its children on the host, too, as a service manager
            does (``KillMode=control-group`` of systemd)
        """
        if self._process is None:
            return
        self._process.kill()
        self._process.communicate()
        self._address.unlink(missing_ok=True)
        if unit:
            self.at.kill(
                each
                for each in self.at.processes()
                if not each.name().startswith(('libvirtd', 'qemu-system'))
            )

    def has_died(self) -> bool:
        """Tell whether the service has obeyed an order to die.

        If it has not, the order is taken back.
        """
        try:
            self.ask('die')
        except OSError:
            return True
        return False

    def ask(self, name: str, **values: Any) -> dict[str, Any]:
        """Ask the service.

        :raises OSError: the service does not run
        """
        return channel.ask(self._address, name, _SECONDS, **values)

    def log(self) -> str:
        """Return the end of the log of the service."""
        return self._log.read_text()[-20000:] if self._log.exists() else ''

    def _answers(self) -> bool:
        try:
            self.ask('ping')
        except (OSError, ValueError):
            return False
        return True
