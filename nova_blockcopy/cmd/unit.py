# SPDX-License-Identifier: Apache-2.0
"""How the unit or the container of nova-compute ends its programs."""

from collections.abc import Mapping

from oslo_upgradecheck import upgradecheck

from nova_blockcopy.cmd import answers
from nova_blockcopy.host import command
from nova_blockcopy.host import confinement

#: The names of the unit in the packages of Debian and RDO, and in DevStack.
_UNITS = (
    *('nova-compute.service', 'openstack-nova-compute.service'),
    'devstack@n-cpu.service',
)
_SHOW = ('systemctl', 'show', '--property=Id,LoadState,KillMode')
_TIMEOUT = 10
#: With these, systemd ends nova-compute alone (systemd.kill(5)).
_SPARING = ('process', 'none')


def look() -> Mapping[str, str]:
    """Return the KillMode of each unit of nova-compute that systemd knows."""
    try:
        text = command.run(
            *(*_SHOW, *_UNITS), confined=confinement.KEPT, timeout=_TIMEOUT
        )
    except command.CommandFailed:
        return {}
    found = {}
    for block in text.split('\n\n'):
        lines = (line.partition('=') for line in block.splitlines())
        values = {name: value for name, _equals, value in lines}
        if values.get('LoadState') == 'loaded':
            found[values['Id']] = values['KillMode']
    return found


def result(obstacle: str, found: Mapping[str, str]) -> upgradecheck.Result:
    """Decide whether exporters outlive nova-compute. Pure.

    :param obstacle: why systemd makes no scopes for exporters; '' if it does
    :param found: the KillMode of each unit of nova-compute
    """
    if not obstacle:
        return answers.success()
    if found and all(mode in _SPARING for mode in found.values()):
        names = ', '.join(found)
        return answers.success(f'The KillMode of {names} spares exporters.')
    remedy = (
        'Do not restart nova-compute while a guest moves.'
        if not found
        else f'Set KillMode=process in {", ".join(found)}.'
    )
    return answers.warning(
        f'The exporters of this host may end together with the unit or the '
        f'container of nova-compute, because they get no scope of systemd '
        f'({obstacle}). A guest between its switchover and its pivot then '
        f'pauses until nova-compute runs again. {remedy}'
    )
