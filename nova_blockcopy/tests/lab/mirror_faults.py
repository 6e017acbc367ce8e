# SPDX-License-Identifier: Apache-2.0
"""Faults of QEMU's mirror job, each with a minimal reproduction.

``python -m nova_blockcopy.tests.lab.mirror_faults`` shows which faults the
QEMU of this machine has. The command needs neither root nor a guest: the job
runs in a qemu-storage-daemon, and qemu-io writes in place of a guest.

All copies are like libvirt's shallow copies to an existing image: ``sync`` is
``top``, and the target is open without its backing file.
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
from nova_blockcopy.tests.lab import tied

KIB = 1024
MIB = 1024 * KIB
CLUSTER = 64 * KIB
SECTOR = 512
#: A size between sector and cluster; many devices have sectors of this size.
PAGE = 4096
_SIZE = 4 * MIB
#: Room for the metadata of a qcow2 file, where its file cannot grow.
_ROOM = 2 * _SIZE
_SECONDS = 10
#: Seconds to wait for an effect that comes at once or never.
_GRACE = 2
_WORDS = {True: 'yes', False: 'no'}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a copy that the engine chooses.

    ``granularity`` is in bytes.
    """

    granularity: int = SECTOR
    synchronous: bool = False
    detect_zeroes: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a copy."""

    #: The daemon crashed; this is the last line of its log.
    died: str | None = None
    #: The job ended with this error.
    error: str | None = None
    #: The content of the target differs from the source.
    differs: bool = False
    #: "qemu-img check" finds errors in the target's metadata.
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
    """The daemon has crashed; the message is the last line of its log."""


class Failed(Exception):
    """The job has failed; the message is QEMU's error."""


class Daemon:
    """A qemu-storage-daemon that runs inside a ``with`` block.

    :param directory: for the daemon's sockets and log
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
                tied.tied(
                    'qemu-storage-daemon',
                    *('--chardev', f'{chardev},server=on,wait=off'),
                    *('--monitor', 'chardev=c'),
                    *('--nbd-server', f'addr.type=unix,addr.path={self._nbd}'),
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        # some faults abort the daemon, and nobody needs its core
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
        """Execute a QMP command and return its result.

        :raises Died: the daemon crashed
        :raises Failed: the command failed
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
        """Add a block node by ``blockdev-add``."""
        self.execute('blockdev-add', node_name=name, driver=driver, **options)

    def write(self, *commands: str) -> None:
        """Write to the source as a guest would; see qemu-io(1).

        :raises Died: the daemon crashed meanwhile
        """
        done = _io('raw', f'nbd+unix:///source?socket={self._nbd}', *commands)
        if done.returncode:
            self.execute('query-jobs')
            raise RuntimeError(done.stderr)

    def export(self, name: str) -> None:
        """Export a node over NBD, writable, under the name ``source``."""
        self.execute(
            'block-export-add',
            type='nbd',
            id='source',
            node_name=name,
            name='source',
            writable=True,
        )

    def mirror(self, settings: Settings) -> None:
        """Start the mirror job and wait until the job is ready."""
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
        """Tell whether the job is ready and has copied everything.

        :raises Failed: the job has failed
        """
        job = self.job()
        copied: int = job['current-progress']
        total: int = job['total-progress']
        return bool(job['status'] == 'ready' and copied == total)

    def job(self) -> dict[str, Any]:
        """Return the job as ``query-jobs`` shows it.

        :raises Failed: the job has failed
        """
        job: dict[str, Any] = self.execute('query-jobs')[0]
        if 'error' in job:
            raise Failed(job['error'])
        return job

    def complete(self) -> None:
        """Complete the job and end the daemon, which writes out its caches."""
        self.wait_for(self.ready)
        self.execute('job-complete', id='job')
        self.wait_for(lambda: self.job()['status'] == 'concluded')
        self.execute('quit')
        self._process.wait(_SECONDS)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Pause the job, so that it later finds all new writes at once."""
        self.execute('job-pause', id='job')
        self.wait_for(lambda: self.job()['status'] in ('paused', 'standby'))
        yield
        self.execute('job-resume', id='job')

    @contextlib.contextmanager
    def progress(self, count: int) -> Iterator[None]:
        """Wait at the end of a ``with`` block until more data is copied.

        The wait ends without an error if the job does not go on.

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
        """Wait for a condition that must come true.

        :param timeout: seconds
        :raises RuntimeError: the condition did not come true in time
        """
        if not waiting.until(condition, timeout=timeout, interval=0.01):
            raise RuntimeError(
                f'The daemon or its job makes no progress for {timeout} s.'
            )

    def _connected(self) -> bool:
        try:
            self._socket.connect(str(self._qmp))
        except OSError:
            return False
        return True


class Scene:
    """A source with a backing file, a target, and a daemon with both open.

    The frozen layer of the source is a raw image. The writes of a guest go to
    a qcow2 image on top of that layer.

    :param directory: for the images
    :param cluster: cluster size of the source in bytes
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
        """Let the daemon open source and target, and export the source.

        :param frozen: a gate between the daemon and the backing file
        :param source: a gate between the daemon and the source
        :param target: a gate between the daemon and the target
        :param alignment: request alignment of the target's storage in bytes
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
        """Compare the images after the end of the daemon."""
        compared = _img(
            *('compare', '-q', '-f', 'qcow2', '-F', self.target_format),
            *(self.source, self.target),
            check=False,
        )
        corrupt = False
        if self.target_format == 'qcow2':
            checked = _img('check', '-q', self.target, check=False)
            # 3 means leaked clusters, which do no harm
            corrupt = checked.returncode not in (0, 3)
        return Outcome(differs=compared.returncode != 0, corrupt=corrupt)


def _write_unaligned_run(scene: Scene, settings: Settings) -> None:
    """A guest writes 1 MiB that begins inside a cluster of the target."""
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
    """A guest writes to a cluster while the job copies its first page.

    The copy of that page reads the rest of the cluster from the frozen image.
    The gates hold back that read, and the write of an earlier copy. The
    earlier copy ends first, because the job starts no new copy while its
    oldest copy is in progress.
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

    Before, the cluster reads as zeroes but is allocated in the file. The gate
    holds back the write to that place. The source has a gate, too, because a
    gate answers requests in their order.
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
    """A guest writes 1 MiB that begins inside a block of a raw target."""
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
    """A fault of QEMU's mirror job that depends on the settings of a copy.

    :param attempt: copies and writes in the way that triggers the fault
    :param unsafe: settings with which the fault occurs
    :param safe: settings with which the fault does not occur
    :param symptom: a part of the outcome with the unsafe settings
    :param repaired: for each release series of QEMU, the release with the
        repair; later series than the last one have the repair, too
    :param cluster: cluster size of the source in bytes
    """

    name: str
    attempt: Callable[[Scene, Settings], None]
    unsafe: Settings
    safe: Settings
    symptom: str
    repaired: tuple[Version, ...] = ()
    cluster: int = CLUSTER

    def expected(self, version: Version) -> bool:
        """Tell whether a version of QEMU is known to have the fault."""
        if self.repaired and version >= self.repaired[-1]:
            return False
        return not any(
            version[:2] == repaired[:2] and version >= repaired
            for repaired in self.repaired
        )

    def outcome(self, settings: Settings) -> Outcome:
        """Run the attempt with these settings and return the result."""
        with tempfile.TemporaryDirectory(prefix='mirror-') as directory:
            scene = Scene(pathlib.Path(directory), self.cluster)
            try:
                self.attempt(scene, settings)
            except Died as e:
                return Outcome(died=str(e))
            except Failed as e:
                return Outcome(error=str(e))
            return scene.verdict()


#: All known faults. QEMU 7.2.22 and 10.0.13 were tried.
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
    """Return the version of the machine's QEMU."""
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
