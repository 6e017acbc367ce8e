# SPDX-License-Identifier: Apache-2.0
"""Conversion between frozen values and JSON types. Pure.

Journals and the messages between the hosts use it.
"""

from typing import Any
from typing import TypeVar

import cattrs

T = TypeVar('T')

_converter = cattrs.Converter(forbid_extra_keys=True)


def pack(value: Any) -> Any:
    """Convert a frozen value into dicts, lists, strings and numbers."""
    return _converter.unstructure(value)


def unpack(data: Any, kind: type[T]) -> T:
    """Convert plain data into a value of this class.

    :raises ValueError: the data do not describe such a value, or have a field
        that the class does not have
    """
    try:
        return _converter.structure(data, kind)
    except (
        *(cattrs.BaseValidationError, AttributeError),
        *(KeyError, TypeError),
    ) as e:
        reasons = '; '.join(cattrs.transform_error(e))
        raise ValueError(f'not a {kind.__name__}: {reasons}') from e
