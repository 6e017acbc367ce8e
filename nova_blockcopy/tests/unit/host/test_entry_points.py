# SPDX-License-Identifier: Apache-2.0
"""Each path that an entry point of the helper takes is proven, by a real one.

Nothing here asks for a file of this machine: a file of the test takes the
place of one that the helper must not touch.
"""

import ast
import importlib
import itertools
import os
import pathlib
import subprocess
from typing import Any

import ddt

import nova_blockcopy
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy import wire
from nova_blockcopy.host import certificates
from nova_blockcopy.host import checksums
from nova_blockcopy.host import deltas
from nova_blockcopy.host import header
from nova_blockcopy.host import images
from nova_blockcopy.host import qemu_log
from nova_blockcopy.host import transfer
from nova_blockcopy.tests.unit import base
from nova_blockcopy.tests.unit import samples
from nova_blockcopy.tests.unit.host import servers
from nova_blockcopy.tests.unit.runtime import test_privsep

PACKAGE = pathlib.Path(nova_blockcopy.__file__).parent
MIB = 1024 * 1024
DECORATORS = {'privsep.entrypoint', 'privsep.lasting'}
SECRET = b'root:$y$secret'
OPTIONS = """
[DEFAULT]
instances_path = {directory}/instances
[blockcopy]
delta_dir = {directory}/deltas
export_tls_dir = {directory}/pki
"""
LOCAL = wire.pack(header.LOCAL)


def raw(path):
    return samples.image(path, samples.FILE)


def qcow2(path, backing=None):
    return samples.image(path, samples.FILE, samples.QCOW2, backing)


def shown(image, content):
    planned = servers.planned('name', content=content)
    return wire.pack(planned), wire.pack(image), None, 5


def encrypted(directory):
    return wire.pack(
        model.Encryption(directory=directory, side=model.Side.CLIENT)
    )


def piece(target, content=False, encryption=None):
    there = samples.export('vda', 1, content=content)
    seed = model.Seed(
        disk='vda',
        source=raw('/source'),
        target=target,
        export=there,
        extents=(),
        size_bytes=MIB,
    )
    extent = wire.pack(model.Extent(offset=0, length=512))
    return wire.pack(seed), extent, 0, False, encryption, 5


#: For each entry point and each path that it takes: the arguments, made from
#: that path, the path of an image and that of an overlay on the image.
CALLS: dict[str, Any] = {
    'apparmor.permit_writing': [
        lambda p, image, _: (p, image),
        lambda p, *_: (samples.UUID, p),
    ],
    'certificates._check_readable': [lambda p, *_: ('host', p)],
    'certificates._look': [lambda p, *_: ('host', p)],
    'checksums._bytes': [lambda p, *_: (p, 0, 1)],
    'checksums._read': [
        lambda p, *_: (wire.pack(raw(p)), wire.pack(samples_part()), 5),
        lambda p, *_: (wire.pack(qcow2(p)), wire.pack(samples_part()), 5),
        lambda p, _, top: (
            *(wire.pack(qcow2(top, raw(p))), wire.pack(samples_part())),
            5,
        ),
    ],
    'container._lengthen': [lambda p, *_: (p, MIB)],
    'deltas._create': [
        lambda p, image, _: (wire.pack(qcow2(p, raw(image))), MIB, 5),
        lambda p, image, _: (
            *(wire.pack(qcow2(f'{deltas_beside(image)}/new', raw(p))), MIB),
            5,
        ),
    ],
    'deltas._stand_on': [
        lambda p, image, _: (wire.pack(qcow2(p, raw(image))), LOCAL, 5),
        lambda p, _, top: (wire.pack(qcow2(top, raw(p))), LOCAL, 5),
    ],
    'deltas._commit': [
        lambda p, image, _: (wire.pack(qcow2(p, raw(image))), image, {}, 5),
        lambda p, _, top: (wire.pack(qcow2(top, raw(p))), p, {}, 5),
        lambda p, image, top: (wire.pack(qcow2(top, raw(image))), p, {}, 5),
    ],
    'deltas.present': [lambda p, *_: ([p],)],
    'deltas.retire': [lambda p, *_: (p,)],
    'deltas.remove': [lambda p, *_: ([p],)],
    'deltas.allocated': [lambda p, *_: (p,)],
    'deltas.check_direct': [lambda p, *_: (p,)],
    'directories._prepare_as_root': [
        lambda p, *_: (p, 'delta_dir', 0o711, 0, 0)
    ],
    'export._start': [
        lambda p, *_: shown(raw(p), content=False),
        lambda p, *_: shown(raw(p), content=True),
        lambda p, *_: shown(qcow2(p), content=True),
        lambda p, _, top: shown(qcow2(top, raw(p)), content=True),
        lambda p, image, _: (
            *shown(raw(image), content=False)[:2],
            *(encrypted(p), 5),
        ),
    ],
    'firmware._names': [lambda p, *_: (p,)],
    'firmware._read': [lambda p, *_: (p,)],
    'firmware._write': [lambda p, *_: (p, b'')],
    'header.check': [
        lambda p, *_: ([[p, LOCAL]],),
        lambda p, *_: ([[p, None]],),
    ],
    'holders._holders': [lambda p, *_: (p, os.getpid())],
    'images.length': [lambda p, *_: (p,)],
    'images.alignment': [lambda p, *_: (p,)],
    'images.check_direct': [lambda p, *_: (p,)],
    'images._digest': [lambda p, *_: ([p],), lambda p, i, _: ([i, p],)],
    'images._data': [lambda p, *_: (p,)],
    'images.data_end': [lambda p, *_: (p,)],
    'images.info': [lambda p, *_: (p,)],
    'images.reserve': [lambda p, *_: (p, MIB, 5)],
    'space._look': [
        lambda p, *_: (p, []),
        lambda p, image, _: (deltas_beside(image), [image, p]),
    ],
    'transfer._resize': [lambda p, *_: (p, 0)],
    'transfer._empty': [
        lambda p, *_: (p, 0, False),
        lambda p, *_: (p, 0, True),
    ],
    'transfer._convert': [
        lambda p, *_: piece(raw(p)),
        lambda p, *_: piece(qcow2(p), content=True),
        lambda p, _, top: piece(qcow2(top, raw(p)), content=True),
        lambda p, image, _: piece(raw(image), encryption=encrypted(p)),
    ],
}
#: Those that take no path.
PATHLESS = {
    *('programs.versions', 'qemu_conf._read'),
    *('visibility._current', 'scope.obstacle', 'servers.find'),
    *('servers.end', 'qemu_log.tail'),
}


def deltas_beside(image):
    return str(pathlib.Path(image).parents[1] / 'deltas')


def samples_part():
    return model.Extent(offset=0, length=512)


def found(name):
    """The entry point of a name."""
    module, _dot, function = name.partition('.')
    return getattr(
        importlib.import_module(f'nova_blockcopy.host.{module}'), function
    )


def declared():
    """The names of all entry points in the source."""
    for path in PACKAGE.rglob('*.py'):
        if 'tests' in path.relative_to(PACKAGE).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and DECORATORS & set(
                map(ast.unparse, node.decorator_list)
            ):
                yield f'{path.stem}.{node.name}'


class EntryPointTestCase(test_privsep.HelperTestCase):
    def setUp(self):
        super().setUp()
        self.instances = self.directory / 'instances'
        (self.instances / 'folder').mkdir(parents=True)
        (self.directory / 'deltas').mkdir()
        (self.directory / 'pki').mkdir()
        self.secret = self.directory / 'secret'
        self.secret.write_bytes(SECRET)
        self.image = self.instances / 'image'
        self.image.write_bytes(bytes(MIB))
        self.top = self.overlay('top', self.image)

    def options(self):
        return OPTIONS.format(directory=self.directory)

    def overlay(self, name, below):
        path = self.instances / name
        self.qemu_img('create', '-b', str(below), '-F', 'raw', path)
        return path

    def qemu_img(self, action, *arguments):
        subprocess.run(
            ['qemu-img', action, '-q', '-f', 'qcow2', *map(str, arguments)],
            check=True,
            capture_output=True,
        )

    def refused(self, call, *arguments):
        """Call something that must refuse a path; return the words."""
        error = self.assertRaises(exception.BlockCopyError, call, *arguments)
        self.assertIsInstance(
            error,
            (
                *(exception.ImageError, exception.CertificateError),
                exception.UnsafeDirectory,
            ),
            str(error),
        )
        return str(error)


@ddt.ddt
class TestEntryPoints(EntryPointTestCase):
    def test_each_one_is_in_the_table(self):
        self.assertEqual(sorted(declared()), sorted([*CALLS, *PATHLESS]))

    def forbidden(self):
        """Paths that no entry point may use."""
        link, device = self.instances / 'link', self.instances / 'device'
        link.symlink_to(self.secret)
        device.symlink_to('/dev/null')
        pipe = self.instances / 'pipe'
        os.mkfifo(pipe)
        return (
            *map(str, (self.secret, link, device, pipe)),
            *map(str, (self.instances / 'folder', '/dev/null', '/')),
            *(f'{self.instances}/../secret', 'instances/image', '--help'),
            *('json:{}', 'nbd://x', '', f'{self.image}\0', '..'),
        )

    @ddt.data(*sorted({name.partition('.')[0] for name in CALLS}))
    def test_a_path_that_is_none_of_an_image(self, module):
        paths = self.forbidden()
        before = sorted(self.directory.rglob('*'))
        for name, calls in CALLS.items():
            if name.startswith(f'{module}.'):
                for arguments, path in itertools.product(calls, paths):
                    said = self.refused(
                        found(name),
                        *arguments(path, str(self.image), str(self.top)),
                    )
                    self.assertTrue('\0' in path or path in said, said)
        self.assertEqual(SECRET, self.secret.read_bytes())
        self.assertEqual(before, sorted(self.directory.rglob('*')))

    def test_a_name_of_a_log(self):
        for named in (str(self.secret), f'../{self.secret}', '..', 'a\0b'):
            said = qemu_log.tail(named)
            self.assertNotIn(SECRET.decode(), said)
            self.assertIn('log', said)

    def test_a_pipe_in_place_of_a_certificate(self):
        pipe = self.directory / 'pki' / 'ca-cert.pem'
        os.mkfifo(pipe)
        said = self.refused(certificates._look, 'host', str(pipe))
        self.assertIn('regular', said)

    def test_a_certificate(self):
        path = self.directory / 'pki' / 'ca-cert.pem'
        path.write_text('none')
        certificates._check_readable('host', str(path))


class TestHeaders(EntryPointTestCase):
    """A header can name any file."""

    def test_one_that_a_description_follows(self):
        path = self.overlay('other', self.image)
        self.qemu_img('rebase', '-u', '-b', self.secret, '-F', 'raw', path)
        described = images.describe(str(path), samples.QCOW2)
        said = self.refused(images.digest, described.backing)
        self.assertIn(str(self.secret), said)

    def test_one_that_a_merge_follows(self):
        for named in (self.secret, 'nbd://x', '../secret', 'json:{}'):
            base = self.overlay('base', self.image)
            top = self.directory / 'deltas' / 'delta'
            self.qemu_img('create', '-b', str(base), '-F', 'qcow2', top)
            self.qemu_img('rebase', '-u', '-b', named, '-F', 'raw', base)
            below = qcow2(str(base), raw(str(self.image)))
            self.refused(deltas.commit, qcow2(str(top), below), below, 5)

    def test_one_that_a_merge_may_follow(self):
        base = self.overlay('base', self.image)
        self.qemu_img('rebase', '-u', '-b', 'image', '-F', 'raw', base)
        top = self.directory / 'deltas' / 'delta'
        self.qemu_img('create', '-b', str(base), '-F', 'qcow2', top)
        below = qcow2(str(base), raw(str(self.image)))
        deltas.commit(qcow2(str(top), below), below, 30)


class TestWithoutHelper(base.TestCase):
    """A process that is root itself waits for no FIFO either."""

    def test_a_pipe(self):
        pipe = str(self.directory / 'pipe')
        os.mkfifo(pipe)
        for call, *arguments in (
            (images.length, pipe),
            (checksums._bytes, pipe, 0, 1),
            (images.digest, raw(pipe)),
            (transfer._empty, pipe, 0, True),
        ):
            self.assertRaises(exception.ImageError, call, *arguments)
