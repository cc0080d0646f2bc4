"""connection.js, port.js and what of rtc.js needs no browser, over endpoints in memory with a peer that stands in.

Each story runs in real time, but waits for what happens, not for a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vidtok.conftest import running
from tests.vidtok.twin import Twin, TwinError, verdict
from transport import ConnectionClosed, Lane, LocalProtocolError, Trace
from transport.adapters.admission import REFUSALS
from transport.adapters.backlog import MAX_CONTROL_BUFFERED, MAX_DELTA_BUFFERED, may_send
from transport.adapters.webrtc import _http
from transport.adapters.webrtc_endpoint import ice_server
from transport.fields import MAX_PACKET


@pytest.fixture(scope="module")
def connecting(node: str) -> Iterator[Twin]:
    with running(node, "connecting.mjs") as started:
        yield started


def test_meeting_sending_and_parting(connecting: Twin) -> None:
    assert connecting.ask("story", name="meet") == {
        "events": ["Connected", "Acknowledged", "Closed"],
        "heard": ["Hello 0", "Delta 2", "Close 0"],
        "state": "closed",
        "closed": True,
    }


def test_timers_run_and_end_with_the_connection(connecting: Twin) -> None:
    assert connecting.ask("story", name="heartbeat by timer") == {"state": "closed", "after": 0}


def test_a_lost_path_is_replaced_with_patience(connecting: Twin) -> None:
    assert connecting.ask("story", name="a path that is lost, and two refusals") == {
        "events": ["Connected", "Acknowledged", "Suspended", "Resumed", "Closed"],
        "asked": 3,
        "heard": ["Hello 0", "Close 0"],
        "resumed": True,
        "base": 0,
        "closed": [True, True],
    }


def test_a_new_path_may_be_lost_as_well(connecting: Twin) -> None:
    story = connecting.ask("story", name="a new path that is lost before the welcome")
    assert story == {"events": ["Connected", "Suspended", "Resumed", "Closed"], "asked": 2}


def test_silence_is_a_lost_path(connecting: Twin) -> None:
    story = connecting.ask("story", name="silence on the path")
    assert story == {"events": ["Connected", "Suspended", "Resumed"], "closed": True}


def test_without_another_path_the_session_ends(connecting: Twin) -> None:
    story = connecting.ask("story", name="nobody connects anew")
    assert story == {
        "events": ["Connected", "Closed"],
        "last": {"type": "Closed", "code": 8, "reason": "the cable"},
    }
    story = connecting.ask("story", name="nobody is there in time")
    assert story == {
        "events": ["Connected", "Suspended", "Closed"],
        "last": {"type": "Closed", "code": 8, "reason": "no new path in time"},
    }


def test_a_path_that_nobody_wants_any_more_is_closed(connecting: Twin) -> None:
    assert connecting.ask("story", name="an endpoint that comes too late") == {"heard": []}


def test_an_application_that_fails_ends_its_session_and_is_heard_of(connecting: Twin) -> None:
    assert connecting.ask("story", name="an application that fails") == {
        "events": ["Connected"],
        "uncaught": ["a fault of the application's"],
        "closed": {"type": "Closed", "code": 7, "reason": "the application failed"},
    }


def test_deltas_wait_for_a_stack_that_is_behind(connecting: Twin) -> None:
    assert connecting.ask("story", name="what the stack has not sent yet") == {
        "before": False,
        "allowance": 0,
        "after": True,
        "waiting": True,
        "closed": True,
    }


def test_the_endpoint_may_lie_in_another_thread(connecting: Twin) -> None:
    assert connecting.ask("story", name="across two threads") == {
        "events": ["Connected", "Acknowledged", "Suspended", "Resumed", "Closed"],
        "refusals": [True, "is full: wait", False, "a fault"],
        "underWay": True,
        "thrown": ["ConnectionClosed", "the cable"],
        "heard": ["Hello 0", "Close 0"],
    }


@pytest.mark.parametrize("when", ["come", "leave"])
def test_what_a_busy_thread_keeps_waiting_is_not_the_network_s(connecting: Twin, when: str) -> None:
    story = connecting.ask("story", name=f"a thread that is busy when packets {when}")
    assert story == {"trips": 3, "slow": 0, "timeouts": 0, "slower": False}


@given(
    st.sampled_from(Lane),
    st.sampled_from([0, 1, 700, MAX_PACKET, MAX_PACKET + 1]),
    st.sampled_from([0, 700, MAX_DELTA_BUFFERED, MAX_CONTROL_BUFFERED]),
    st.integers(-1, 1),
)
def test_what_joins_a_backlog(connecting: Twin, lane: Lane, size: int, full: int, more: int) -> None:
    trace, buffered = Trace(), max(0, full - size + more)
    refusals: dict[type[Exception], str] = {each: each.__name__ for each in (ConnectionClosed, LocalProtocolError)}
    mine = verdict(lambda: [may_send(lane, bytes(size), buffered, trace, 1.5), trace.drops()], refusals)
    assert verdict(lambda: connecting.ask("may_send", lane=lane, size=size, buffered=buffered), refusals) == mine


def test_refusals_are_told_in_the_same_sentences(connecting: Twin) -> None:
    assert connecting.ask("refusals") == {str(status): words for status, words in REFUSALS.items()}


@pytest.mark.parametrize(
    "text",
    [
        "stun:example.org:3478",
        "stuns:example.org",
        "turn:me:pass%40word@example.org:3478?transport=udp",
        "turns:me:secret@example.org",
        "turn:example.org",
        "stun:me:secret@example.org",
        "http://example.org",
        "stun:",
        "stun:a b",
        "",
    ],
)
def test_ice_servers(connecting: Twin, text: str) -> None:
    def mine() -> dict[str, str]:
        server = ice_server(text)
        told = {"urls": server.urls, "username": server.username, "credential": server.credential}
        return {key: each for key, each in told.items() if each is not None}

    refusals: dict[type[Exception], str] = {LocalProtocolError: "LocalProtocolError"}
    assert verdict(lambda: connecting.ask("ice_server", text=text), refusals) == verdict(mine, refusals)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080",
        "http://127.0.0.1:8080/",
        "https://example.org/offer",
        "webrtc://localhost:9",
        "WebRTC://localhost:9/a/b",
    ],
)
def test_where_an_offer_goes(connecting: Twin, url: str) -> None:
    assert connecting.ask("offer_address", url=url, page=None) == _http(url)
    assert (
        connecting.ask("offer_address", url="/offer", page="https://example.org/a/b?c") == "https://example.org/offer"
    )


def test_what_is_no_address_is_refused(connecting: Twin) -> None:
    with pytest.raises(TwinError, match="LocalProtocolError: nowhere is no address"):
        connecting.ask("offer_address", url="nowhere", page=None)


def test_where_there_is_no_webrtc_that_is_said(connecting: Twin) -> None:
    with pytest.raises(TwinError, match="LocalProtocolError: no WebRTC here"):
        connecting.ask("connect", url="http://127.0.0.1:1")
