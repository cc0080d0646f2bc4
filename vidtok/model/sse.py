"""Server-sent events, sans-IO: what an OpenAI-style endpoint streams its answer in.

    bytes, cut anywhere --EventStream.feed--> the data of each event --answer_part--> text of the answer

Both raise ModelError on what cannot be an answer; lines and streams beyond their limits are refused, not kept.
"""

from __future__ import annotations

import json
from typing import Any

from vidtok.errors import ModelError

MAX_LINE = 64 << 10  # bytes: a part of an answer is a few hundred
MAX_STREAM = 4 << 20  # bytes: of a whole answer, with what stands around its words
DONE = "[DONE]"
_BOM = b"\xef\xbb\xbf"


class EventStream:
    """Cuts bytes into events; where the bytes were cut on the way does not matter."""

    def __init__(self, max_line: int = MAX_LINE, max_stream: int = MAX_STREAM) -> None:
        self._max_line, self._max_stream = max_line, max_stream
        self._line = bytearray()
        self._data: list[str] = []
        self._size = self._data_size = 0
        self._after_cr = False
        self._began = False

    def feed(self, chunk: bytes) -> list[str]:
        """The data of the events that these bytes end."""
        self._size += len(chunk)
        if self._size > self._max_stream:
            raise ModelError(f"the answer is longer than {self._max_stream} bytes")
        events: list[str] = []
        for piece in chunk.splitlines(keepends=True):
            self._take(piece, events)
        return events

    def _take(self, piece: bytes, events: list[str]) -> None:
        """A line, or a part of one: bytes.splitlines cuts after LF, CR and CR LF, as the format does."""
        if self._after_cr and piece == b"\n":  # the other half of a CR LF that was cut in two
            self._after_cr = False
            return
        self._after_cr = piece.endswith(b"\r")
        body = piece.rstrip(b"\r\n")
        self._line += body
        if len(self._line) > self._max_line:
            raise ModelError(f"a line of the answer is longer than {self._max_line} bytes")
        if len(body) < len(piece):
            line = bytes(self._line)
            self._line.clear()
            self._end_line(line, events)

    def _end_line(self, line: bytes, events: list[str]) -> None:
        if not self._began:
            self._began, line = True, line.removeprefix(_BOM)
        if not line:
            if self._data:
                events.append("\n".join(self._data))
            self._data, self._data_size = [], 0
            return
        field, _, value = line.partition(b":")
        if field != b"data":
            return  # comments, names and numbers of events: nothing that an answer is made of
        self._data_size += len(value) + 1
        if self._data_size > self._max_line:
            raise ModelError(f"an event of the answer is longer than {self._max_line} bytes")
        self._data.append(value.removeprefix(b" ").decode("utf-8", "replace"))


def answer_part(data: str) -> str:
    """The words that one event adds to the answer; none for events that only tell of roles and costs."""
    message = _parsed(data)
    if "error" in message:
        raise ModelError(f"the model gave up: {readable(_error_text(message['error']))}")
    return _text(message, "delta")


def whole_answer(body: bytes) -> str:
    """The answer of an endpoint that does not stream: one JSON object."""
    message = _parsed(body.decode("utf-8", "replace"))
    if "error" in message:
        raise ModelError(f"the model gave up: {readable(_error_text(message['error']))}")
    return _text(message, "message")


def error_text(body: bytes) -> str:
    """What an endpoint says of an error, as one short line; empty where it says nothing that can be read."""
    try:
        message = _parsed(body.decode("utf-8", "replace"))
    except ModelError:
        return ""
    return readable(_error_text(message.get("error", message.get("message", ""))))


def readable(text: str, most: int = 200) -> str:
    """Somebody else's words on one line of printable letters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())[:most]


def _parsed(data: str) -> dict[str, Any]:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        raise ModelError(f"not an answer: {readable(data, 60)!r} is not JSON") from None
    if not isinstance(message, dict):
        raise ModelError(f"not an answer: {readable(data, 60)!r} is not an object")
    return message


def _text(message: dict[str, Any], name: str) -> str:
    choices = message.get("choices")
    if choices == []:
        return ""  # a last event may tell of costs only
    part = choices[0].get(name) if isinstance(choices, list) and isinstance(choices[0], dict) else None
    if not isinstance(part, dict):
        raise ModelError(f"not an answer: no choices[0].{name} in it")
    content = part.get("content")
    return content if isinstance(content, str) else ""


def _error_text(error: Any) -> str:
    text = error.get("message", "") if isinstance(error, dict) else error
    return text if isinstance(text, str) else ""
