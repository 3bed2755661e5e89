// A small HTTP server, with timers that check themselves. The paths are those of server.py;
// /old touches WebAssembly memory, whose address range V8 reserves at the start.
const http = require('http');
const stats = { timers: 0, early: 0, late_us: 0, wrong: 0 };
const kept = [];
const wasm = new WebAssembly.Memory({ initial: 1, maximum: 8192 });

function tick(ms) {
  const t = performance.now();
  setTimeout(() => {
    const took = performance.now() - t;
    stats.timers++;
    // node rounds to milliseconds: up to one early is its own rule.
    if (took < ms - 1) stats.early++;
    stats.late_us = Math.max(stats.late_us, Math.round((took - ms) * 1000));
    tick(ms);
  }, ms);
}

function answer(url) {
  const [, verb, word] = url.split('/');
  if (verb === 'echo') return word.repeat(3);
  if (verb === 'asked') { kept.push(Buffer.alloc(word << 20).fill(1)); return 'ok'; }
  if (verb === 'old') {
    const from = wasm.grow((word << 20) / 65536) * 65536;
    new Uint8Array(wasm.buffer).fill(1, from);
    return 'ok';
  }
  if (verb === 'stats') { const s = JSON.stringify(stats); stats.late_us = 0; return s; }
  return '?';
}

http.createServer((request, response) => {
  const body = answer(request.url);
  response.writeHead(200, { 'Content-Length': Buffer.byteLength(body) });
  response.end(body);
}).listen({ port: +process.argv[2], host: '127.0.0.1', backlog: 512 }).keepAliveTimeout = 0;
tick(11); tick(17);
