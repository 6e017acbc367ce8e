# SPDX-License-Identifier: Apache-2.0
"""Listens to Nova's versioned notifications, as other services do.

It prints each one of this project as a line of JSON, and ends when both hosts
have told of the end of a migration. Arguments: the URL of the bus, and a time
limit in seconds.
"""

import json
import sys
import threading

import oslo_messaging
from oslo_config import cfg


class Endpoint:
    """Gets the notifications of each priority."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._ended: set[str] = set()

    def info(self, context, publisher_id, event_type, payload, metadata):
        if not event_type.startswith('instance.blockcopy.'):
            return
        line = {
            'request': context.get('request_id'),
            'publisher': publisher_id,
            'type': event_type,
            'payload': payload,
        }
        print(json.dumps(line), flush=True)
        if event_type.rpartition('.')[2] in ('end', 'error'):
            self._ended.add(publisher_id)
        if len(self._ended) == 2:
            self.over.set()

    error = info


def main() -> int:
    url, seconds = sys.argv[1:]
    options = cfg.ConfigOpts()
    options([], project='listener')
    endpoint = Endpoint()
    server = oslo_messaging.get_notification_listener(
        oslo_messaging.get_notification_transport(options, url=url),
        [
            oslo_messaging.Target(
                exchange='nova', topic='versioned_notifications'
            )
        ],
        [endpoint],
        executor='threading',
    )
    server.start()
    over = endpoint.over.wait(float(seconds))
    server.stop()
    server.wait()
    return 0 if over else 1


if __name__ == '__main__':
    sys.exit(main())
