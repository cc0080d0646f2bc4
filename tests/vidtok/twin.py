"""A Node process with the JavaScript twin in it, and the words in which it is asked.

this process --a line of JSON--> twin.mjs, or another driver --> edge_gate/web/*.js
             <--a line of JSON--
"""

from __future__ import annotations

import json
import math
import struct
import subprocess
import threading
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from transport.states import Role
from transport.wire import Part
from vidtok.canvas import Canvas
from vidtok.edits import Patch

SECONDS = 60  # for one answer: whatever takes longer hangs

Words = dict[str, Any]


class TwinError(Exception):
    """An error in JavaScript, by its name there."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


class Twin:
    """A Node process that answers line by line."""

    def __init__(self, node: str, driver: str = "twin.mjs") -> None:
        script = Path(__file__).parent / driver
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "encoding": "utf-8"}
        self.process = subprocess.Popen([node, str(script)], **pipes)  # type: ignore[call-overload]

    def ask(self, do: str, **request: Any) -> Any:
        timer = threading.Timer(SECONDS, self.process.kill)
        timer.start()
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        assert line, f"no answer to {do!r}: the JavaScript twin has crashed, or hung for {SECONDS} seconds"
        answer = json.loads(line)
        if "error" in answer:
            raise TwinError(answer["error"], answer["message"])
        return answer["value"]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(SECONDS)


def based(data: bytes) -> str:
    return b64encode(data).decode()


def arrays(of: object, **types: str) -> Words:
    return {name: based(getattr(of, name).astype(kind).tobytes()) for name, kind in types.items()}


def canvas_words(canvas: Canvas) -> Words:
    size = {"width": canvas.grid.width, "height": canvas.grid.height, "version": canvas.version}
    maps = arrays(canvas, values="u1", depth="u1", changed="<u4", gist="u1")
    return {**size, "position": list(canvas.position), "gist_depth": canvas.gist_depth, **maps}


def shown_words(canvas: Canvas) -> Words:
    """All that the twin tells of a canvas."""
    visible = based(canvas.visible().astype(np.uint8).tobytes())
    return {**canvas_words(canvas), "state_hash": canvas.state_hash(), "visible": visible}


def patch_words(edits: Patch) -> Words:
    maps = arrays(edits, kind="u1", depth="u1", values="u1", move="i1", gist="u1")
    return {"pan": [edits.pan.dx, edits.pan.dy], "gist_depth": edits.gist_depth, **maps}


def tagged(value: object) -> Any:
    """A value as JSON that keeps what JSON would lose."""
    match value:
        case bytes():
            return {"bytes": based(value)}
        case float():
            return {"float": struct.pack(">d", math.nan if math.isnan(value) else value).hex()}
        case int() if abs(value) >= 1 << 53:
            return {"int": str(value)}
        case Role():
            return value.value
        case Part():
            return {"part": [value.index, value.count, value.size]}
        case Mapping():
            return {"map": [[key, tagged(each)] for key, each in value.items()]}
        case list() | tuple():
            return [tagged(each) for each in value]
    return value


def spelled(value: object) -> Words:
    """A packet or an event, by the name of its type."""
    return {"type": type(value).__name__, **{key: tagged(each) for key, each in vars(value).items()}}


def verdict(call: Callable[[], object], names: Mapping[type[Exception], str]) -> object:
    """What a call gives, or the name that its error has in JavaScript; JavaScript errors come with theirs."""
    try:
        return call()
    except TwinError as error:
        if error.name not in names.values():
            raise
        return {"error": error.name}
    except tuple(names) as error:
        return {"error": names[type(error)]}


def damaged(payload: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, cut off or added."""
    data = bytearray(payload)
    for _ in range(int(rng.integers(1, 4)) if data else 0):
        data[int(rng.integers(len(data)))] = int(rng.integers(256))
    tail = rng.integers(0, 256, int(rng.integers(4)), dtype=np.uint8).tobytes()
    return (bytes(data[: int(rng.integers(len(data) + 1))]), bytes(data), bytes(data) + tail)[int(rng.integers(3))]
