# SPDX-License-Identifier: Apache-2.0
"""Two machines, one guest with local disks, and its way between them."""

import json
import pathlib
import re
import socket
import subprocess
import time
import uuid
from typing import Any

import fixtures

from nova_blockcopy import domxml
from nova_blockcopy import model
from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.hosts import image as images
from nova_blockcopy.tests.hosts import machine
from nova_blockcopy.tests.lab import guest
from nova_blockcopy.tests.lab import host
from nova_blockcopy.tests.lab import kernel
from nova_blockcopy.tests.lab import records

#: The unit of the distribution, in which the engine runs, see ``agent.py``.
UNIT = 'nova-compute'
_DIST = pathlib.Path(__file__).parents[3] / 'dist'
_AGENT = pathlib.Path(__file__).with_name('agent.py')
_SECONDS = 1800
_TICK = 2
_INSTANCES = '/var/lib/nova/instances'
#: The directory of a machine for all that the tests put there.
_FILES = pathlib.PurePath('/srv')
_CONSOLE = '/var/log/libvirt/guest.console'


def _image(
    path: str,
    kind: model.ImageKind = model.ImageKind.FILE,
    backing: model.Image | None = None,
) -> model.Image:
    kinds = model.ImageFormat
    return model.Image(
        path=path,
        kind=kind,
        format=kinds.QCOW2 if backing else kinds.RAW,
        backing=backing,
    )


#: The disks of the guest: a logical volume, a qcow2 over a cached base, and a
#: raw file.
DISKS = {
    'vda': _image('/dev/vg/guest_vda', model.ImageKind.BLOCK),
    'vdb': _image(
        f'{_INSTANCES}/guest/disk', backing=_image(f'{_INSTANCES}/_base/base')
    ),
    'vdc': _image(f'{_INSTANCES}/guest/disk.eph0'),
}
#: The target of the guest's CD drive, and its medium, which both hosts have.
DRIVE = 'hda'
MEDIUM = _FILES / 'base'
_CD = f"""
<disk type="file" device="cdrom">
  <driver name="qemu" type="raw"/>
  <source file="{MEDIUM}"/>
  <target dev="{DRIVE}" bus="ide"/>
  <readonly/>
</disk>
"""
_REGION = records.Region(offset=2**20, length=8 * 2**20)
_WRITTEN = re.compile(r'^w ([a-z]) (\d+)', re.MULTILINE)

_SET_UP = """
set -e
date -s "@$1" >/dev/null
dpkg -i /srv/*.deb >/dev/null
cat >> /etc/libvirt/libvirtd.conf <<END
auth_tcp = "none"
END
systemctl stop libvirtd.service 2>/dev/null
systemctl enable --quiet --now libvirtd-tcp.socket
pvcreate -q /dev/vdb >/dev/null
vgcreate -q vg /dev/vdb >/dev/null
cat > /etc/nova/agent.conf <<END
[nova_blockcopy_sys_admin]
helper_command = sudo privsep-helper --config-file /etc/nova/agent.conf
[DEFAULT]
state_path = /var/lib/nova
[libvirt]
images_volume_group = vg
END
install -d /etc/systemd/system/UNIT.service.d
cat > /etc/systemd/system/UNIT.service.d/agent.conf <<END
[Service]
Type=exec
ExecStart=
ExecStart=/usr/bin/python3 -u /srv/agent.py $2 {}
END
chmod 644 /srv/*
install -d -o nova -g nova INSTANCES/_base INSTANCES/guest
cp /srv/base INSTANCES/_base/base
systemctl unmask --quiet UNIT
systemctl start UNIT
""".replace('INSTANCES', _INSTANCES).replace('UNIT', UNIT)
_DISKS = """
set -e
lvremove -qfy vg/guest_vda >/dev/null 2>&1 || true
lvcreate -qy -Wy -L 256M -n guest_vda vg >/dev/null
cd INSTANCES/guest
rm -f *
qemu-img create -q -f qcow2 -b INSTANCES/_base/base -F raw disk 256M
qemu-img create -q -f raw disk.eph0 256M
chown -R nova:nova INSTANCES
""".replace('INSTANCES', _INSTANCES)
_PARAMETERS = {
    'disks': len(DISKS),
    'offset': _REGION.offset,
    'length': _REGION.length,
    'interval': 50_000,
    **dict.fromkeys(('load', 'chaos', 'discards', 'reader', 'lazy'), 0),
    'load_length': 2**22,
}


class Pair(fixtures.Fixture):
    """Two machines that run, with libvirt and the engine."""

    def _setUp(self) -> None:
        folder = pathlib.Path(
            self.useFixture(fixtures.TempDir('/var/tmp')).path
        )
        (package,) = _DIST.glob('*.deb')
        of = images.make('trixie', package)
        kernel.copy(folder)
        (folder / 'base').write_bytes(b'base' * 2**20)
        subprocess.run(['truncate', '-s', '256M', folder / 'base'], check=True)
        self.machines = tuple(
            self.useFixture(machine.Machine(of, number, folder))
            for number in (1, 2)
        )
        files = (folder / kernel.KERNEL, folder / kernel.INITRAMFS)
        for each in self.machines:
            each.wait()
            each.put(
                str(_FILES),
                *files,
                folder / 'base',
                _AGENT,
                package,
            )
            each.run(f'set -- {int(time.time())} {each.number}\n{_SET_UP}')

    def start_guest(self) -> None:
        """Start the guest on the first machine."""
        at = self.machines[0]
        at.run(_DISKS)
        root = guest.definition(
            name='guest',
            uuid=str(uuid.uuid4()),
            boot=_FILES,
            console=_CONSOLE,
            parameters=_PARAMETERS,
            disks=DISKS,
            cache='none',
        )
        devices = root.find('devices')
        assert devices is not None
        devices.append(domxml.parse(_CD))
        xml = _FILES / 'guest.xml'
        at.run(
            f"cat > {xml} <<'END'\n{domxml.text(root)}\nEND\n"
            f'virsh --quiet define {xml} && virsh --quiet start guest'
        )
        self.wait_for_writes(at)

    def move(
        self,
        to: machine.Machine,
        mode: str,
        *,
        hold: str = '',
        abort: str = '',
    ) -> list[str]:
        """Migrate the guest to a machine.

        :param hold: the state in which the migration waits for :meth:`go`,
            or for the end of the unit
        :param abort: the state in which the migration is aborted
        :returns: the log of the engine on the source
        """
        source = self.other(to)
        to.run(_DISKS)
        self.ask(
            source,
            'test-move',
            guest='guest',
            bases={target: disk.path for target, disk in DISKS.items()},
            mode=mode,
            hold=hold,
            abort=abort,
        )
        return self.wait_for_log(source, 'held' if hold else 'ended')

    def go(self, source: machine.Machine) -> list[str]:
        """Let a migration go on that waits.

        :returns: the log of the engine on the source
        """
        self.ask(source, 'test-go')
        return self.wait_for_log(source, 'ended')

    def ask(
        self, at: machine.Machine, operation: str, **values: Any
    ) -> dict[str, Any]:
        """Ask the engine of a machine.

        :raises OSError: it does not run
        """
        to = ('127.0.0.1', at.port)
        with socket.create_connection(to, _SECONDS) as connection:
            with connection.makefile('rw') as stream:
                question = {'operation': operation, **values}
                stream.write(json.dumps(question) + '\n')
                stream.flush()
                answer: dict[str, Any] = json.loads(stream.readline())
                return answer

    def wait_for_log(self, at: machine.Machine, word: str) -> list[str]:
        """Wait until the log of an engine has a line that begins so."""
        log: list[str] = []

        def has_come() -> bool:
            try:
                log[:] = self.ask(at, 'test-log')['log']
            except (OSError, ValueError):
                return False  # it starts again
            return any(line.startswith((word, 'ended')) for line in log)

        if not waiting.until(has_come, timeout=_SECONDS, interval=_TICK):
            raise host.LabError(f'{at.name} has not {word}: {log}')
        return log

    def other(self, at: machine.Machine) -> machine.Machine:
        """Return the other machine."""
        return self.machines[2 - at.number]

    def wait_for_writes(self, at: machine.Machine) -> None:
        """Wait until the guest writes to each disk, on a machine."""
        before = self._written(at)

        def all_written() -> bool:
            now = self._written(at)
            return len(now) == len(DISKS) and all(
                now[disk] > before.get(disk, 0) for disk in now
            )

        if not waiting.until(all_written, timeout=_SECONDS, interval=_TICK):
            raise host.LabError(f'The guest does not write on {at.name}.')

    def verdicts(self, at: machine.Machine) -> list[records.Verdict]:
        """End the guest, and look for its records on its disks."""
        at.run('virsh --quiet destroy guest')
        written = self._written(*self.machines)
        found = []
        for target, image in DISKS.items():
            # "count" of qemu-img dd includes what "skip" leaves out
            end = _REGION.offset + _REGION.length
            at.run(
                f'cd {_FILES} && rm -f content && qemu-img dd '
                f'-f {image.format} -O raw bs=1M count={end // 2**20} '
                f'if={image.path} of=content'
            )
            content = at.get(f'{_FILES}/content')
            if len(content) != end:
                raise host.LabError(
                    f'{len(content)} bytes of {image.path} are read.'
                )
            disk = target[-1]
            found.append(
                records.check(
                    disk, content[_REGION.offset :], _REGION, written[disk]
                )
            )
        return found

    def _written(self, *at: machine.Machine) -> dict[str, int]:
        """Return how many records of each disk the guest has reported."""
        found: dict[str, int] = {}
        for each in at:
            console = each.run(f'tail -c 4000 {_CONSOLE}', check=False)
            for disk, number in _WRITTEN.findall(console):
                found[disk] = max(found.get(disk, 0), int(number) + 1)
        return found
