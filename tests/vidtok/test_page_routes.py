"""The page's files over HTTP: types, forms, headers; what is not the page's stays where it is."""

from __future__ import annotations

import gzip
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.vidtok.test_mind import run
from transport.adapters.webrtc import WebRtcListener
from vidtok.live.page import HEADERS, PAGE, add_page, scene_film
from vidtok.live.static import TYPES

BROWSER = {"Accept-Encoding": "gzip, deflate, br"}


ICE = ["turn:someone:secret@127.0.0.1:3478"]


@asynccontextmanager
async def paged(folder: Path = PAGE, token: str | None = None) -> AsyncIterator[tuple[ClientSession, str]]:
    """A client, and the address of a listener that serves the page of this folder."""

    async def nobody(_: object) -> None:
        raise AssertionError("no stream comes this way")

    listener = WebRtcListener("127.0.0.1", 0, token=token, on_endpoint=nobody)
    add_page(listener, answers=True, folder=folder, ice_servers=ICE)
    await listener.start()
    try:
        async with ClientSession(auto_decompress=False) as client:
            yield client, f"http://127.0.0.1:{listener.port}"
    finally:
        await listener.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A page of two files and kernels."""
    place = tmp_path / "web"
    (place / "kernels").mkdir(parents=True)
    (place / "index.html").write_text("<!doctype html>" + "a long page " * 100)
    (place / "small.js").write_text("1")
    (place / "kernels" / "some.wasm").write_bytes(b"\0asm" + bytes(1000))
    (tmp_path / "secret.js").write_text("nobody's")
    return place


def test_files_come_in_the_smallest_form_that_is_read(folder: Path) -> None:
    async def check() -> None:
        async with paged(folder) as (client, url):
            plain = await client.get(url + "/", headers={"Accept-Encoding": "identity"})
            small = await client.get(url + "/", headers=BROWSER)
            assert plain.headers["Content-Type"] == small.headers["Content-Type"] == "text/html; charset=utf-8"
            assert small.headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(await small.read()) == await plain.read() == (folder / "index.html").read_bytes()
            tiny = await client.get(url + "/small.js", headers=BROWSER)
            assert "Content-Encoding" not in tiny.headers
            wasm = await client.get(url + "/kernels/some.wasm", headers=BROWSER)
            assert gzip.decompress(await wasm.read()) == b"\0asm" + bytes(1000)
            assert wasm.headers["Content-Type"] == "application/wasm"

    run(check)


def test_what_a_client_has_is_not_sent_again(folder: Path) -> None:
    async def check() -> None:
        async with paged(folder) as (client, url):
            tag = (await client.get(url + "/")).headers["ETag"]
            again = await client.get(url + "/", headers={"If-None-Match": tag})
            assert (again.status, await again.read()) == (304, b"")
            (folder / "index.html").write_text("another")
            os.utime(folder / "index.html", ns=(1, 1))
            changed = await client.get(url + "/", headers={"If-None-Match": tag})
            assert (changed.status, await changed.read()) == (200, b"another")

    run(check)


def test_no_name_leads_out_of_the_folder(folder: Path) -> None:
    (folder / "notes.txt").write_text("of no type that the page has")
    names = (
        "..%2fsecret.js",
        "%2e%2e/secret.js",
        "kernels",
        "kernels%2fsome.wasm",
        "notes.txt",
        "none.js",
        "weights/..%2fx",
    )

    async def check() -> None:
        async with paged(folder) as (client, url):
            for name in names:
                assert (await client.get(f"{url}/{name}")).status == 404, name

    run(check)


def test_every_answer_keeps_others_out(folder: Path) -> None:
    async def check() -> None:
        async with paged(folder, token="sesame") as (client, url):
            for path in ("/", "/small.js", "/about", "/none.js"):
                answer = await client.get(url + path)
                assert {name: answer.headers[name] for name in HEADERS} == HEADERS
            policy = HEADERS["Content-Security-Policy"]
            assert "default-src 'self'" in policy
            assert "unsafe-inline" not in policy
            assert "http" not in policy

    run(check)


def test_the_page_is_told_what_it_meets(folder: Path) -> None:
    async def check() -> None:
        async with paged(folder) as (client, url):
            told = await (await client.get(url + "/about")).json()
            assert told == {"token": False, "answers": True, "ice": ICE}
        async with paged(folder, "sesame") as (client, url):
            told = await (await client.get(url + "/about")).json()
            assert told == {"token": True, "answers": True, "ice": []}  # passwords may be in them
            told = await (await client.get(url + "/about", headers={"Authorization": "Bearer sesame"})).json()
            assert told["ice"] == ICE

    run(check)


def test_the_page_and_its_weights_are_all_there() -> None:
    names = [path.name for path in PAGE.iterdir() if path.suffix in TYPES]
    assert {"index.html", "style.css", "page.js", "worker.js", "old.js"} <= set(names)
    weights = ("encoder.onnx", "gist.onnx", "gate.onnx", "gate.json", "tables.bin", "tokenizer.json")
    kernels = [f"/kernels/{path.name}" for path in (PAGE / "kernels").glob("*.wasm")]

    async def check() -> None:
        async with paged() as (client, url):
            for path in ("/", *(f"/{name}" for name in names), *(f"/weights/{name}" for name in weights), *kernels):
                answer = await client.get(url + path, headers=BROWSER)
                assert answer.status == 200, path
            assert (await client.get(url + "/weights/model.safetensors")).status == 404

    run(check)


def test_nothing_in_the_page_names_another_server() -> None:
    for path in PAGE.iterdir():
        if path.suffix in (".html", ".css", ".js"):
            text = path.read_text().replace("http://www.w3.org/2000/svg", "").replace("http://localhost", "")
            for word in ("https://", "http://", "//cdn", "@import"):
                places = [
                    line for line in text.splitlines() if word in line and not line.lstrip().startswith(("*", "//"))
                ]
                assert all("host:port" in line or "`http" in line for line in places), f"{path.name}: {places}"


def test_the_scene_is_a_film_that_browsers_play() -> None:
    film = scene_film(duration_s=0.3)
    assert film.startswith(b"\x1aE\xdf\xa3")
    assert b"webm" in film[:64]
    assert b"V_VP8" in film
