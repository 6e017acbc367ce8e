# SPDX-License-Identifier: Apache-2.0
"""The options of Nova that count for the engine: defaults and limits.

nova-compute takes the defaults from here. Another program on the host that
does so, too, finds the journals in the same directory. Such a program does not
import Nova. So it also runs where nova-compute does not start.
"""

from oslo_config import cfg

from nova_blockcopy.conf import rules
from nova_blockcopy.conf import values

#: Options of Nova by group, with Nova's defaults; '' is [DEFAULT]. Those of
#: ``host``, ``my_ip`` and ``pybasedir`` depend on the host.
OPTS: dict[str, list[cfg.Opt]] = {
    '': [
        cfg.StrOpt('compute_driver'),
        cfg.StrOpt('host', default=''),
        cfg.StrOpt('pybasedir', default=''),
        cfg.StrOpt('state_path', default='$pybasedir'),
        cfg.StrOpt('instances_path', default='$state_path/instances'),
        cfg.StrOpt('my_ip', default='127.0.0.1'),
        cfg.StrOpt('rootwrap_config', default='/etc/nova/rootwrap.conf'),
        cfg.IntOpt('max_concurrent_live_migrations', default=1),
        cfg.IntOpt('rpc_response_timeout', default=60),
    ],
    'libvirt': [
        cfg.StrOpt('virt_type', default='kvm'),
        cfg.StrOpt('connection_uri', default=''),
        cfg.StrOpt('images_type', default='default'),
        cfg.StrOpt('images_volume_group'),
        cfg.StrOpt('live_migration_inbound_addr'),
        cfg.StrOpt('live_migration_uri'),
        cfg.StrOpt('live_migration_scheme'),
        cfg.IntOpt('live_migration_completion_timeout', default=800),
        cfg.BoolOpt('live_migration_with_native_tls', default=False),
    ],
    'workarounds': [cfg.BoolOpt('disable_rootwrap', default=False)],
}


def register_opts(conf: cfg.ConfigOpts) -> None:
    """Declare the options of Nova to a program that does not import Nova."""
    for group, opts in OPTS.items():
        conf.register_opts(opts, group=group or None)


def set_defaults(conf: cfg.ConfigOpts) -> None:
    """Derive defaults from the options of Nova; set values stay.

    :param conf: has the options of Nova and of this project registered
    """
    state = f'{conf.state_path.rstrip("/")}/blockcopy'
    for name, value in (
        ('journal_dir', f'{state}/journal'),
        ('delta_dir', f'{state}/deltas'),
        (
            'export_address',
            conf.libvirt.live_migration_inbound_addr or conf.my_ip,
        ),
        ('export_tls', conf.libvirt.live_migration_with_native_tls),
    ):
        conf.set_default(name, value, group='blockcopy')


def check(conf: cfg.ConfigOpts, settings: values.Settings) -> None:
    """Pass if the engine's directories have no files of Nova's in them.

    :param conf: has the options of Nova registered
    :raises InvalidOption: a directory of the engine has
    """
    rules.check_nova(
        {
            'delta_dir': settings.delta_dir,
            'journal_dir': settings.journal_dir,
        },
        {
            'state_path': conf.state_path,
            'instances_path': conf.instances_path,
        },
    )


def own_address(options: cfg.ConfigOpts) -> str:
    """Return the address at which another host finds this host's libvirt.

    :param options: those of Nova
    """
    return str(options.libvirt.live_migration_inbound_addr or options.host)
