"""Replicas that hold a stream of changes: sockets that note when each event has come, in a process of their own.

    python -m benchmarks.service_streams PORT COUNT PATH

Prints a line when all are connected, then for each event the Unix time at which the last of them had all of it. Ends
with its standard input.
"""

from __future__ import annotations

import asyncio
import sys
import time

__all__ = ["main"]

_AT_ONCE = 100


class _Replicas:
    def __init__(self, count: int) -> None:
        self.count = count
        self.connected = self.heard = 0

    def hears(self) -> None:
        self.heard += 1
        if self.heard % self.count == 0:  # each event comes after all have had the one before
            print(time.time(), flush=True)


class _Stream(asyncio.Protocol):
    def __init__(self, replicas: _Replicas, path: str) -> None:
        self._replicas = replicas
        self._path = path
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(f"GET {self._path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._read += data
        if not self._read.endswith(b"\n\n\r\n"):
            return
        self._replicas.connected += b": connected" in self._read
        if b"event: changes" in self._read:
            self._replicas.hears()
        self._read = b""


async def main(port: int, count: int, path: str) -> None:
    """Listen until the standard input ends."""
    loop, replicas = asyncio.get_running_loop(), _Replicas(count)
    for first in range(0, count, _AT_ONCE):
        some = range(first, min(first + _AT_ONCE, count))
        await asyncio.gather(
            *(loop.create_connection(lambda: _Stream(replicas, path), "127.0.0.1", port) for _ in some)
        )
    while replicas.connected < count:
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
