"""Load with a memory: every answer is compared, no connection may be lost.

check_http.py PORT CONNECTIONS SECONDS    (SIGTERM ends it early)

Prints one JSON line: requests, wrong answers, lost connections, slowest answer.
"""

import json
import os
import signal
import socket
import sys
import threading
import time

port, connections, seconds = (int(a) for a in sys.argv[1:4])
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
total = {"requests": 0, "wrong": 0, "lost": 0, "slowest_ms": 0}
lock = threading.Lock()


def client():
    done = wrong = 0
    slowest = 0.0
    lost = 0
    link = socket.create_connection(("127.0.0.1", port))
    link.settimeout(30)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = b""
    try:
        while not stop.is_set():
            word = os.urandom(8).hex()
            t = time.monotonic()
            link.sendall(f"GET /echo/{word} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            while b"\r\n\r\n" not in buffer:
                part = link.recv(65536)
                if not part:
                    raise ConnectionError("closed")
                buffer += part
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next(int(l.split(b":")[1]) for l in lines if l.startswith(b"content-length"))
            while len(buffer) < length:
                part = link.recv(65536)
                if not part:
                    raise ConnectionError("closed")
                buffer += part
            body, buffer = buffer[:length], buffer[length:]
            slowest = max(slowest, time.monotonic() - t)
            done += 1
            if b" 200 " not in lines[0] or body != word.encode() * 3:
                wrong += 1
            time.sleep(0.002)
    except (OSError, StopIteration) as error:
        print(f"connection: {error!r}", file=sys.stderr)
        lost = 1
    link.close()
    with lock:
        total["requests"] += done
        total["wrong"] += wrong
        total["lost"] += lost
        total["slowest_ms"] = max(total["slowest_ms"], round(slowest * 1000))


threads = [threading.Thread(target=client) for _ in range(connections)]
for thread in threads:
    thread.start()
stop.wait(seconds)
stop.set()
for thread in threads:
    thread.join()
print(json.dumps(total))
sys.exit(1 if total["wrong"] or total["lost"] or not total["requests"] else 0)
