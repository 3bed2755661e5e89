"""redis load with a memory: writes, reads back, waits with BLPOP; no connection may be lost.

check_redis.py PORT CONNECTIONS SECONDS   (SIGTERM ends it early)
check_redis.py PORT fill KEYS BYTES       writes that many keys of known content
check_redis.py PORT read KEYS BYTES       reads them all and compares
"""

import hashlib
import json
import os
import signal
import socket
import sys
import threading
import time


class Redis:
    def __init__(self, port):
        self.link = socket.create_connection(("127.0.0.1", port))
        self.link.settimeout(60)
        self.file = self.link.makefile("rb", 1 << 20)

    @staticmethod
    def words(*words):
        out = [b"*%d\r\n" % len(words)]
        for word in words:
            word = word if isinstance(word, bytes) else str(word).encode()
            out.append(b"$%d\r\n%s\r\n" % (len(word), word))
        return b"".join(out)

    def reply(self):
        line = self.file.readline()
        if not line:
            raise ConnectionError("closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self.file.read(size + 2)[:-2]
        if kind == b"*":
            return None if int(rest) < 0 else [self.reply() for _ in range(int(rest))]
        if kind == b"-":
            raise ValueError(rest)
        return rest

    def call(self, *words):
        self.link.sendall(self.words(*words))
        return self.reply()


def value(key, size):
    digest = hashlib.sha256(str(key).encode()).digest()
    return (digest * (size // len(digest) + 1))[:size]


def bulk(port, verb, keys, size):
    redis, wrong = Redis(port), 0
    for start in range(0, keys, 200):
        batch = range(start, min(start + 200, keys))
        if verb == "fill":
            redis.link.sendall(b"".join(redis.words("SET", f"known:{k:012}", value(k, size)) for k in batch))
            wrong += sum(redis.reply() != b"OK" for _ in batch)
        else:
            redis.link.sendall(b"".join(redis.words("GET", f"known:{k:012}") for k in batch))
            wrong += sum(redis.reply() != value(k, size) for k in batch)
    print(json.dumps({"keys": keys, "wrong": wrong}))
    return 1 if wrong else 0


if sys.argv[2] in ("fill", "read"):
    sys.exit(bulk(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))

port, connections, seconds = (int(a) for a in sys.argv[1:4])
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
total = {"requests": 0, "wrong": 0, "lost": 0, "slowest_ms": 0, "waits": 0, "early": 0, "latest_ms": 0}
lock = threading.Lock()


def client(number):
    mine = {key: 0 for key in total}
    try:
        redis = Redis(port)
        while not stop.is_set():
            key, word = f"check:{number}:{mine['requests'] % 500}", os.urandom(300)
            t = time.monotonic()
            mine["wrong"] += redis.call("SET", key, word) != b"OK"
            mine["wrong"] += redis.call("GET", key) != word
            mine["slowest_ms"] = max(mine["slowest_ms"], round((time.monotonic() - t) * 1000))
            mine["requests"] += 2
            time.sleep(0.002)
    except (OSError, ValueError) as error:
        print(f"connection: {error!r}", file=sys.stderr)
        mine["lost"] = 1
    add(mine)


def waiter():
    mine = {key: 0 for key in total}
    try:
        redis = Redis(port)
        while not stop.is_set():
            t = time.monotonic()
            mine["wrong"] += redis.call("BLPOP", "nobody:pushes", "0.05") is not None
            took = time.monotonic() - t
            mine["waits"] += 1
            # redis counts in whole milliseconds from the start of its loop's turn.
            mine["early"] += took < 0.049
            mine["latest_ms"] = max(mine["latest_ms"], round((took - 0.05) * 1000))
    except (OSError, ValueError) as error:
        print(f"connection: {error!r}", file=sys.stderr)
        mine["lost"] = 1
    add(mine)


def add(mine):
    with lock:
        for key, found in mine.items():
            total[key] = max(total[key], found) if key.endswith("_ms") else total[key] + found


threads = [threading.Thread(target=client, args=(n,)) for n in range(connections)]
threads.append(threading.Thread(target=waiter))
for thread in threads:
    thread.start()
stop.wait(seconds)
stop.set()
for thread in threads:
    thread.join()
print(json.dumps(total))
sys.exit(1 if total["wrong"] or total["lost"] or total["early"] or not total["requests"] else 0)
