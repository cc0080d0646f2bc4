"""Files over HTTP: right types, an ETag, and the smallest form that the client reads.

    name --> file --gzip wanted, and smaller?--> compressed here once
               |------------------------------> as it is

Clients ask again each time (`no-cache`): an answer of 304 costs next to nothing, and nothing is ever stale.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from vidtok.errors import MissingExtra

try:
    from aiohttp import web
except ImportError:
    raise MissingExtra("aiohttp", "server") from None

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
    ".bin": "application/octet-stream",
}
WORTH = 0.95  # of its size: what gzip makes no smaller is sent as it is


@dataclass(frozen=True)
class _Form:
    """A file's bytes in one encoding, as they were when it was last changed."""

    changed_ns: int
    body: bytes
    encoding: str | None
    tag: str


class Files:
    """Answers with files; keeps in memory what it has read and compressed."""

    def __init__(self) -> None:
        self._forms: dict[tuple[Path, str | None], _Form] = {}

    async def answer(self, request: web.Request, path: Path) -> web.Response:
        """The file, or 304 where the client has it."""
        form = await self._form(path, request.headers.get("Accept-Encoding", ""))
        headers = {"ETag": form.tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if form.tag in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = TYPES[path.suffix]
        if form.encoding is not None:
            headers["Content-Encoding"] = form.encoding
        return web.Response(body=form.body, headers=headers)

    async def _form(self, path: Path, accepted: str) -> _Form:
        names = {part.partition(";")[0].strip() for part in accepted.split(",")}
        changed_ns = path.stat().st_mtime_ns
        for encoding in ("gzip", None):
            if encoding is not None and encoding not in names:
                continue
            form = self._forms.get((path, encoding))
            if form is None or form.changed_ns != changed_ns:
                form = await asyncio.to_thread(_read, path, encoding, changed_ns)
                self._forms[path, encoding] = form
            if form.encoding == encoding:
                return form
        raise AssertionError("a file as it is can always be read")


def _read(path: Path, encoding: str | None, changed_ns: int) -> _Form:
    """The file in that encoding; as it is, where it is not to be had or not worth it."""
    plain = path.read_bytes()
    body = gzip.compress(plain, 6, mtime=0) if encoding == "gzip" else plain
    if len(body) > WORTH * len(plain):
        body, encoding = plain, None
    return _Form(changed_ns, body, encoding, f'"{hashlib.sha256(body).hexdigest()[:20]}"')
