"""A text screen, 80 by 24, kept in step over a bad link: all that an application writes, both ends in one file.

python -m experiments.shared_screen --loss 0.2 --delay 0.15 --seconds 5 [--url udp://127.0.0.1:5900]"""

import argparse
import asyncio
import zlib

from transport import Follower, Link, Publisher, Role, Session
from transport.adapters.connection import Connection
from transport.adapters.endpoint import ImpairedEndpoint
from transport.adapters.registry import connect, listen

BLANK = b" " * 80 * 24


def diff(old: bytes, new: bytes) -> bytes:
    return b"".join(bytes([*divmod(at, 80), char]) for at, char in enumerate(new) if old[at] != char)


def patch(old: bytes, payload: bytes) -> bytes:
    told = {row * 80 + col: char for row, col, char in zip(payload[::3], payload[1::3], payload[2::3], strict=True)}
    return bytes(told.get(at, char) for at, char in enumerate(old))


async def keep(end: Publisher[bytes] | Follower[bytes], connection: Connection) -> None:
    async with connection:
        async for event in connection.events():
            end.on_event(event, connection.clock())
            connection.flush()


async def play(url: str, loss: float, delay: float, seconds: float) -> None:
    clock, links = asyncio.get_running_loop().time, [Link(seed, loss=loss, delay_s=delay) for seed in (1, 2)]
    sender, receiver = (Session(role, codec_hash=b"screen", meta={}, now=clock(), wall_ms=0) for role in Role)
    publisher, follower = Publisher(sender, diff, BLANK, zlib.crc32), Follower(receiver, patch, BLANK, zlib.crc32)
    listener = listen(url, lambda endpoint: keep(follower, Connection(receiver, ImpairedEndpoint(endpoint, links[1]))))
    await listener.start()
    connection = Connection(sender, ImpairedEndpoint(await connect(url), links[0]))
    start, keeping, screen, ages = clock(), asyncio.create_task(keep(publisher, connection)), BLANK, [0.0]
    while (now := clock() - start) < seconds or not (publisher.settled or sender.closed):
        if now < seconds:  # somebody types, twenty letters a second
            at = len(ages) % len(BLANK)
            screen = screen[:at] + b"%c" % (97 + len(ages) % 26) + screen[at + 1 :]
            ages.append(now - follower.capture_ms / 1000)
        publisher.publish(screen, clock())
        connection.flush()
        await asyncio.sleep(0.05)
    await asyncio.gather(connection.close(), keeping, listener.close())
    same, ages, size = follower.state == screen, sorted(ages), sender.bytes_sent + receiver.bytes_sent
    print("equal:" if same else "different:", size, "bytes in", sender.packets_sent + receiver.packets_sent, "packets")
    print(f"{ages[len(ages) // 2]:.2f} s old in the median of {len(ages)} looks, {ages[-1]:.2f} s at worst")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in {"url": "loopback://screen", "loss": 0.2, "delay": 0.15, "seconds": 5.0}.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    asyncio.run(play(**vars(parser.parse_args())))
