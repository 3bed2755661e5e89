"""A small HTTP server under asyncio, with timers that check themselves.

GET /echo/WORD    WORD three times
GET /asked/MB     fresh memory for which the C library asks for huge pages (GLIBC_TUNABLES)
GET /old/MB       first touch of memory that was mapped at the start and never asked for anything
GET /stats        what the timers saw; the largest delay starts anew
"""

import asyncio
import json
import mmap
import select
import sys
import threading
import time

PAGE = 4096
OLD = mmap.mmap(-1, 512 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
old_at = 0
kept = []
stats = {"timers": 0, "early": 0, "late_us": 0, "wrong": 0}
lock = threading.Lock()


def saw(asked, took):
    with lock:
        stats["timers"] += 1
        if took < asked:
            stats["early"] += 1
        stats["late_us"] = max(stats["late_us"], int((took - asked) * 1e6))


def sleeper(seconds):
    while True:
        t = time.monotonic()
        time.sleep(seconds)
        saw(seconds, time.monotonic() - t)


def poller(seconds):
    with select.epoll() as quiet:
        while True:
            t = time.monotonic()
            if quiet.poll(seconds):
                stats["wrong"] += 1
            saw(seconds, time.monotonic() - t)


def waiter(seconds):
    never = threading.Event()
    while True:
        t = time.monotonic()
        if never.wait(seconds):
            stats["wrong"] += 1
        saw(seconds, time.monotonic() - t)


async def ticker(seconds):
    while True:
        t = time.monotonic()
        await asyncio.sleep(seconds)
        # The loop's own rule: a timer may be taken one clock tick before its time.
        saw(seconds, time.monotonic() - t + 1e-9)


def answer(path):
    global old_at
    verb, _, word = path[1:].partition("/")
    if verb == "echo":
        return word * 3
    if verb == "asked":
        block = bytearray(int(word) << 20)
        block[::PAGE] = b"\1" * len(range(0, len(block), PAGE))
        kept.append(block)
        return "ok"
    if verb == "old":
        end = old_at + (int(word) << 20)
        for at in range(old_at, end, PAGE):
            OLD[at] = 1
        old_at = end
        return "ok"
    if verb == "stats":
        with lock:
            text = json.dumps(stats)
            stats["late_us"] = 0
        return text
    return "?"


async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            if path.startswith(("/asked", "/old")):
                body = await asyncio.to_thread(answer, path)
            else:
                body = answer(path)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body.encode()))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main():
    for target, seconds in ((sleeper, 0.011), (poller, 0.013), (waiter, 0.017)):
        threading.Thread(target=target, args=(seconds,), daemon=True).start()
    tasks = [asyncio.create_task(ticker(s)) for s in (0.007, 0.031)]
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=512)
    async with server:
        await asyncio.gather(server.serve_forever(), *tasks)


asyncio.run(main())
