# SPDX-License-Identifier: Apache-2.0
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
