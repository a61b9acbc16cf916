"""Lean replicas: each holds the question for the next change, and asks again when it is answered.

    python -m benchmarks.holders PORT COUNT

Prints a line when all of them hold; ends with its standard input and prints how many changes were heard in all.
"""

from __future__ import annotations

import asyncio
import re
import sys

__all__ = ["main"]


class _Holders:
    def __init__(self, port: int) -> None:
        self.port = port
        self.holding = self.heard = 0

    async def one(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        since, wait = 10**9, 0  # the answer to that is refused, and tells the newest revision
        while True:
            path = f"/api/model_references/v2/changes?since={since}&wait={wait}"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n".encode())
            self.holding += bool(wait)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = re.search(rb"content-length: (\d+)", head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            revision = re.search(rb"x-reference-revision: (\d+)", head)
            self.heard += bool(wait and body)
            since, wait = int(revision[1]) if revision else since, 25


async def main(port: int, count: int) -> None:
    """Hold until the standard input ends."""
    holders = _Holders(port)
    tasks = [asyncio.create_task(holders.one()) for _ in range(count)]
    while holders.holding < count:
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(holders.heard)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
