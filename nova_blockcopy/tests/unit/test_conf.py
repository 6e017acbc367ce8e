# SPDX-License-Identifier: Apache-2.0
"""Options: their bounds, their sample file, and what the engine gets."""

import configparser
import dataclasses
import importlib.metadata
import pathlib
import re
import subprocess
import sysconfig

import ddt
from oslo_config import cfg

import nova_blockcopy
from nova_blockcopy import bandwidth
from nova_blockcopy import conf
from nova_blockcopy import exception
from nova_blockcopy import model
from nova_blockcopy.conf import nova
from nova_blockcopy.conf import times
from nova_blockcopy.drivers import libvirt_api
from nova_blockcopy.drivers import virsh
from nova_blockcopy.runtime import privsep
from nova_blockcopy.tests.unit import base

PROJECT = pathlib.Path(nova_blockcopy.__file__).parents[1]
MIB = bandwidth.MIB
_SAMPLE = 'etc/nova-blockcopy/nova-blockcopy.conf.sample'


def all_options():
    return [(group, opt) for group, opts in conf.list_opts() for opt in opts]


@ddt.ddt
class TestSettings(base.TestCase):
    def options(self, text=''):
        file = self.directory / 'nova.conf'
        file.write_text(text)
        options = cfg.ConfigOpts()
        conf.register_opts(options)
        options(['--config-file', str(file)])
        return options

    def refused(self, options, **overrides):
        return str(
            self.assertRaises(
                exception.InvalidOption, conf.settings, options, **overrides
            )
        )

    def test_every_option_is_a_setting(self):
        fields = {field.name for field in dataclasses.fields(conf.Settings)}
        self.assertEqual(
            sorted(opt.dest for _group, opt in all_options()),
            sorted(fields - {'connection_uri'}),
        )

    def test_the_libvirt_of_nova_is_no_option(self):
        options = self.options('[blockcopy]\nconnection_uri = test:///x\n')
        settings = conf.settings(options, connection_uri='qemu:///session')
        self.assertEqual('qemu:///session', settings.connection_uri)

    def test_defaults_of_options_and_settings_agree(self):
        options = {opt.dest: opt.default for _group, opt in all_options()}
        for field in dataclasses.fields(conf.Settings):
            if field.default is not dataclasses.MISSING:
                self.assertEqual(
                    options[field.name], field.default, field.name
                )

    def test_every_option_has_a_help(self):
        for _group, opt in all_options():
            self.assertTrue((opt.help or '').strip(), opt.name)

    def test_the_file_is_read(self):
        options = self.options(
            '[libvirt]\nblock_migration_bandwidth = 3\n'
            '[blockcopy]\ndriver = virsh\ngranularity = 65536\n'
            'synchronous_writes = true\nbuf_size = 4096\n'
        )
        settings = conf.settings(options)
        self.assertEqual('virsh', settings.driver)
        copy = settings.copy
        self.assertEqual(3 * MIB, copy.bandwidth)
        self.assertEqual(65536, copy.granularity)
        self.assertEqual(4096, copy.buf_size)
        self.assertTrue(copy.synchronous_writes)

    def test_a_choice_is_a_value_of_its_kind(self):
        options = self.options('[blockcopy]\nmode = seeded\nverify = full\n')
        settings = conf.settings(options)
        self.assertIs(model.Mode.SEEDED, settings.mode)
        self.assertIs(model.Verify.FULL, settings.verify)

    @ddt.data(*model.Verify)
    def test_clear_text_is_compared_in_full(self, verify):
        settings = conf.settings(self.options(), verify=verify)
        self.assertIs(verify, settings.verification(tls=True))
        self.assertIs(model.Verify.FULL, settings.verification(tls=False))

    def test_overrides_are_taken_and_checked_alike(self):
        options = self.options('[blockcopy]\ncall_timeout = 5\n')
        settings = conf.settings(options, call_timeout='7', granularity=1024)
        self.assertEqual(
            (7, 1024), (settings.call_timeout, settings.copy.granularity)
        )
        self.assertEqual(5, conf.settings(options).call_timeout)

    def test_looks_that_are_too_rare(self):
        text = '[blockcopy]\npoll_interval = 30\nstall_timeout = 20\n'
        said = self.refused(self.options(text))
        self.assertIn('[blockcopy] poll_interval', said)

    @ddt.data(
        ('blockcopy', 'granularity', '511'),
        ('blockcopy', 'granularity', '513'),
        ('blockcopy', 'granularity', '1000'),
        ('blockcopy', 'granularity', str(128 * MIB)),
        ('blockcopy', 'granularity', '-512'),
        ('blockcopy', 'granularity', 'small'),
        ('blockcopy', 'buf_size', '-1'),
        ('blockcopy', 'mode', 'magic'),
        ('blockcopy', 'verify', 'some'),
        ('blockcopy', 'delta_min_free', '-1'),
        ('blockcopy', 'seed_rounds', '0'),
        ('blockcopy', 'max_remote_window', '-1'),
        ('blockcopy', 'seed_shortfall_action', 'wait'),
        ('blockcopy', 'seed_workers', '17'),
        ('blockcopy', 'poll_interval', '0'),
        ('blockcopy', 'call_timeout', '0'),
        ('blockcopy', 'export_port_max', '65536'),
        ('blockcopy', 'export_address', 'not an address'),
        ('blockcopy', 'export_address', '0.0.0.0'),
        ('blockcopy', 'export_address', '::'),
        ('blockcopy', 'export_address', '::ffff:0.0.0.0'),
        ('blockcopy', 'export_address', '0x0'),
        ('blockcopy', 'export_address', '224.0.0.1'),
        ('blockcopy', 'export_address', 'ff02::1'),
        ('blockcopy', 'export_address', '169.254.169.254'),
        ('blockcopy', 'export_address', '0xA9FEA9FE'),
        ('blockcopy', 'export_address', 'fe80::1'),
        ('blockcopy', 'export_address', '255.255.255.255'),
        ('blockcopy', 'export_address', '240.0.0.1'),
        ('blockcopy', 'delta_dir', 'deltas'),
        ('blockcopy', 'delta_dir', '/var/lib/x/../../../tmp'),
        ('blockcopy', 'delta_dir', '/'),
        ('blockcopy', 'delta_dir', '//'),
        ('blockcopy', 'delta_dir', '/tmp'),
        ('blockcopy', 'delta_dir', '/./var//tmp/'),
        ('blockcopy', 'delta_dir', '/dev/shm'),
        ('blockcopy', 'delta_dir', '/run/nova/deltas'),
        ('blockcopy', 'delta_dir', '/var/lib/nova-blockcopy/journal/x'),
        ('blockcopy', 'journal_dir', './journal'),
        ('blockcopy', 'journal_dir', '/etc/.'),
        ('blockcopy', 'journal_dir', '/var/lib'),
        ('blockcopy', 'journal_dir', '/sys/journal'),
        ('blockcopy', 'journal_dir', '/var/lib/nova-blockcopy/deltas/x'),
        ('blockcopy', 'metrics_dir', 'textfiles'),
        ('blockcopy', 'metrics_dir', '/var/lib/nova-blockcopy/journal/x'),
        ('blockcopy', 'export_tls_dir', 'pki/qemu'),
        ('blockcopy', 'export_tls_client', '*.example.org'),
        ('blockcopy', 'export_tls_client', 'CN={host},O=x'),
        ('blockcopy', 'export_tls_client', '{name}'),
        ('libvirt', 'block_migration_bandwidth', '-1'),
        ('libvirt', 'block_migration_bandwidth', str(2**43)),
    )
    @ddt.unpack
    def test_out_of_bounds_in_a_file_or_given(self, group, name, value):
        said = self.refused(self.options(f'[{group}]\n{name} = {value}\n'))
        self.assertIn(f'[{group}] {name}', said)
        said = self.refused(self.options(), **{name: value})
        self.assertIn(f'[{group}] {name}', said)
        self.assertIn(value, said)

    @ddt.data(
        ('export_address', '192.0.2.1'),
        ('export_address', '127.0.0.1'),
        ('export_address', '2001:db8::1'),
        ('export_address', '::1'),
        ('export_address', '0xstorage'),
        ('export_address', 'host-a.example.org'),
        ('delta_dir', '/mnt/deltas'),
        ('delta_dir', '/var/lib/nova-blockcopy/deltas..'),
        ('delta_dir', '/var/lib/nova-blockcopy/journals'),
        ('journal_dir', '/var/lib/journal'),
        ('metrics_dir', ''),
        ('metrics_dir', '/var/lib/prometheus/node-exporter'),
    )
    @ddt.unpack
    def test_a_place_that_the_engine_can_have(self, name, value):
        settings = conf.settings(self.options(), **{name: value})
        self.assertEqual(value, getattr(settings, name))

    @ddt.data(0, 512, 4096, 64 * MIB)
    def test_a_granularity_that_qemu_takes(self, value):
        settings = conf.settings(self.options(), granularity=value)
        self.assertEqual(value, settings.granularity)

    def test_an_unknown_override(self):
        self.assertIn('colour', self.refused(self.options(), colour='red'))

    @ddt.data((0, 0), (1, MIB), (conf.MAX_BANDWIDTH, 2**63 - MIB))
    @ddt.unpack
    def test_mib_become_bytes(self, mib, expected):
        self.assertEqual(expected, conf.bytes_per_s(mib))
        self.assertLess(conf.bytes_per_s(mib), 2**63)

    @ddt.data(-1, conf.MAX_BANDWIDTH + 1)
    def test_what_libvirt_would_misunderstand_is_refused(self, mib):
        self.assertRaises(exception.InvalidOption, conf.bytes_per_s, mib)

    def test_listed_options_are_copies(self):
        group, opts = next(iter(conf.list_opts()))
        opts[0].default = 'changed'
        self.assertEqual(0, conf.settings(self.options()).copy.bandwidth)
        self.assertEqual('libvirt', group)


class TestReference(base.TestCase):
    """The reference has what nova-compute really uses."""

    def in_nova(self, **libvirt):
        options = cfg.ConfigOpts()
        nova.register_opts(options)
        conf.register_opts(options)
        options([])
        options.set_override('state_path', '/state')
        options.set_override('my_ip', '192.0.2.9')
        for name, value in libvirt.items():
            options.set_override(name, value, group='libvirt')
        nova.set_defaults(options)
        return options

    def test_the_default_of_each_option(self):
        options = self.in_nova(live_migration_with_native_tls=True)
        for group, opt in all_options():
            value = options[group][opt.dest]
            if opt.sample_default is None:
                self.assertEqual(opt.default, value, opt.dest)
            elif not opt.sample_default.startswith('<'):
                shown = opt.sample_default.replace('$state_path', '/state')
                self.assertEqual(shown, value)

    def test_a_default_that_is_another_option(self):
        given = {
            'live_migration_with_native_tls': True,
            'live_migration_inbound_addr': '192.0.2.10',
        }
        shown = {
            opt.dest: opt.sample_default.strip('<>')
            for _group, opt in all_options()
            if (opt.sample_default or '').startswith('<')
        }
        options = self.in_nova(**given)
        self.assertEqual('192.0.2.9', self.in_nova().blockcopy.export_address)
        self.assertIn(', or my_ip', shown['export_address'])
        for name, text in shown.items():
            source = text.removeprefix('[libvirt] ').partition(',')[0]
            self.assertEqual(given[source], options.blockcopy[name])

    def test_the_page_has_each_time_limit_with_its_default(self):
        page = (PROJECT / 'doc/source/configuration/index.rst').read_text()
        rows = dict(
            re.findall(
                r'(?m)^   \* - ``\[blockcopy\] (\w+)``\n     - (\d+)', page
            )
        )
        self.assertEqual(
            {
                opt.dest: str(opt.default)
                for opt in times.OPTS
                if opt.dest.endswith('_timeout')
            },
            rows,
        )
        for opt in nova.OPTS['libvirt'] + nova.OPTS['']:
            if opt.dest.endswith('timeout'):
                self.assertRegex(
                    page, rf'\] {opt.dest}``\n     - {opt.default}\b'
                )

    def lines(self, path, place=0):
        """The lines for nova.conf that a page has."""
        blocks = (PROJECT / path).read_text().split('code-block:: ini')[1:]
        block = re.split(r'\n(?=\S)', blocks[place])[0]
        return '\n'.join(each.strip() for each in block.splitlines() if each)

    def test_the_lines_to_enable_it_suffice(self):
        enabling = self.lines('README.rst')
        self.assertIn('compute_driver = blockcopy.', enabling)
        self.assertIn(enabling, self.lines('doc/source/admin/enable.rst'))
        for more, tls in ('', True), (self.lines('README.rst', 1), False):
            file = self.directory / 'nova.conf'
            kept = [
                line
                for line in enabling.splitlines()
                if tls or 'native_tls' not in line
            ]
            file.write_text('\n'.join((*kept, more, '')))
            options = cfg.ConfigOpts()
            nova.register_opts(options)
            conf.register_opts(options)
            options(['--config-file', str(file)])
            options.set_default('state_path', '/var/lib/nova')
            nova.set_defaults(options)
            settings = conf.settings(options)
            nova.check(options, settings)
            self.assertEqual('192.0.2.11', settings.export_address)
            self.assertEqual(
                (tls, not tls), (settings.export_tls, settings.allow_plaintext)
            )
            self.assertEqual(200 * MIB, settings.copy.bandwidth)

    def test_the_page_names_only_options_that_there_are(self):
        page = (PROJECT / 'doc/source/configuration/index.rst').read_text()
        table = page.partition('* - Option\n')[2].partition('all others')[0]
        named = set(re.findall(r'``(\w+)``', table))
        self.assertLess(10, len(named))
        self.assertEqual(
            set(), named - {opt.dest for _group, opt in all_options()}
        )


class TestPackaging(base.TestCase):
    def sections(self, path):
        """The sections of a sample with options that are ours alone."""
        named = re.split(r'(?m)^\[(\w+)\]$', path.read_text())[1:]
        sections = dict(zip(named[::2], named[1::2], strict=True))
        return sections['blockcopy'], sections['libvirt']

    def test_the_sample_file_has_every_option(self):
        sample = self.directory / 'sample'
        subprocess.run(
            [
                f'{sysconfig.get_path("scripts")}/oslo-config-generator',
                '--config-file=etc/nova-blockcopy/'
                'nova-blockcopy-config-generator.conf',
                f'--output-file={sample}',
            ],
            cwd=PROJECT,
            check=True,
            capture_output=True,
        )
        found, group = set(), None
        for line in sample.read_text().splitlines():
            if line.startswith('['):
                group = line.strip('[]')
            elif line.startswith('#') and ' =' in line:
                found.add((group, line[1:].partition(' =')[0]))
        wanted = {(group, opt.name) for group, opt in all_options()}
        self.assertEqual(set(), wanted - found)
        self.assertEqual(
            self.sections(sample),
            self.sections(PROJECT / _SAMPLE),
            f'Run "tox -e genconfig" and commit {_SAMPLE}.',
        )
        self.assertEqual({'libvirt', 'blockcopy'}, {g for g, _name in wanted})

    def loaded(self, namespace):
        return {
            point.name: point.load()
            for point in importlib.metadata.entry_points(group=namespace)
            if point.value.startswith('nova_blockcopy.')
        }

    def test_the_options_are_found_by_oslo_config(self):
        self.assertEqual(
            {
                'nova_blockcopy': conf.list_opts,
                'nova_blockcopy.privsep': privsep.list_opts,
            },
            self.loaded('oslo.config.opts'),
        )

    def test_the_drivers_are_found_by_stevedore(self):
        self.assertEqual(
            {
                'libvirt': libvirt_api.LibvirtCopyDriver,
                'virsh': virsh.VirshCopyDriver,
            },
            self.loaded('nova_blockcopy.drivers'),
        )

    def test_each_file_of_etc_is_installed_at_its_place(self):
        parser = configparser.ConfigParser()
        parser.read(PROJECT / 'setup.cfg')
        placed = {
            path: target
            for line in parser['files']['data_files'].split('\n')
            if line
            for target, pattern in [line.split(' = ')]
            for path in PROJECT.glob(pattern)
        }
        for path in (PROJECT / 'etc').rglob('*'):
            if path.is_file():
                folder = str(path.parent.relative_to(PROJECT))
                self.assertEqual(folder, placed.get(path), str(path))

    def test_setup_cfg_promises_what_is_installed(self):
        parser = configparser.ConfigParser()
        parser.read(PROJECT / 'setup.cfg')
        promised = parser['entry_points']
        self.assertLessEqual(
            {'oslo.config.opts', 'nova_blockcopy.drivers'}, set(promised)
        )
        for namespace in ('oslo.config.opts', 'nova_blockcopy.drivers'):
            lines = promised[namespace].split('\n')
            self.assertEqual(
                sorted(line.replace(' ', '') for line in lines if line),
                sorted(
                    f'{point.name}={point.value}'
                    for point in importlib.metadata.entry_points(
                        group=namespace
                    )
                    if point.value.startswith('nova_blockcopy.')
                ),
            )
