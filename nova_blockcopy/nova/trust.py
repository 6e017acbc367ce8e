# SPDX-License-Identifier: Apache-2.0
"""What Nova knows about the sources of migrations to this host."""

import pathlib
import re
from collections.abc import Callable
from collections.abc import Collection

from oslo_utils import netutils

from nova_blockcopy import address as addresses
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.nova import preparation

_NAME = re.compile(r'[0-9A-Za-z]([0-9A-Za-z._-]*[0-9A-Za-z])?')
#: Stands for an address in a URI.
_MARK = 'address-of-a-source'


class Trust:
    """Compares the messages of sources with this host's own knowledge.

    :param host: this host's name in Nova
    :param preparations: the bases that Nova has had made here
    :param endpoint: tells how this host's libvirt reaches an address, by this
        host's own configuration
    :param places: the directories in which Nova has disks on this host
    """

    def __init__(
        self,
        host: str,
        preparations: preparation.Preparations,
        endpoint: Callable[[str], model.Endpoint],
        places: Collection[str],
    ) -> None:
        self._host = host
        self._preparations = preparations
        self._endpoint = endpoint
        self._places = tuple(places)

    def check_bases(
        self, guest: str, source: str, paths: Collection[str]
    ) -> None:
        """Pass if Nova has had images made here for a guest of a source.

        :param guest: UUID
        :param source: the source's name in Nova
        :raises Untrusted: an image is not among these
        """
        made = self._preparations.admitted(guest, source)
        for path in paths:
            if path not in made:
                raise exception.Untrusted(
                    host=self._host,
                    reason=f'Nova has not had {path} made for guest {guest} '
                    f'of host {source}. Start the live migration again. '
                    f'Check the source host if this happens again.',
                )

    def check_home(self, home: model.Endpoint) -> None:
        """Pass if this host's own configuration leads to the same libvirt.

        A URI can name a program that libvirt runs (``qemu+ext://``).

        :param home: as the source sent it
        :raises Untrusted: it does not
        """
        address = self._address(home.uri)
        if not _is_other_host(address) or home != self._endpoint(address):
            raise exception.Untrusted(
                host=self._host,
                reason=f'{home.uri!r} with {home.migrate_uri!r} is not how '
                f'this host reaches a source. Set the [libvirt] options '
                f'live_migration_uri and live_migration_scheme to the same '
                f'values on both hosts.',
            )

    def check_left_alone(self, paths: Collection[str]) -> None:
        """Pass if a disk that Nova connects on each host can be at the paths.

        :raises Untrusted: a path is elsewhere
        """
        places = tuple(map(pathlib.PurePosixPath, self._places))
        for each in paths:
            path = pathlib.PurePosixPath(each)
            if '..' in path.parts or not any(
                path.is_relative_to(place) for place in places
            ):
                raise exception.Untrusted(
                    host=self._host,
                    reason=f'{each} is in none of the directories for disks '
                    f'that do not move ({", ".join(self._places)}). Detach '
                    f'the disk from the guest before you migrate it.',
                )

    def _address(self, uri: str) -> str:
        """Cut the address from a URI; empty if it has another form."""
        before, _mark, after = self._endpoint(_MARK).uri.partition(_MARK)
        if not (uri.startswith(before) and uri.endswith(after)):
            return ''
        return uri[len(before) : len(uri) - len(after)].strip('[]')


def _is_other_host(address: str) -> bool:
    """Tell whether this is another host's name or address, and no more."""
    if not addresses.is_elsewhere(address):
        return False
    if netutils.is_valid_ipv6(address):
        return True
    return _NAME.fullmatch(address) is not None
