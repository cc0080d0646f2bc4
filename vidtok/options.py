"""What the commands' parsers share: how a command is added, and options that several of them have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int | None], text: str, **more: Any
) -> argparse.ArgumentParser:
    """Add a command that `run` does; `text` is its help."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, formatter_class=argparse.RawDescriptionHelpFormatter, **more
    )
    parser.set_defaults(run=run)
    return parser


def positive(text: str) -> float:
    """A number above zero, for `type=`."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def not_negative(text: str) -> float:
    """A number that is zero or more, for `type=`."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not zero or more")
    return value


def add_caps(parser: argparse.ArgumentParser, kbps: float | None = 30.0, tokens: float | None = 300.0) -> None:
    """`--kbps` and `--tokens-per-s`."""
    default = " (default %(default)g)" if kbps is not None else ""
    parser.add_argument("--kbps", type=positive, default=kbps, help=f"hard cap on the bitrate over any second{default}")
    parser.add_argument(
        "--tokens-per-s",
        type=positive,
        default=tokens,
        help=f"hard cap on model tokens over any second{default}",
    )


def add_ice(parser: argparse.ArgumentParser) -> None:
    """`--ice`."""
    parser.add_argument(
        "--ice",
        action="append",
        default=[],
        metavar="URL",
        help="a STUN or TURN server for WebRTC: stun:HOST:PORT, turn:USER:PASSWORD@HOST:PORT; may be given again",
    )
