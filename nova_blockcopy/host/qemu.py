#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""How QEMU's programs are told of images and credentials."""

from nova_blockcopy import model

#: The driver that opens what holds the bytes.
DRIVER = {
    model.ImageKind.BLOCK: 'host_device',
    model.ImageKind.FILE: 'file',
}
#: The name of the credentials, where there are any.
TLS = 'tls'


def escaped(value: str) -> str:
    """A value among others, as QEMU reads them."""
    return value.replace(',', ',,')


def file_options(image: model.Image, prefix: str) -> str:
    """What holds the bytes of one layer, for ``--image-opts``.

    The guest's QEMU holds the locks.
    """
    return (
        f'{prefix}driver={DRIVER[image.kind]},'
        f'{prefix}filename={escaped(image.path)},{prefix}locking=off'
    )


def content_options(image: model.Image, prefix: str = '') -> str:
    """What a guest sees of an image, all layers, for ``--image-opts``."""
    options = []
    for layer in model.layers(image):
        options.append(f'{prefix}driver={layer.format}')
        options.append(file_options(layer, f'{prefix}file.'))
        prefix = f'{prefix}backing.'
    return ','.join(options)


def credentials(endpoint: str, directory: str) -> str:
    """The value of ``--object`` for certificates.

    :param endpoint: ``server`` or ``client``
    """
    return (
        f'tls-creds-x509,id={TLS},endpoint={endpoint},verify-peer=yes,'
        f'dir={escaped(directory)}'
    )
