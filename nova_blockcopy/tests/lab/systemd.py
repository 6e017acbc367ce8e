# SPDX-License-Identifier: Apache-2.0
"""systemd as the first process of namespaces of its own.

The units are those of a test only. The files are the machine's, so nothing
may start the units of the machine: they would change the machine.
"""

import pathlib
import secrets
import subprocess

import fixtures
import psutil

from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import tied

_SECONDS = 30
_UNITS = '/run/units'
#: Runs as the first process. Without other paths, systemd knows no unit of
#: the machine.
_BEGIN = f'''
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir {_UNITS}
for each in begin sysinit basic shutdown
do printf '[Unit]\\nDefaultDependencies=no\\n' > {_UNITS}/$each.target
done
export container=lab SYSTEMD_UNIT_PATH={_UNITS}
export SYSTEMD_GENERATOR_PATH=/none SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/none
exec "$1" --system --unit=begin.target --log-target=console --show-status=no
'''
_PROGRAMS = ('/lib/systemd/systemd', '/usr/lib/systemd/systemd')


class Systemd(fixtures.Fixture):
    """A systemd, which ends together with the fixture and with the process."""

    def _setUp(self) -> None:
        group = self._group()
        join = f'echo $$ > {group}/cgroup.procs; exec "$@"'
        self._outer = subprocess.Popen(
            tied.tied(
                *('sh', '-c', join, 'sh', 'unshare', '--mount', '--pid'),
                *('--fork', '--kill-child', '--cgroup', '--uts', '--ipc'),
                *('--mount-proc', 'sh', '-c', _BEGIN, 'sh', _program()),
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(self._outer.wait)
        self.addCleanup(self._outer.kill)
        if not waiting.until(self._runs, timeout=_SECONDS):
            raise host.LabError('systemd does not start in a namespace.')

    def add(self, unit: str, text: str) -> None:
        """Add a unit."""
        self.run('sh', '-c', f'cat > {_UNITS}/{unit}', text=text)
        self.run('systemctl', 'daemon-reload')

    def run(self, *argv: str, text: str = '') -> str:
        """Run a command beside the systemd.

        :returns: the standard output
        """
        (first,) = psutil.Process(self._outer.pid).children()
        return subprocess.run(
            ['nsenter', '-t', str(first.pid), '-m', '-p', '-C', '-u', *argv],
            check=True,
            input=text,
            stdout=subprocess.PIPE,
            text=True,
            timeout=_SECONDS,
        ).stdout

    def _group(self) -> pathlib.Path:
        """Make a control group, which is the root for the systemd."""
        mounts = pathlib.Path('/proc/mounts').read_text().splitlines()
        kinds = {line.split()[2]: line.split()[1] for line in mounts}
        group = pathlib.Path(kinds['cgroup2'], f'lab-{secrets.token_hex(4)}')
        group.mkdir()
        self.addCleanup(waiting.until, lambda: _gone(group), timeout=_SECONDS)
        return group

    def _runs(self) -> bool:
        try:
            return 'begin.target' in self.run('systemctl', 'list-units')
        except (subprocess.CalledProcessError, ValueError):
            return False


def _gone(group: pathlib.Path) -> bool:
    """Remove a control group, as soon as all its processes have ended."""
    try:
        for each in sorted(group.rglob('*/'), reverse=True):
            each.rmdir()
        group.rmdir()
    except OSError:
        return False
    return True


def _program() -> str:
    for path in _PROGRAMS:
        if pathlib.Path(path).exists():
            return path
    raise host.LabError('systemd is not installed (see bindep.txt).')
