"""The way in for another device: a link that works once, its QR code, and a certificate made here."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

import cv2
import numpy as np
import pytest
from aiohttp import ClientSession, TCPConnector
from aiohttp import web as aioweb

from tests.vidtok.test_mind import run
from transport.adapters.webrtc import WebRtcListener
from vidtok.errors import UsageError
from vidtok.live.certificate import given, self_made
from vidtok.live.inviting import Invitations, qr, reachable


async def nobody(_: object) -> None:
    raise AssertionError("no stream comes this way")


def test_a_link_opens_the_door_once() -> None:
    async def check() -> None:
        links: list[str] = []
        listener = WebRtcListener("127.0.0.1", 0, token="first", on_endpoint=nobody)
        invitations = Invitations(listener, links.append)

        async def inside(request: aioweb.Request) -> aioweb.Response:
            refusal = listener.identity(request)
            return aioweb.Response(text="in") if refusal is None else listener.refuse(request, refusal)

        listener.app.router.add_get("/inside", inside)
        await listener.start()
        url = f"http://127.0.0.1:{listener.port}"
        invitations.begin(url)
        try:
            async with ClientSession() as client:
                ticket = links[0].removeprefix(f"{url}/#")
                wrong = await client.post(url + "/session", json={"ticket": "guessed"})
                assert (wrong.status, len(links)) == (401, 1)
                traded = await client.post(url + "/session", json={"ticket": ticket})
                token = (await traded.json())["token"]
                again = await client.post(url + "/session", json={"ticket": ticket})
                assert (traded.status, again.status) == (200, 401)
                assert len(links) == 2
                assert links[1] != links[0]
                for name, status in ((token, 200), ("first", 200), (ticket, 401), ("", 401)):
                    answer = await client.get(url + "/inside", headers={"Authorization": f"Bearer {name}"})
                    assert answer.status == status
                for body in ("", "[]", '{"ticket": 3}'):
                    assert (await client.post(url + "/session", data=body)).status == 400
        finally:
            await listener.close()

    run(check)


def test_the_qr_code_reads_as_the_link() -> None:
    pytest.importorskip("segno")
    link = "https://192.168.1.5:8080/#0123456789abcdef"
    lines = qr(link).splitlines()
    light = {"█": (255, 255), "▀": (255, 0), "▄": (0, 255), " ": (0, 0)}
    columns = np.array([[light[letter] for letter in line] for line in lines], np.uint8)
    picture = columns.transpose(0, 2, 1).reshape(2 * len(lines), -1)
    big = cv2.copyMakeBorder(
        np.kron(picture, np.ones((8, 8), np.uint8)), 32, 32, 32, 32, cv2.BORDER_CONSTANT, value=255
    )
    assert cv2.QRCodeDetector().detectAndDecode(big)[0] == link


def test_a_server_everywhere_is_named_by_this_machines_address() -> None:
    assert reachable("127.0.0.1") == "127.0.0.1"
    assert reachable("0.0.0.0") not in ("0.0.0.0", "")


def test_a_certificate_is_made_once_and_serves(tmp_path: Path) -> None:
    context, fingerprint = self_made("127.0.0.1", tmp_path)
    assert self_made("127.0.0.1", tmp_path)[1] == fingerprint
    assert self_made("192.168.1.5", tmp_path)[1] != fingerprint
    context, fingerprint = self_made("127.0.0.1", tmp_path)
    assert stat.S_IMODE((tmp_path / "tls" / "key.pem").stat().st_mode) == 0o600

    async def check() -> None:
        listener = WebRtcListener("127.0.0.1", 0, token=None, on_endpoint=nobody, ssl=context)
        await listener.start()
        trusting = ssl.create_default_context(cafile=str(tmp_path / "tls" / "cert.pem"))
        try:
            async with ClientSession(connector=TCPConnector(ssl=trusting)) as client:
                assert (await client.get(f"https://127.0.0.1:{listener.port}/none")).status == 404
        finally:
            await listener.close()

    run(check)


def test_a_certificate_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    with pytest.raises(UsageError, match="cannot be used"):
        given(tmp_path / "cert.pem", None)
    with pytest.raises(UsageError, match="cannot be used"):
        given(tmp_path / "none.pem", None)
