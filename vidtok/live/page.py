"""The page over HTTP: the browser's edge, its weights and what it needs to run them. No secret is among them.

    GET /                      edge_gate/web/index.html, and beside it its style and modules
    GET /kernels/NAME          the arithmetic of its networks
    GET /weights/NAME          encoder, gist, gate, tables: what `vidtok send` runs as well
    GET /scene.webm            the built-in scene, drawn when it is first asked for
    GET /about                 {"token": asks for one, "answers": there is a model, "ice": STUN and TURN servers, for
                                whoever has the token}

Whatever a browser loads of this server may load nothing of anybody else's; pages of others cannot put it into theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from transport.adapters.http_listener import HttpListener
from vidtok.live.static import TYPES, Files
from vidtok.tokenizer.edge import WEIGHTS

from aiohttp import web  # isort: skip - after our own, which says what is missing

EDGE = Path(__file__).parents[2] / "edge_gate"
PAGE = EDGE / "web"
OF_WEIGHTS = {
    **{name: WEIGHTS / name for name in ("encoder.onnx", "gist.onnx", "tables.bin", "tokenizer.json")},
    **{name: EDGE / "weights" / name for name in ("gate.onnx", "gate.json")},
}
HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'self'",
            "script-src 'self' 'wasm-unsafe-eval'",
            "worker-src 'self' blob:",
            "img-src 'self' blob: data:",
            "media-src 'self' blob:",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    # Both together keep pages of others out of this one's process, and give it timers that are exact.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), display-capture=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
SCENE_SIZE, SCENE_FPS = (384, 384), 10


def add_page(listener: HttpListener, answers: bool, folder: Path = PAGE, ice_servers: Sequence[str] = ()) -> None:
    """Serve the page; before `start`."""
    files, scene = Files(), _Scene()
    listener.app.on_response_prepare.append(_guard)

    async def index(request: web.Request) -> web.Response:
        return await files.answer(request, folder / "index.html")

    async def beside(request: web.Request) -> web.Response:
        return await _from(files, request, folder)

    async def kernels(request: web.Request) -> web.Response:
        return await _from(files, request, folder / "kernels")

    async def weights(request: web.Request) -> web.Response:
        path = OF_WEIGHTS.get(request.match_info["name"])
        if path is None:
            raise web.HTTPNotFound(text=f"there are {', '.join(OF_WEIGHTS)}")
        return await files.answer(request, path)

    async def about(request: web.Request) -> web.Response:
        ice = list(ice_servers) if listener.identity(request) is None else []  # there may be a password in them
        told = {"token": listener.admission.asks_for_token, "answers": answers, "ice": ice}
        return web.json_response(told, headers={"Cache-Control": "no-store"})

    async def film(_: web.Request) -> web.Response:
        return web.Response(body=await scene.film(), content_type="video/webm", headers={"Cache-Control": "no-cache"})

    for path, handler in (
        ("/", index),
        ("/about", about),
        ("/scene.webm", film),
        ("/kernels/{name}", kernels),
        ("/weights/{name}", weights),
        ("/{name}", beside),
    ):
        listener.app.router.add_get(path, handler)


async def _from(files: Files, request: web.Request, folder: Path) -> web.Response:
    """A file of a folder, by a name that cannot lead out of it."""
    path = folder / request.match_info["name"]
    if path.parent != folder or path.suffix not in TYPES or not path.is_file():
        raise web.HTTPNotFound(text="there is no such file")
    return await files.answer(request, path)


async def _guard(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


class _Scene:
    """The built-in scene as a film, drawn once."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._film: bytes | None = None

    async def film(self) -> bytes:
        """WebM, which every browser plays."""
        async with self._lock:
            if self._film is None:
                self._film = await asyncio.to_thread(scene_film)
            return self._film


def scene_film(duration_s: float | None = None) -> bytes:
    """The built-in scene as WebM."""
    from edge_gate.scene import Scene
    from vidtok.live.pictures import webm

    scene = Scene(SCENE_SIZE, SCENE_FPS, noise=False, duration_s=duration_s)  # its film would keep little of the noise
    return webm((frame.pixels for frame in scene), SCENE_SIZE, SCENE_FPS)
