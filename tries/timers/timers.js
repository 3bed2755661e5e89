// Timers of node, and an HTTP answer for whoever makes load: timers.js PORT
// Prints "tick NAME MICROSECONDS" whenever a timer fires: how late it was.
const http = require('http');
const fs = require('fs');

function every(ms) {
  let due = performance.now() + ms;
  setInterval(() => {
    const now = performance.now();
    // One write(2) a line, at once: a stream would keep lines back while the loop is busy.
    fs.writeSync(1, `tick setInterval(${ms}) ${Math.round((now - due) * 1000)}\n`);
    due = now + ms;
  }, ms);
}

http.createServer((request, response) => response.end('ok'))
  .listen({ port: +process.argv[2], host: '127.0.0.1', backlog: 512 });
every(1000);
