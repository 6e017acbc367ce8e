# SPDX-License-Identifier: Apache-2.0
"""Configuration files in the format of oslo.config."""

import configparser
import pathlib
from collections.abc import Mapping
from typing import Any

#: The values of options by group and name.
Options = Mapping[str, Mapping[str, Any]]


def merge(*layers: Options) -> dict[str, dict[str, Any]]:
    """Merge options; later layers replace values of earlier ones."""
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for group, values in layer.items():
            merged.setdefault(group, {}).update(values)
    return merged


def write(path: pathlib.Path, *layers: Options) -> pathlib.Path:
    """Write a file, create its directories, and return its path."""
    parser = configparser.RawConfigParser(default_section='')
    parser.read_dict(merge(*layers))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w') as f:
        parser.write(f)
    return path
