"""Serves the page that the browser runs, and keeps what the page reports.

page.py PORT FRAMES

GET /              the page; it holds FRAMES frames of other origins, each a renderer of its own
GET /frame         what each frame runs: timers and fetches that check themselves, and memory on request
GET /echo/WORD     WORD three times
GET /todo?id=      how many MiB that frame shall have touched by now
POST /report?id=   what a frame saw
GET /all           everything reported
GET /grow/MB       asks every frame for more memory
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PORT, FRAMES = int(sys.argv[1]), int(sys.argv[2])
reports, want, lock = {}, [0], threading.Lock()

FRAME = """<!doctype html><script>
const id = new URLSearchParams(location.search).get('id');
const s = {timers: 0, early: 0, late_us: 0, fetches: 0, wrong: 0, lost: 0, blocks: 0, mb: 0};
const wasm = new WebAssembly.Memory({initial: 1, maximum: 32768});
function tick(ms) {
  const t = performance.now();
  setTimeout(() => {
    const took = performance.now() - t;
    s.timers++;
    if (took < ms - 1) s.early++;
    s.late_us = Math.max(s.late_us, Math.round((took - ms) * 1000));
    tick(ms);
  }, ms);
}
async function fetcher() {
  for (;;) {
    const word = Math.random().toString(16).slice(2);
    try {
      const r = await fetch('/echo/' + word);
      if (await r.text() !== word.repeat(3)) s.wrong++;
      s.fetches++;
    } catch (e) { s.lost++; }
    await new Promise(done => setTimeout(done, 20));
  }
}
const live = [];
function churn() {
  const at = s.blocks % 64, old = live[at];
  if (old) { let sum = 0; for (const x of old.data) sum = (sum * 31 + x) | 0; if (sum !== old.sum) s.wrong++; }
  const data = new Uint32Array(1 + Math.random() * 8192); let sum = 0;
  for (let i = 0; i < data.length; i++) { data[i] = Math.random() * 4294967296; sum = (sum * 31 + data[i]) | 0; }
  live[at] = {data, sum};
  s.blocks++;
  setTimeout(churn, 5);
}
async function reporter() {
  for (;;) {
    try {
      const mb = +(await (await fetch('/todo?id=' + id)).text());
      if (mb > s.mb) {
        const from = wasm.grow((mb - s.mb) * 16) * 65536;
        new Uint8Array(wasm.buffer).fill(1, from);
        s.mb = mb;
      }
      await fetch('/report?id=' + id, {method: 'POST', body: JSON.stringify(s)});
      s.late_us = 0;
    } catch (e) { s.lost++; }
    await new Promise(done => setTimeout(done, 100));
  }
}
tick(11); tick(17); fetcher(); churn(); reporter();
</script>"""


def page():
    # Another loopback address is another site: the browser gives it its own renderer.
    frames = "".join(
        f'<iframe src="http://127.0.0.{n + 2}:{PORT}/frame?id={n}"></iframe>' for n in range(FRAMES)
    )
    return f"<!doctype html>{frames}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, text, kind="text/plain"):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        url = urlsplit(self.path)
        verb, _, word = url.path[1:].partition("/")
        if verb == "":
            self.send(page(), "text/html")
        elif verb == "frame":
            self.send(FRAME, "text/html")
        elif verb == "echo":
            self.send(word * 3)
        elif verb == "todo":
            self.send(str(want[0]))
        elif verb == "grow":
            want[0] += int(word)
            self.send(str(want[0]))
        elif verb == "all":
            with lock:
                self.send(json.dumps(reports))
                for report in reports.values():
                    report["worst_late_us"] = 0
        else:
            self.send("")

    def do_POST(self):
        report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = parse_qs(urlsplit(self.path).query)["id"][0]
        with lock:
            worst = reports.get(key, {}).get("worst_late_us", 0)
            reports[key] = report | {"worst_late_us": max(worst, report["late_us"])}
        self.send("ok")


ThreadingHTTPServer.daemon_threads = True
ThreadingHTTPServer.request_queue_size = 128
for last in range(1, FRAMES + 2):
    server = ThreadingHTTPServer((f"127.0.0.{last}", PORT), Handler)
    threading.Thread(target=server.serve_forever).start()
