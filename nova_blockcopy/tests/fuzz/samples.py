# SPDX-License-Identifier: Apache-2.0
"""Values that have each field, for the examples to begin with."""

from nova_blockcopy import model
from nova_blockcopy import states
from nova_blockcopy.records import journal
from nova_blockcopy.tests.unit import samples

LAYERED = samples.layered('/top', '/below')
DISK = model.SourceDisk(
    disk='vda',
    image=LAYERED,
    size_bytes=2**30,
    identity=model.ImageIdentity(boot='b', device=1, inode=2),
    backing_digest='ab',
)
MOVE = model.Move(
    disk='vda',
    source=LAYERED,
    base=samples.layered('/base', '/below'),
    size_bytes=2**30,
    deltas=('/delta',),
)
SEED = model.Seed(
    disk='vda',
    source=LAYERED,
    target=MOVE.base,
    export=samples.export(),
    extents=(model.Extent(offset=0, length=512),),
    size_bytes=2**30,
)
RECORD = samples.record(
    boot='b',
    home=model.Endpoint(uri='qemu+tcp://a/system'),
    destination=model.Endpoint(uri='qemu+tcp://b/system'),
    moves=(MOVE,),
    exports=(samples.export(), samples.content()),
    pivoted=('vda',),
    limits={'vda': {'total_iops_sec': 1}},
    live_xml='<domain>\n</domain>',
    memo={'vm_state': 'active', 'more': [None, {'a': 1.5}]},
    history=(
        journal.Entry(at='2026-01-01', state=states.State.PREPARING, note='n'),
    ),
)
#: A domain with each kind of disk.
XML = samples.domain(
    samples.disk_xml(),
    samples.file_xml('vdb', '/images/b'),
    samples.remote_xml('vdc', samples.content('vdc')),
    samples.remote_xml('vdd', LAYERED),
    samples.disk_xml(
        'vde',
        f'<source file="/top" index="1"/>{samples.store_xml(LAYERED)}',
        type_='file',
        driver='<driver name="qemu" type="qcow2" cache="none"/>',
        more='<mirror type="file" ready="yes"><source file="/m"/></mirror>',
    ),
    '<disk type="file" device="cdrom"><target dev="sda"/><readonly/></disk>',
    '<interface type="bridge"><source bridge="br0"/></interface>',
    '<serial type="file"><source path="/log/x"/></serial>',
    '<tpm model="tpm-crb"><backend type="emulator"/></tpm>',
)
