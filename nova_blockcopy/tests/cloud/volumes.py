# SPDX-License-Identifier: Apache-2.0
"""A backend for cinder: files with loop devices, which all hosts share.

Only cinder-volume can import this module.
"""

import pathlib
from typing import Any

from cinder.volume import driver  # type: ignore[import-not-found]
from oslo_config import cfg

from nova_blockcopy.tests.lab import lab

_OPTIONS = [cfg.StrOpt('lab_directory', help='The directory of the lab.')]
_GIB = 1 << 30


class LoopDriver(driver.VolumeDriver):  # type: ignore[misc]
    """A driver with the methods that booting from a volume needs."""

    VERSION = '1'

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(_OPTIONS)
        self._lab = pathlib.Path(self.configuration.lab_directory)
        self._files = self._lab / 'volumes'

    def check_for_setup_error(self) -> None:
        self._files.mkdir(exist_ok=True)

    def create_volume(self, volume: Any) -> dict[str, str]:
        file = self._files / volume.id
        with file.open('wb') as f:
            f.truncate(volume.size * _GIB)
        return {'provider_location': lab.attach(self._lab, file)}

    def clone_image(
        self,
        context: Any,
        volume: Any,
        image_location: Any,
        image_meta: dict[str, Any],
        image_service: Any,
    ) -> tuple[dict[str, str], bool]:
        made = self.create_volume(volume)
        with open(made['provider_location'], 'r+b') as f:
            image_service.download(context, image_meta['id'], f)
        return made, True

    def delete_volume(self, volume: Any) -> None:
        device = pathlib.Path(volume.provider_location)
        # removed first: after the detach, another lab may get the same device
        (self._lab / 'loops' / device.name).unlink()
        lab.detach(device)
        (self._files / volume.id).unlink()

    def initialize_connection(
        self, volume: Any, connector: Any
    ) -> dict[str, Any]:
        return {
            'driver_volume_type': 'local',
            'data': {'device_path': volume.provider_location},
        }

    def terminate_connection(
        self, volume: Any, connector: Any, **kwargs: Any
    ) -> None:
        pass

    def ensure_export(self, context: Any, volume: Any) -> None:
        pass

    def create_export(self, context: Any, volume: Any, connector: Any) -> None:
        pass

    def remove_export(self, context: Any, volume: Any) -> None:
        pass

    def _update_volume_stats(self) -> None:
        self._stats = {
            'volume_backend_name': 'loop',
            'vendor_name': 'nova-blockcopy',
            'driver_version': self.VERSION,
            'storage_protocol': 'local',
            'total_capacity_gb': 'infinite',
            'free_capacity_gb': 'infinite',
        }
