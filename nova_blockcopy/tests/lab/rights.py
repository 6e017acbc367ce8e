# SPDX-License-Identifier: Apache-2.0
"""The rights of processes: those in ``/proc``, and those in the docs."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable
from collections.abc import Mapping

from oslo_privsep import capabilities

#: The page whose table has a row for the programs.
PAGE = pathlib.Path(__file__).parents[3] / 'doc/source/admin/security.rst'
_TABLE = re.compile(r'\.\. list-table:: Rights\n(.*?)\n\n\S', re.DOTALL)
_NAME = re.compile(r'``([\w-]+)``')
#: What a program can have that its launcher needs to pass on.
_PASSED_ON = {'CAP_DAC_OVERRIDE', 'CAP_DAC_READ_SEARCH'}
_SETS = ('CapPrm', 'CapEff', 'CapInh', 'CapAmb', 'CapBnd')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """The rights of a process.

    ``capabilities`` are the permitted ones. ``ambient`` are those that stay
    if the process starts another program.
    """

    program: str
    users: frozenset[int]
    groups: frozenset[int]
    capabilities: frozenset[str]
    effective: frozenset[str]
    ambient: frozenset[str]
    bounding: frozenset[str]
    no_new_privs: bool
    seccomp: str

    @property
    def user(self) -> int:
        """The only user id of the process."""
        (user,) = self.users
        return user


def of(pid: int) -> Rights:
    """Read the rights of a process.

    :raises OSError: the process has ended
    """
    return parse(pathlib.Path(f'/proc/{pid}/status').read_text())


def parse(status: str) -> Rights:
    """Read the text of a file ``/proc/PID/status``."""
    fields = dict(line.split(':', 1) for line in status.splitlines())
    sets = {name: _names(int(fields[name], 16)) for name in _SETS}
    return Rights(
        program=fields['Name'].strip(),
        users=frozenset(map(int, fields['Uid'].split())),
        groups=frozenset(map(int, fields['Groups'].split())),
        capabilities=sets['CapPrm'],
        effective=sets['CapEff'],
        ambient=sets['CapAmb'],
        bounding=sets['CapBnd'],
        no_new_privs=fields['NoNewPrivs'].strip() == '1',
        seccomp=fields['Seccomp'].strip(),
    )


def _names(bits: int) -> frozenset[str]:
    return frozenset(
        capabilities.CAPS_BYVALUE.get(n, str(n))
        for n in range(bits.bit_length())
        if bits >> n & 1
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table in the docs."""

    programs: tuple[str, ...]
    user: str
    capabilities: str
    bounding: str
    no_new_privs: str
    seccomp: str

    def differences(
        self, found: Rights, users: Mapping[str, Iterable[int]]
    ) -> list[str]:
        """Tell how the rights of a process differ from the row.

        :param users: user ids by the words of the docs for users
        """
        allowed = {
            number
            for word, numbers in users.items()
            if word in re.split(r', | or ', self.user.replace('the ', ''))
            for number in numbers
        }
        return [
            f'{found}: {what}'
            for what, fits in (
                ('user', found.users <= allowed and len(found.users) == 1),
                ('capabilities', self._has(found.capabilities)),
                ('effective', found.effective == found.capabilities),
                ('bounding set', self._bounds(found)),
                ('ambient', found.ambient <= found.bounding),
                ('privileges', self.no_new_privs == _word(found)),
                ('seccomp', (self.seccomp, found.seccomp) == ('none', '0')),
            )
            if not fits
        ]

    def _has(self, found: frozenset[str]) -> bool:
        if self.capabilities == 'all':
            return found == of(os.getpid()).capabilities
        for choice in self.capabilities.split(', or '):
            least = set(re.findall(r'CAP_\w+', choice))
            most = least | (
                _PASSED_ON if 'of the program' in choice else set()
            )
            if least <= found <= most:
                return True
        return False

    def _bounds(self, found: Rights) -> bool:
        if self.bounding == 'the capabilities':
            return found.bounding == found.capabilities
        own = of(os.getpid())
        # root can take capabilities from a program that keeps its user
        kept = self.user != 'nova-compute' or own.user != 0
        return found.bounding == (own.bounding if kept else frozenset())


def _word(found: Rights) -> str:
    return 'yes' if found.no_new_privs else 'no'


def documented() -> dict[str, Row]:
    """Return the rows of the table in the docs, by program."""
    (body,) = _TABLE.findall(PAGE.read_text(encoding='utf-8') + '\n\n.')
    rows = [
        [' '.join(cell.split()) for cell in re.split(r'\n     - ', row)]
        for row in body.split('\n   * - ')[2:]
    ]
    found = {}
    for cells in rows:
        programs = tuple(_NAME.findall(cells[0]))
        row = Row(
            programs=programs,
            user=cells[1],
            capabilities=cells[2],
            bounding=cells[3],
            no_new_privs=cells[4],
            seccomp=cells[5],
        )
        found.update(dict.fromkeys(programs, row))
    return found
