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

"""Configuration files, as oslo.config reads them."""

import configparser
import pathlib
from collections.abc import Mapping
from typing import Any

#: Values by name, by group.
Options = Mapping[str, Mapping[str, Any]]


def merge(*layers: Options) -> dict[str, dict[str, Any]]:
    """One out of many; the later ones win."""
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for group, values in layer.items():
            merged.setdefault(group, {}).update(values)
    return merged


def write(path: pathlib.Path, *layers: Options) -> pathlib.Path:
    """Write a file, and the directories that it is in; returns its path."""
    parser = configparser.RawConfigParser(default_section='')
    parser.read_dict(merge(*layers))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w') as f:
        parser.write(f)
    return path
