"""The words in which twin_sender.mjs is asked: JSON, with a tag on what JSON cannot say."""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from typing import Any

import numpy as np

from tests.vidtok.twin import Twin

_TYPES = {"f4": "<f4", "f8": "<f8", "u1": "u1", "u4": "<u4", "i1": "i1"}
_SAFE = 2**53  # from here on, JavaScript's whole numbers need another type


class Tagged:
    """A twin that is asked with arrays, maps and floats, and answers with them."""

    def __init__(self, twin: Twin) -> None:
        self.twin = twin

    def ask(self, do: str, **request: Any) -> Any:
        return untagged(self.twin.ask(do, **{key: tagged(value) for key, value in request.items()}))

    def call(self, module: str, name: str, *args: Any) -> Any:
        """A function of a module of edge_gate/web."""
        return self.ask("call", module=module, name=name, args=list(args))

    def drive(self, module: str, name: str, args: list[Any], calls: list[list[Any]]) -> list[Any]:
        """What an object answers, call by call."""
        return list(self.ask("drive", module=module, name=name, args=args, calls=calls))


def tagged(value: Any) -> Any:
    """As it is sent; a `Map` becomes a map, a dict a plain object."""
    match value:
        case Map():
            return {"map": [[key, tagged(each)] for key, each in value.items()]}
        case dict():
            return {key: tagged(each) for key, each in value.items()}
        case list() | tuple():
            return [tagged(each) for each in value]
        case np.ndarray():
            kind = {"b1": "u1"}.get(value.dtype.str[1:], value.dtype.str[1:])
            return {kind: b64encode(value.astype(_TYPES[kind]).tobytes()).decode()}
        case bytes():
            return {"u1": b64encode(value).decode()}
        case float() if not math.isfinite(value) or value.is_integer():
            return {"float": {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(str(value), repr(float(value)))}
        case bool() | None:
            return value
        case int():
            return value if abs(value) < _SAFE else {"int": str(value)}
        case np.generic():
            return tagged(value.item())
        case _:
            return value


class Map(dict[str, Any]):
    """A map with text keys, as msgpack has them."""

    @classmethod
    def of(cls, value: Any) -> Any:
        """The same with every dict a map."""
        if isinstance(value, dict):
            return cls({key: cls.of(each) for key, each in value.items()})
        return [cls.of(each) for each in value] if isinstance(value, list | tuple) else value


def number(value: float) -> Any:
    """A whole float as JavaScript computes with it: not tagged, since it is no value of a map."""
    return int(value) if math.isfinite(value) and float(value).is_integer() else float(value)


def untagged(value: Any) -> Any:
    """An answer, its arrays as numpy's."""
    if isinstance(value, list):
        return [untagged(each) for each in value]
    if not isinstance(value, dict):
        large = isinstance(value, int) and abs(value) >= _SAFE  # then JavaScript's digits are those of a double
        return float(value) if large else value
    if len(value) == 1:
        ((tag, content),) = value.items()
        if tag in _TYPES:
            return np.frombuffer(b64decode(content), _TYPES[tag])
        if tag == "float":
            return float(content)
    return {key: untagged(each) for key, each in value.items()}
