"""Timers under asyncio, and an HTTP answer for whoever makes load: timers.py PORT [SECONDS...]

Prints "tick NAME MICROSECONDS" whenever a timer fires: how late it was.
"""

import asyncio
import sys
import time


async def ticker(seconds):
    name = f"asyncio.sleep({seconds:g})"
    while True:
        begin = time.monotonic()
        await asyncio.sleep(seconds)
        late = time.monotonic() - begin - seconds
        print(f"tick {name} {round(late * 1e6)}", flush=True)


async def serve(reader, writer):
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=512)
    # By default only one: a loop whose next timer is 2 s away sleeps for 2 s.
    tickers = [ticker(float(s)) for s in sys.argv[2:] or ("2",)]
    async with server:
        await asyncio.gather(server.serve_forever(), *tickers)


asyncio.run(main())
