# SPDX-License-Identifier: Apache-2.0
"""Values as plain JSON types and back: for journals and for messages."""

from typing import Any
from typing import TypeVar

import cattrs

T = TypeVar('T')

_converter = cattrs.Converter(forbid_extra_keys=True)


def pack(value: Any) -> Any:
    """Turn a frozen value into dicts, lists, strings and numbers."""
    return _converter.unstructure(value)


def unpack(data: Any, kind: type[T]) -> T:
    """Make the value of this kind again.

    :raises ValueError: the data does not describe one
    """
    try:
        return _converter.structure(data, kind)
    except (
        *(cattrs.BaseValidationError, AttributeError),
        *(KeyError, TypeError),
    ) as e:
        reasons = '; '.join(cattrs.transform_error(e))
        raise ValueError(f'not a {kind.__name__}: {reasons}') from e
