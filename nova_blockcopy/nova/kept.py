# SPDX-License-Identifier: Apache-2.0
"""The seeded bases that a destination keeps for the next attempt.

Nova removes the bases when it rolls a migration back. To keep them, files
are moved into a directory next to the instance's own, as Nova does for a
resize. Volumes stay in their place, and a note tells Nova's cleanup to leave
them. The book of ``records.received`` says how much of each base is seeded.
The engine verifies that before the next attempt uses a base.
"""

import os
import pathlib
import shutil
import threading
import time
from collections.abc import Mapping

from nova_blockcopy import model
from nova_blockcopy.nova import compat
from nova_blockcopy.records import keeping
from nova_blockcopy.records import received
from nova_blockcopy.runtime import log as logging

LOG = logging.getLogger(__name__)

_SUFFIX = '_kept'


class Kept:
    """The kept bases of one host, each until a time. Thread-safe.

    :param directory: of the journals
    :param instances: Nova's ``instances_path``
    """

    def __init__(self, directory: str, instances: str) -> None:
        self._directory = directory
        self._notes = keeping.Notes(directory)
        self._instances = pathlib.Path(instances)
        self._lock = threading.RLock()

    def start(self) -> None:
        """Remove the bases whose time is over, and later those that follow."""
        for folder in self._instances.glob(f'*{_SUFFIX}'):
            if self._notes.has(folder.name.removesuffix(_SUFFIX)):
                continue
            try:
                shutil.rmtree(folder)
            except OSError as e:  # nova-compute must start
                LOG.error(
                    '%s is left of kept bases, and cannot be removed (%s). '
                    'Remove it.',
                    *(folder, e.strerror),
                )
        for guest in self._notes.guests():
            until = self._read(guest).until
            if until is not None:
                self._schedule(guest, until)

    def keep(self, guest: str, seconds: int) -> None:
        """Keep the bases of a guest that have been seeded.

        :param guest: UUID
        :param seconds: until they are removed
        """
        found = [each.base.path for each in self._book(guest).bases()]
        if not found:
            return
        home = self._instances / guest
        volumes = tuple(
            path
            for path in found
            if not pathlib.Path(path).is_relative_to(home)
            and os.path.exists(path)
        )
        until = time.time() + seconds
        with self._lock:
            note = keeping.Note(until=until, volumes=volumes)
            self._notes.write(guest, note)
            if home.exists():
                shutil.rmtree(self._folder(guest), ignore_errors=True)
                home.rename(self._folder(guest))
        LOG.info(
            'The seeded bases are kept on this host for %d s, for another '
            'attempt',
            seconds,
        )
        self._schedule(guest, until)

    def has(self, guest: str) -> bool:
        """Whether bases of a guest are kept."""
        return self._notes.has(guest)

    def volumes(self, guest: str) -> list[str]:
        """The paths of the volumes that are kept for a guest."""
        return list(self._read(guest).volumes)

    def adopt(
        self,
        guest: str,
        wanted: Mapping[str, tuple[model.ImageFormat | None, int]],
    ) -> list[str]:
        """Use the kept bases that fit, and remove the others.

        :param wanted: the format and the size in bytes of each base, by path
        :returns: the volumes that exist already
        """
        with self._lock:
            volumes = self.volumes(guest)
            # from here on Nova may remove the volumes again
            self._notes.remove(guest)
            fitting = {
                each.base.path
                for each in self._book(guest).bases()
                if wanted.get(each.base.path)
                == (each.base.format, each.size_bytes)
            }
            others = [path for path in volumes if path not in fitting]
            if others:
                compat.remove_volumes(others)
            names = {os.path.basename(path) for path in fitting}
            for path in self._files(guest):
                if path.name not in names:
                    path.unlink()
        return [path for path in volumes if path in fitting]

    def put_back(self, guest: str) -> None:
        """Put the adopted files in the place of those that Nova has made."""
        for path in self._files(guest):
            path.replace(self._instances / guest / path.name)
        shutil.rmtree(self._folder(guest), ignore_errors=True)

    def drop(self, guest: str) -> None:
        """Remove the kept bases of a guest, if there are any."""
        with self._lock:
            volumes = self.volumes(guest)
            if volumes:
                compat.remove_volumes(volumes)
            shutil.rmtree(self._folder(guest), ignore_errors=True)
            self._book(guest).close()
            self._notes.remove(guest)

    def _schedule(self, guest: str, until: float) -> None:
        timer = threading.Timer(
            min(max(0.0, until - time.time()), threading.TIMEOUT_MAX),
            logging.carried(self._expire),
            [guest, until],
        )
        timer.daemon = True
        timer.start()

    def _expire(self, guest: str, until: float) -> None:
        with self._lock:
            if self._read(guest).until != until:
                return
            with logging.about(guest):
                LOG.info('The kept bases are removed')
                self.drop(guest)

    def _read(self, guest: str) -> keeping.Note:
        return self._notes.find(guest) or keeping.Note()

    def _book(self, guest: str) -> received.Book:
        return received.Book(self._directory, guest)

    def _files(self, guest: str) -> list[pathlib.Path]:
        return [
            path for path in self._folder(guest).glob('*') if path.is_file()
        ]

    def _folder(self, guest: str) -> pathlib.Path:
        return self._instances / f'{guest}{_SUFFIX}'
