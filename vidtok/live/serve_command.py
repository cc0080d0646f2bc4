"""`vidtok serve`: its options, and how it ends when it is told to.

first SIGTERM or Ctrl-C --> no one else comes in, goodbyes, answers in progress finish within --grace-s --> 0
second ---------------> the process ends at once
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from ssl import SSLContext
from typing import Any

from vidtok.errors import UsageError
from vidtok.options import add_caps, add_ice, command, not_negative


def add_serve(commands: Any) -> None:
    """Add the command to the parser's."""
    text = "Receive streams, over WebRTC and more, and say what the model sees. Ends with Ctrl-C."
    parser = command(commands, "serve", _serve, text)
    _add_listening(parser)
    _add_model(parser)
    _add_telling(parser)
    parser.add_argument("--once", action="store_true", help="end when the first stream has ended")
    parser.add_argument(
        "--grace-s",
        type=not_negative,
        default=3.0,
        metavar="SECONDS",
        help="how long answers in progress may take when it is told to end (default %(default)g); told twice, it ends "
        "at once",
    )
    add_caps(parser, None, None)


def _add_listening(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default %(default)s: this machine only)"
    )
    parser.add_argument("--port", type=int, default=8080, help="0 picks a free one (default %(default)s)")
    parser.add_argument(
        "--token",
        help="clients must present it; made up and printed when --host is not this machine and none is given",
    )
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="URL",
        help="listen there too, ws://127.0.0.1:8081 or udp://127.0.0.1:8082, say; may be given again",
    )
    parser.add_argument(
        "--no-page", action="store_true", help="do not serve the page, on which a browser is the edge, at /"
    )
    parser.add_argument(
        "--tls",
        action="store_true",
        help="https with a certificate made here, once, and kept in the user's cache: browsers on other devices open "
        "cameras over https only, and warn once of a certificate that nobody else vouches for",
    )
    parser.add_argument("--cert", type=Path, metavar="FILE.pem", help="https with this certificate")
    parser.add_argument("--key", type=Path, metavar="FILE.pem", help="its key, where it is not in the same file")
    parser.add_argument(
        "--max-sessions", type=int, default=8, metavar="N", help="of each listener at a time (default %(default)s)"
    )
    add_ice(parser)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default="built-in",
        metavar="MODEL",
        help="who answers questions: built-in (the default), hf:NAME_OR_PATH (an open model of transformers), "
        "openai:URL?model=NAME (any endpoint that takes pictures; its key in OPENAI_API_KEY), or none",
    )
    parser.add_argument(
        "--projector", type=Path, metavar="FILE", help="of an hf: model, as `python -m experiments.align` made it"
    )
    parser.add_argument(
        "--workers",
        metavar="ray[:N]",
        help="run the built-in model in N processes of a local Ray cluster (default: one for each core); a stream "
        "stays with one of them. Needs vidtok[ray]",
    )
    parser.add_argument(
        "--tell-me",
        action="append",
        default=[],
        metavar="QUESTION",
        help='say when the answer to this becomes yes: "is anybody there?"; asked when there is news, at most once a '
        "second; may be given again",
    )


def _add_telling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for programs")
    parser.add_argument(
        "--labels-s",
        type=not_negative,
        default=2.0,
        metavar="SECONDS",
        help="between two readings of a stream's labels, which are for people (default %(default)g; 0: whenever there "
        "is something new, for 10 to 15 ms of CPU each); answers do not hang on them",
    )
    parser.add_argument(
        "--log-questions",
        action="store_true",
        help="write what was asked into the rows of --json; left out otherwise",
    )
    parser.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="write what each session does, for `vidtok trace`: the first into FILE-1, the next into FILE-2, ...",
    )
    parser.add_argument(
        "--metrics",
        action="store_true",
        help="answer GET /metrics for Prometheus, to whoever has the token",
    )


def _serve(args: argparse.Namespace) -> None:
    from edge_gate.budget import Caps
    from transport.adapters.admission import is_loopback
    from vidtok.live.ending import told_to_end
    from vidtok.live.server import serve
    from vidtok.live.talk import json_row, spoken_row

    _check(args)
    token = args.token or (None if is_loopback(args.host) else secrets.token_urlsafe(16))
    caps = None
    if args.kbps or args.tokens_per_s:
        caps = Caps(args.kbps or 1e6, args.tokens_per_s or 1e6)
    report = json_row if args.json else spoken_row
    same = (
        "once", "trace", "metrics", "also", "model", "projector", "max_sessions", "grace_s", "log_questions",
        "labels_s",
    )  # fmt: skip
    extras = {name: getattr(args, name) for name in same}
    extras |= {"ice_servers": args.ice, "conditions": args.tell_me, "workers": _workers(args)}
    extras |= {"page": not args.no_page, "tls": _tls(args, report)}

    async def until_told() -> None:
        with told_to_end() as told:
            await serve(args.host, args.port, token=token, report=report, caps=caps, told_to_end=told, **extras)

    asyncio.run(until_told())


def _check(args: argparse.Namespace) -> None:
    if not 0 <= args.port <= 65535:
        raise UsageError(f"--port {args.port}: must be 0 to 65535")
    if args.max_sessions < 1:
        raise UsageError(f"--max-sessions {args.max_sessions}: must be 1 or more")
    if args.trace is not None and not args.trace.parent.is_dir():
        raise UsageError(f"--trace {args.trace}: there is no folder {args.trace.parent}; make it first")


def _tls(args: argparse.Namespace, report: Callable[[Mapping[str, object]], None]) -> SSLContext | None:
    """What `--cert` or `--tls` asks for; None for plain HTTP."""
    from vidtok.live.certificate import given, self_made
    from vidtok.live.inviting import reachable

    if args.key is not None and args.cert is None:
        raise UsageError(f"--key {args.key}: give its certificate too, with --cert")
    if args.cert is not None:
        return given(args.cert, args.key)
    if not args.tls:
        return None
    context, fingerprint = self_made(reachable(args.host))
    report({"event": "certificate", "sha256": fingerprint})
    return context


def _workers(args: argparse.Namespace) -> int | None:
    """How many processes `--workers` asks for; None where it is not given."""
    if args.workers is None:
        return None
    kind, _, count = args.workers.partition(":")
    number = (os.cpu_count() or 1) if args.workers == "ray" else int(count) if count.isdecimal() else 0
    if kind != "ray" or number < 1:
        raise UsageError(f"--workers {args.workers}: write ray, or ray:N with a number of processes")
    if args.model != "built-in":
        raise UsageError(f"--workers {args.workers}: runs the built-in model only, not --model {args.model}")
    return number
