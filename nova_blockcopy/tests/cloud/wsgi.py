# SPDX-License-Identifier: Apache-2.0
"""A server for one WSGI application.

Run it as ``python -m nova_blockcopy.tests.cloud.wsgi``. The API services of
OpenStack no longer have commands of their own.
"""

import importlib
import sys

import waitress

_THREADS = 4
_LARGEST_IMAGE = 1 << 34


def main(module: str, address: str, port: str, *arguments: str) -> None:
    """Serve the application of a module over HTTP.

    :param arguments: the application's own command line
    """
    # the application reads sys.argv as its own command line
    sys.argv = [module, *arguments]
    if module.startswith('neutron'):
        _complete_neutron()
    waitress.serve(
        importlib.import_module(module).application,
        host=address,
        port=int(port),
        threads=_THREADS,
        max_request_body_size=_LARGEST_IMAGE,
        channel_timeout=300,
    )


def _complete_neutron() -> None:
    """Load all models of neutron.

    Service plugins usually load them. Without the models, a list of ports
    fails with 'Port has no attribute port_forwardings'.
    """
    importlib.import_module('neutron.db.migration.models.head')
    importlib.import_module('sqlalchemy.orm').configure_mappers()


if __name__ == '__main__':
    main(*sys.argv[1:])
