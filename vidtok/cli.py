"""The `vidtok` command."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from vidtok.errors import UsageError
from vidtok.live.serve_command import add_serve
from vidtok.options import add_caps, add_ice, command, not_negative, positive

SOURCES = """\
SOURCE is one of:
  scene, scene:still, scene:pan, ...   the built-in scene (needs no camera)
  0, 1, ...                            a camera of this machine
  rtsp://...                           a network camera
  clip.mp4                             a video file, GIFs included
  folder/                              a folder of pictures, in the order of their names
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args) or 0)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141
    except Exception as error:
        message = _one_line(error)
        if message is None:
            raise
        print(f"vidtok: {message}", file=sys.stderr)
        return 1


def _one_line(error: Exception) -> str | None:
    """The line to print for an error that a person can do something about; None for a fault of ours."""
    from transport.errors import TransportError
    from vidtok.errors import VidtokError

    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed: pip install 'vidtok[all]' (or [edge] to send, [server] to serve)"
    expected: tuple[type[Exception], ...] = (TransportError, VidtokError, OSError, ImportError)
    try:
        from edge_gate.source import SourceError

        expected += (SourceError,)
    except ImportError:
        pass
    return " ".join(str(error).split()) if isinstance(error, expected) else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vidtok",
        description="A streaming video codec for multimodal models: what is news is sent, as tokens the model reads.",
        epilog="`vidtok COMMAND --help` explains each command. Start with `vidtok demo`.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_send(commands)
    _add_replay(commands)
    add_serve(commands)
    _add_ask(commands)
    _add_encode(commands)
    _add_decode(commands)
    _add_info(commands)
    _add_trace(commands)
    return parser


def _add_spending(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--price",
        type=positive,
        default=12.0,
        help="what a thousand bits must be worth to be sent, within the caps (default %(default)g): 2 tells a scene so "
        "that people follow it better, for up to twice the bits; 25 most of what a model sees, 75 the gist at 1.5 kbps",
    )
    parser.add_argument(
        "--token-price",
        type=not_negative,
        default=3.0,
        help="what a model token must be worth beside its bits (default %(default)g): 10 halves the tokens, 0 counts "
        "bits alone",
    )
    parser.add_argument(
        "--alert",
        type=not_negative,
        default=10.0,
        help="what telling of an event is worth, however soon it is over (default %(default)g); 0 tells "
        "only what lasts",
    )
    parser.add_argument(
        "--refresh-s",
        type=not_negative,
        default=0.0,
        metavar="SECONDS",
        help="tell every cell in sight anew at least that often, within the caps, even where nothing has changed; a "
        "still scene then costs its cells / SECONDS tokens a second (default 0: what is no news is never told again)",
    )
    parser.add_argument(
        "--pan",
        action="store_true",
        help="follow the camera: fewer bits where it pans over something flat, a page or a screen; elsewhere it costs",
    )


def _add_source(parser: argparse.ArgumentParser, size: str | None) -> None:
    parser.add_argument(
        "--size",
        default=size,
        help="256 (square), 640x480, ...: scaled and cropped to fit; multiples of 16 (default: the source's own)",
    )
    parser.add_argument(
        "--fps", type=positive, default=10.0, help="frames a second that are looked at (default %(default)g)"
    )
    parser.add_argument("--seconds", type=positive, help="stop after this long (default: when the source ends)")
    parser.add_argument("--seed", type=int, default=0, help="of the built-in scene (default %(default)s)")


def _config(args: argparse.Namespace) -> Any:
    from edge_gate.budget import Caps
    from vidtok.live.sender import SendConfig

    names = ("price", "token_price", "alert", "refresh_s", "pan")
    return SendConfig(Caps(args.kbps, args.tokens_per_s), **{name: getattr(args, name) for name in names})


def _open(args: argparse.Namespace) -> Any:
    from edge_gate.source import open_source

    return open_source(args.source, size=args.size, fps=args.fps, duration_s=args.seconds, seed=args.seed)


# -- demo


def _add_demo(commands: Any) -> None:
    text = (
        "Film the built-in scene, send it over WebRTC to a server process, and say what the model sees. In a terminal "
        "it then serves the page on this machine, where a browser is the edge, until Ctrl-C."
    )
    parser = command(commands, "demo", _demo, text, epilog=SOURCES)
    parser.add_argument(
        "source",
        nargs="?",
        default="scene",
        metavar="SOURCE",
        help="what to film (default: the built-in scene); `browser` films nothing here and serves the page at once, "
        "`0` films this machine's camera, and goes on for the page to watch",
    )
    parser.add_argument(
        "--page",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="serve the page afterwards, until Ctrl-C (default: in a terminal yes, otherwise no)",
    )
    parser.add_argument("--port", type=int, default=8080, help="of the page (default %(default)s; 0 picks a free one)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/demo"),
        help="where page, pictures and recording go (default %(default)s)",
    )
    _add_source(parser, "256")
    add_caps(parser)
    _add_spending(parser)


def _demo(args: argparse.Namespace) -> None:
    from vidtok.live.demo import ON_THE_PAGE, demo, report_lines, show_page

    def say(text: str) -> None:
        print(text, flush=True)

    live, seconds = args.source.isdecimal() or "://" in args.source, args.seconds
    page = sys.stdout.isatty() if args.page is None else args.page
    if args.source != "browser":
        args.seconds = 30.0 if seconds is None and live else seconds
        with _open(args) as source:
            figures = asyncio.run(demo(source, args.out, _config(args), say))
        print("\n" + "\n".join(report_lines(figures, args.out)))
    elif args.page is False:
        raise UsageError("demo browser --no-page: there is nothing to do; leave one of them out")
    if not (page or args.source == "browser"):
        print(ON_THE_PAGE)
        return
    args.seconds = None
    with _open(args) if live else nullcontext() as source:
        asyncio.run(show_page(args.port, source, _config(args), say))


# -- send and ask


def _add_send(commands: Any) -> None:
    parser = command(commands, "send", _send, "Send a source to a server. Needs no torch.", epilog=SOURCES)
    parser.add_argument("source", metavar="SOURCE", help="what to film")
    _add_server(parser)
    _add_source(parser, None)
    add_caps(parser)
    _add_spending(parser)


def _add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--to",
        required=True,
        metavar="URL",
        help="the server's address, as `vidtok serve` prints it: http:// is WebRTC, ws:// and udp:// what they say",
    )
    parser.add_argument("--token", help="the server's token, when it asks for one")
    add_ice(parser)
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write what the session does, for `vidtok trace`")


def _send(args: argparse.Namespace) -> None:
    from vidtok.live.edge import send, status_line
    from vidtok.live.timeline import tracing

    terminal = sys.stderr.isatty()

    def tell(tally: Any, step: Any) -> None:
        if terminal or tally.frames % 50 == 0:
            print(status_line(tally, step), end="\r" if terminal else "\n", file=sys.stderr, flush=True)

    with _open(args) as source, tracing(args.trace) as trace:
        options = {"token": args.token, "config": _config(args), "trace": trace, "ice_servers": args.ice}
        tally = asyncio.run(send(source, args.to, tell=tell, **options))
    rates = f"{tally.kbps:.2f} kbps, {tally.tokens_per_s:.1f} tokens/s, {tally.share:.1%} of cells"
    print("\n" * terminal + f"sent {tally.frames} frames in {tally.seconds:.1f} s: {rates}")


def _add_replay(commands: Any) -> None:
    text = (
        "Send a recording to a server as a live sender would, at the times at which it was recorded, so that a model "
        "can be asked about it. What finds no room at once is made up for by what follows. Needs no torch."
    )
    parser = command(commands, "replay", _replay, text)
    parser.add_argument("recording", type=Path, metavar="IN.vtk", help="of `vidtok encode`, the demo or the page")
    _add_server(parser)
    parser.add_argument(
        "--speed",
        type=positive,
        default=1.0,
        help="2 plays it twice as fast, and so it looks to the model (default %(default)g)",
    )
    parser.add_argument(
        "--stay",
        action="store_true",
        help="stay when it is over, until Ctrl-C: the model keeps what it has seen for as long as the stream is open",
    )


def _replay(args: argparse.Namespace) -> None:
    from vidtok.live.recording import Replay
    from vidtok.live.replaying import resend
    from vidtok.live.timeline import tracing

    def over(told: Any) -> None:
        seconds = replay.summary.duration_s / args.speed
        print(f"replayed in {seconds:.1f} s: {told.versions} versions, {told.tokens} tokens", flush=True)
        if args.stay:
            print(f'until Ctrl-C: vidtok ask {args.to} "what came in?"', flush=True)

    replay = Replay(args.recording)
    with tracing(args.trace) as trace:
        options = {"token": args.token, "trace": trace, "ice_servers": args.ice}
        asyncio.run(resend(replay, args.to, speed=args.speed, stay=args.stay, over=over, **options))


def _add_ask(commands: Any) -> None:
    parser = command(
        commands,
        "ask",
        _ask,
        "Ask a server about what it watches, and print the answer as it comes. Ctrl-C interrupts it.",
    )
    parser.add_argument("url", metavar="URL", help="the server's address, as `vidtok serve` prints it")
    parser.add_argument("question", metavar="QUESTION", help='in quotes: "what is on the left?"')
    parser.add_argument("--stream", metavar="NAME", help="of which stream (default: the one that began last)")
    parser.add_argument("--token", help="the server's token, when it asks for one")


def _ask(args: argparse.Namespace) -> None:
    from vidtok.live.ask import ask_server

    async def ask() -> None:
        async for word in ask_server(args.url, args.question, stream=args.stream, token=args.token):
            print(word, end="", flush=True)

    asyncio.run(ask())
    print()


# -- traces


def _add_trace(commands: Any) -> None:
    parser = command(
        commands,
        "trace",
        _trace,
        "Say and draw what a session did over time, from what `vidtok send --trace` or `vidtok serve --trace` wrote.",
    )
    parser.add_argument("trace", type=Path, metavar="FILE", help="the trace; it may still be being written")
    parser.add_argument("--out", type=Path, metavar="PICTURE.png", help="default: FILE's name, with .png")


def _trace(args: argparse.Namespace) -> None:
    from vidtok.live.timeline import draw, read_trace, summary_lines

    out = args.out or args.trace.with_suffix(".png")
    if out.suffix.lower() != ".png":
        raise UsageError(f"{out}: the picture's name must end in .png")
    if out == args.trace:
        raise UsageError(f"{out}: is the trace itself: name the picture with --out")
    log = read_trace(args.trace)
    print("\n".join(summary_lines(log)))
    draw(log, out, args.trace.name)
    print(f"wrote {out}")


# -- files


def _add_encode(commands: Any) -> None:
    parser = command(
        commands,
        "encode",
        _encode,
        "Write what sending a source would put on the wire into a .vtk file.",
        epilog=SOURCES,
    )
    parser.add_argument("source", metavar="IN", help="what to encode")
    parser.add_argument("out", type=Path, metavar="OUT.vtk")
    _add_source(parser, None)
    add_caps(parser)
    _add_spending(parser)


def _encode(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from vidtok.live.recording import Replay, encode

    if args.out.suffix.lower() != ".vtk":
        raise UsageError(f"{args.out}: a recording's name must end in .vtk")
    with _open(args) as source:
        for _ in tqdm(
            encode(source, args.out, _config(args)),
            "encoding",
            unit=" frames",
            disable=not sys.stderr.isatty(),
        ):
            pass
    _print_info(Replay(args.out))


def _add_decode(commands: Any) -> None:
    parser = command(
        commands,
        "decode",
        _decode,
        "Show a recording as the viewer sees its canvas: for people, the model needs no pictures.",
    )
    parser.add_argument("recording", type=Path, metavar="IN.vtk")
    parser.add_argument("out", type=Path, metavar="OUT.mp4")
    parser.add_argument("--hashes", action="store_true", help="also print version and state hash of every canvas")


def _decode(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from vidtok.live.pictures import FilmWriter
    from vidtok.live.recording import Replay, frames_of
    from vidtok.model.viewer import CanvasViewer

    if args.out.suffix.lower() != ".mp4":
        raise UsageError(f"{args.out}: the picture file's name must end in .mp4")
    replay = Replay(args.recording)
    if args.hashes:
        for now, update in replay:
            print(f"{now:9.3f} s  version {update.canvas.version}  {update.canvas.state_hash():08x}")
    else:
        for _ in replay:  # read to the end first: a damaged recording makes no film
            pass
    if not replay.summary.versions:
        raise UsageError(f"{args.recording}: holds no picture; was its cap too small?")
    viewer, fps = CanvasViewer(), float(replay.reader.meta["fps"])
    with FilmWriter(args.out, fps) as film:
        for _, canvas in tqdm(frames_of(replay, fps), "decoding", unit=" frames", disable=not sys.stderr.isatty()):
            film.write(viewer.show(canvas))
    print(f"wrote {args.out}")


def _add_info(commands: Any) -> None:
    parser = command(commands, "info", _info, "Say what a .vtk recording holds.")
    parser.add_argument("recording", type=Path, metavar="IN.vtk")


def _info(args: argparse.Namespace) -> None:
    from vidtok.live.recording import Replay

    _print_info(Replay(args.recording))


def _print_info(replay: Any) -> None:
    for _ in replay:
        pass
    print("\n".join(replay.summary.lines()))


if __name__ == "__main__":
    raise SystemExit(main())
