# SPDX-License-Identifier: Apache-2.0
"""Faults of QEMU's mirror job, each with the least that shows it.

``python -m nova_blockcopy.tests.lab.mirror_faults`` shows which of them the
QEMU of this machine has. It needs neither root nor a guest: the job runs in
a qemu-storage-daemon, and qemu-io writes what a guest would.

All copies are like libvirt's shallow ones to an image that exists: ``sync``
is ``top``, and the target is open without its backing file.
"""

import contextlib
import dataclasses
import io
import json
import pathlib
import re
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from nova_blockcopy.runtime import waiting
from nova_blockcopy.tests.lab import gate

KIB = 1024
MIB = 1024 * KIB
CLUSTER = 64 * KIB
SECTOR = 512
#: A size between the two, and a sector of many devices.
PAGE = 4096
_SIZE = 4 * MIB
#: Room for the metadata of a qcow2 file, where its file cannot grow.
_ROOM = 2 * _SIZE
_SECONDS = 10
#: For how long to wait for what happens at once if it happens at all.
_GRACE = 2
_WORDS = {True: 'yes', False: 'no'}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What the engine chooses, for a copy."""

    granularity: int = SECTOR
    synchronous: bool = False
    detect_zeroes: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a copy."""

    #: the daemon ended by itself, with these last words
    died: str | None = None
    #: the job ended with this error
    error: str | None = None
    #: the target's content is not the source's
    differs: bool = False
    #: the target's metadata is wrong, says qemu-img
    corrupt: bool = False

    @property
    def good(self) -> bool:
        return self == Outcome()

    def __str__(self) -> str:
        if self.died is not None:
            return f'QEMU died: {self.died}'
        if self.error is not None:
            return f'the job failed: {self.error}'
        found = [
            *(['the target is corrupt'] if self.corrupt else []),
            *(['the content differs'] if self.differs else []),
        ]
        return ', '.join(found) or 'right'


class Died(Exception):
    """The daemon has ended; the message is what it said at last."""


class Failed(Exception):
    """The job has ended with an error, which is the message."""


class Daemon:
    """A qemu-storage-daemon that runs from entry to exit.

    :param directory: where its sockets and its log are
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._log = directory / 'log'
        self._qmp = directory / 'qmp'
        self._nbd = directory / 'nbd'
        self._stream: io.TextIOWrapper | None = None

    def __enter__(self) -> 'Daemon':
        chardev = f'socket,id=c,path={self._qmp}'
        with self._log.open('wb') as log:
            self._process = subprocess.Popen(
                [
                    'qemu-storage-daemon',
                    *('--chardev', f'{chardev},server=on,wait=off'),
                    *('--monitor', 'chardev=c'),
                    *('--nbd-server', f'addr.type=unix,addr.path={self._nbd}'),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        # an abort is expected, and its core is of no use
        resource.prlimit(self._process.pid, resource.RLIMIT_CORE, (0, 0))
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_SECONDS)
        try:
            self.wait_for(self._connected)
            self._stream = self._socket.makefile('rw')
            self._stream.readline()
            self.execute('qmp_capabilities')
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_ignored: object) -> None:
        self._process.kill()
        self._process.wait()
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.close()
        self._socket.close()

    def execute(self, command: str, **arguments: object) -> Any:
        """Execute a command of QMP.

        :raises Died: the daemon has ended, before or by that
        """
        request = {
            'execute': command,
            'arguments': {
                name.replace('_', '-'): value
                for name, value in arguments.items()
            },
        }
        assert self._stream is not None
        try:
            self._stream.write(json.dumps(request) + '\n')
            self._stream.flush()
            while line := self._stream.readline():
                reply = json.loads(line)
                if 'error' in reply:
                    raise Failed(reply['error']['desc'])
                if 'return' in reply:
                    return reply['return']
        except ConnectionError:
            pass
        self._process.wait(_SECONDS)
        raise Died(self._log.read_text().splitlines()[-1])

    def add(self, name: str, driver: str, **options: object) -> None:
        """Open an image, or what lies below one."""
        self.execute('blockdev-add', node_name=name, driver=driver, **options)

    def write(self, *commands: str) -> None:
        """Write to the source, as a guest does; see qemu-io(1).

        :raises Died: the daemon ended while it was written to
        """
        done = _io('raw', f'nbd+unix:///source?socket={self._nbd}', *commands)
        if done.returncode:
            self.execute('query-jobs')
            raise RuntimeError(done.stderr)

    def export(self, name: str) -> None:
        """Let it be written to."""
        self.execute(
            'block-export-add',
            type='nbd',
            id='source',
            node_name=name,
            name='source',
            writable=True,
        )

    def mirror(self, settings: Settings) -> None:
        """Start the job, and wait until it is ready."""
        self.execute(
            'blockdev-mirror',
            job_id='job',
            device='source',
            target='target',
            sync='top',
            granularity=settings.granularity,
            copy_mode=(
                'write-blocking' if settings.synchronous else 'background'
            ),
            auto_dismiss=False,
        )
        self.wait_for(self.ready)

    def ready(self) -> bool:
        """Everything is copied.

        :raises Failed: it cannot be, for the job has failed
        """
        job = self.job()
        copied: int = job['current-progress']
        total: int = job['total-progress']
        return bool(job['status'] == 'ready' and copied == total)

    def job(self) -> dict[str, Any]:
        """The job, as QMP shows it.

        :raises Failed: it has failed
        """
        job: dict[str, Any] = self.execute('query-jobs')[0]
        if 'error' in job:
            raise Failed(job['error'])
        return job

    def complete(self) -> None:
        """Complete the job, and end: all that is in memory is written."""
        self.wait_for(self.ready)
        self.execute('job-complete', id='job')
        self.wait_for(lambda: self.job()['status'] == 'concluded')
        self.execute('quit')
        self._process.wait(_SECONDS)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let the job find at once all that is written meanwhile."""
        self.execute('job-pause', id='job')
        self.wait_for(lambda: self.job()['status'] in ('paused', 'standby'))
        yield
        self.execute('job-resume', id='job')

    @contextlib.contextmanager
    def progress(self, count: int) -> Iterator[None]:
        """Wait until more was copied, unless that does not come.

        :param count: bytes
        """
        before = self.job()['current-progress']
        yield
        waiting.until(
            lambda: self.job()['current-progress'] >= before + count,
            timeout=_GRACE,
            interval=0.01,
        )

    def wait_for(
        self, condition: Callable[[], bool], timeout: float = _SECONDS
    ) -> None:
        """Wait for something that must happen."""
        if not waiting.until(condition, timeout=timeout, interval=0.01):
            raise RuntimeError('The daemon, or its job, does not get on.')

    def _connected(self) -> bool:
        try:
            self._socket.connect(str(self._qmp))
        except OSError:
            return False
        return True


class Scene:
    """A source with a backing file, a target, and what has both open.

    The source's frozen layers are a raw image; what a guest writes goes to a
    qcow2 image above that.

    :param directory: where the images are
    :param cluster: the cluster size of the source, in bytes
    """

    def __init__(self, directory: pathlib.Path, cluster: int) -> None:
        self.directory = directory
        self.daemon = Daemon(directory)
        self.frozen = directory / 'frozen.raw'
        self.source = directory / 'source.qcow2'
        self.target = directory / 'target'
        self.target_format = 'qcow2'
        self.detect_zeroes = False
        self.frozen.write_bytes(b'\x11' * _SIZE)
        self._create(self.source, cluster)

    def layer_target(self) -> None:
        """Make the target a qcow2 image whose header names a backing file."""
        self._create(self.target, CLUSTER)

    def _create(self, image: pathlib.Path, cluster: int) -> None:
        _img(
            *('create', '-q', '-f', 'qcow2', '-o', f'cluster_size={cluster}'),
            *('-F', 'raw', '-b', self.frozen, image),
        )

    def open(
        self,
        frozen: gate.Gate | None = None,
        source: gate.Gate | None = None,
        target: gate.Gate | None = None,
        alignment: int | None = None,
    ) -> None:
        """Let the daemon open both, and export the source.

        :param frozen: what the backing file is reached through
        :param source: what the source is reached through
        :param target: what the target is reached through
        :param alignment: what the target's storage asks for
        """
        daemon = self.daemon
        self._open_storage('frozen', self.frozen, frozen)
        self._open_storage('source', self.source, source)
        self._open_storage('target', self.target, target)
        storage = 'target-storage'
        if alignment is not None:
            daemon.add('device', 'blkdebug', image=storage, align=alignment)
            storage = 'device'
        daemon.add('frozen', 'raw', file='frozen-storage')
        daemon.add('source', 'qcow2', file='source-storage', backing='frozen')
        raw = self.target_format == 'raw'
        daemon.add(
            'target',
            self.target_format,
            file=storage,
            discard='unmap',
            detect_zeroes='unmap' if self.detect_zeroes else 'off',
            **({} if raw else {'backing': None}),
        )
        daemon.export('source')

    def _open_storage(
        self, name: str, image: pathlib.Path, below: gate.Gate | None = None
    ) -> None:
        node = f'{name}-storage'
        if below is None:
            self.daemon.add(node, 'file', filename=str(image))
            return
        server = {'type': 'unix', 'path': str(below.address)}
        self.daemon.add(node, 'nbd', server=server)

    def verdict(self) -> Outcome:
        """Compare the images, once the daemon has ended."""
        compared = _img(
            *('compare', '-q', '-f', 'qcow2', '-F', self.target_format),
            *(self.source, self.target),
            check=False,
        )
        corrupt = False
        if self.target_format == 'qcow2':
            checked = _img('check', '-q', self.target, check=False)
            # 3: clusters are lost, which harms nothing
            corrupt = checked.returncode not in (0, 3)
        return Outcome(differs=compared.returncode != 0, corrupt=corrupt)


def _write_unaligned_run(scene: Scene, settings: Settings) -> None:
    """A guest writes 1 MiB from within a cluster of the target on."""
    scene.layer_target()
    with scene.daemon as daemon:
        scene.open()
        daemon.mirror(settings)
        with daemon.paused():
            daemon.write(f'write -P 2 {PAGE} 1M')
        daemon.complete()


def _write_sector(scene: Scene, settings: Settings) -> None:
    """A guest writes one sector after the copy has become ready."""
    scene.layer_target()
    with scene.daemon as daemon:
        scene.open()
        daemon.mirror(settings)
        daemon.write(f'write -P 2 {PAGE} {SECTOR}')
        daemon.complete()


def _overtake(scene: Scene, settings: Settings) -> None:
    """A guest writes to a cluster whose first page is being copied.

    The copy of that page reads the rest of the cluster from the frozen image,
    and that is held. Another copy begins before, and ends first: the job
    begins nothing new for as long as the first of all is under way.
    """
    scene.layer_target()
    with scene.target.open('r+b') as image:
        image.truncate(_ROOM)
    with (
        gate.Gate(scene.frozen, scene.directory / 'frozen-gate') as frozen,
        gate.Gate(scene.target, scene.directory / 'target-gate') as target,
        scene.daemon as daemon,
    ):
        scene.open(frozen=frozen, target=target)
        daemon.mirror(settings)
        with frozen.hold(gate.READ, 1), daemon.progress(2 * CLUSTER):
            with target.hold(gate.WRITE, 1):
                with daemon.paused():
                    daemon.write(
                        f'write -P 2 0 {CLUSTER}',
                        f'write -P 2 {2 * CLUSTER} {PAGE}',
                    )
                frozen.wait_for_held(1, _SECONDS)
                target.wait_for_held(1, _SECONDS)
                begin, length = 2 * CLUSTER + PAGE, CLUSTER - PAGE
                daemon.write(f'write -P 3 {begin} {length}')
        daemon.complete()


def _write_zeroes(scene: Scene, settings: Settings) -> None:
    """A guest writes data and zeroes into a cluster, and data elsewhere.

    The cluster reads as zeroes before, but has its place in the file. The
    write to that place is held. The source is behind a gate, too, for that
    answers in the order in which it was asked.
    """
    scene.frozen.write_bytes(bytes(_SIZE))
    scene.detect_zeroes = settings.detect_zeroes
    _img('create', '-q', '-f', 'qcow2', scene.target, str(_SIZE))
    _io('qcow2', scene.target, 'write -P 1 0 64k', 'write -z 0 64k')
    for each in (scene.source, scene.target):
        with each.open('r+b') as image:
            image.truncate(_ROOM)
    with (
        gate.Gate(scene.source, scene.directory / 'source-gate') as source,
        gate.Gate(scene.target, scene.directory / 'target-gate') as target,
        scene.daemon as daemon,
    ):
        scene.open(source=source, target=target)
        daemon.mirror(settings)
        with target.hold(gate.WRITE, 1):
            with daemon.paused():
                daemon.write(
                    f'write -P 2 0 {SECTOR}',
                    f'write -P 0 {2 * SECTOR} {SECTOR}',
                )
            with daemon.progress(SECTOR):
                target.wait_for_held(1, _SECONDS)
        daemon.wait_for(daemon.ready)
        daemon.write(f'write -P 3 {CLUSTER} {SECTOR}')
        daemon.complete()


def _write_to_coarse_target(scene: Scene, settings: Settings) -> None:
    """A guest writes 1 MiB from within a block of a raw target on."""
    scene.target_format = 'raw'
    scene.target.write_bytes(scene.frozen.read_bytes())
    with scene.daemon as daemon:
        scene.open(alignment=PAGE)
        daemon.mirror(settings)
        with daemon.paused():
            daemon.write(f'write -P 2 {SECTOR} 1M')
        daemon.complete()


Version = tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that QEMU does wrong with some settings.

    :param attempt: copies, and writes what shows it
    :param unsafe: settings that show it
    :param safe: settings that do not
    :param symptom: what is seen with the unsafe ones
    :param repaired: for each series of QEMU the release with the repair; the
        last one stands for all that follow, too
    :param cluster: the cluster size of the source, in bytes
    """

    name: str
    attempt: Callable[[Scene, Settings], None]
    unsafe: Settings
    safe: Settings
    symptom: str
    repaired: tuple[Version, ...] = ()
    cluster: int = CLUSTER

    def expected(self, version: Version) -> bool:
        """Tell whether this QEMU is known to have it."""
        if self.repaired and version >= self.repaired[-1]:
            return False
        return not any(
            version[:2] == repaired[:2] and version >= repaired
            for repaired in self.repaired
        )

    def outcome(self, settings: Settings) -> Outcome:
        """Try with these settings what becomes of a copy."""
        with tempfile.TemporaryDirectory(prefix='mirror-') as directory:
            scene = Scene(pathlib.Path(directory), self.cluster)
            try:
                self.attempt(scene, settings)
            except Died as e:
                return Outcome(died=str(e))
            except Failed as e:
                return Outcome(error=str(e))
            return scene.verdict()


#: All that is known. QEMU 7.2.22 and 10.0.13 were tried.
FAULTS = (
    Fault(
        name='unaligned run',
        attempt=_write_unaligned_run,
        unsafe=Settings(),
        safe=Settings(granularity=CLUSTER),
        symptom='Assertion `ret >= 0',
    ),
    Fault(
        name='overtaken copy',
        attempt=_overtake,
        unsafe=Settings(),
        safe=Settings(granularity=CLUSTER),
        symptom='the content differs',
        cluster=PAGE,
    ),
    Fault(
        name='synchronous write',
        attempt=_write_sector,
        unsafe=Settings(granularity=CLUSTER, synchronous=True),
        safe=Settings(granularity=CLUSTER),
        symptom='the content differs',
    ),
    Fault(
        name='zeroes beside data',
        attempt=_write_zeroes,
        unsafe=Settings(detect_zeroes=True),
        safe=Settings(granularity=CLUSTER),
        symptom='the target is corrupt',
        repaired=((10, 0, 11), (11, 1)),
    ),
    Fault(
        name='large blocks',
        attempt=_write_to_coarse_target,
        unsafe=Settings(),
        safe=Settings(granularity=PAGE),
        symptom='Invalid argument',
        repaired=((8, 1),),
    ),
)


def version() -> Version:
    """Return the version of the QEMU that is tried."""
    said = subprocess.run(
        ['qemu-storage-daemon', '--version'],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = re.search(r'version (\d+)\.(\d+)\.(\d+)', said)
    assert found is not None, said
    return tuple(int(each) for each in found.groups())


def main() -> int:
    """Show for each fault whether this QEMU has it."""
    this = version()
    print(f'{"QEMU":10}{"fault":20}{"affected":10}{"safe":6}outcome')
    for fault in FAULTS:
        unsafe = fault.outcome(fault.unsafe)
        safe = fault.outcome(fault.safe)
        print(
            f'{".".join(map(str, this)):10}{fault.name:20}'
            f'{_WORDS[not unsafe.good]:10}{_WORDS[safe.good]:6}{unsafe}'
        )
    return 0


def _img(
    *arguments: str | pathlib.Path, check: bool = True
) -> 'subprocess.CompletedProcess[str]':
    return subprocess.run(
        ['qemu-img', *arguments],
        check=check,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )


def _io(
    image_format: str, image: str | pathlib.Path, *commands: str
) -> 'subprocess.CompletedProcess[str]':
    steps = [part for command in commands for part in ('-c', command)]
    return subprocess.run(
        ['qemu-io', '-f', image_format, *steps, image],
        check=False,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )


if __name__ == '__main__':
    sys.exit(main())
