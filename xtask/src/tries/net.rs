//! Clients and a server of a few lines, for timers that only show from outside.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::ticks::Ticks;

/// A wait that lasts longer has failed.
const LIMIT: Duration = Duration::from_secs(90);

pub(super) fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// Something that runs beside a program until the value is dropped.
#[derive(Debug)]
pub(super) struct Beside {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Beside {
    /// Does something again and again. Each time has to end within [`LIMIT`].
    pub(super) fn repeat(mut step: impl FnMut() -> Result<()> + Send + 'static) -> Beside {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                if step().is_err() {
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        });
        Beside {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Not waited for: it may stand in a read from a program that is about to be ended.
        drop(self.thread.take());
    }
}

/// How much later than `due` it is since `begin`, in microseconds.
fn late(begin: Instant, due: Duration) -> i64 {
    let micros = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
    micros(begin.elapsed()) - micros(due)
}

/// One request of `path` on a kept connection, and then how long after the answer the server closes it.
pub(super) fn until_closed(
    port: u16,
    path: &str,
    due: Duration,
    name: &str,
    ticks: &Ticks,
) -> Result<()> {
    let mut stream = connect(port)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut buffer = [0u8; 4096];
    let _ = stream.read(&mut buffer)?;
    let begin = Instant::now();
    while stream.read(&mut buffer)? > 0 {}
    ticks.add(name, late(begin, due));
    Ok(())
}

/// One request, and how long its answer takes; `due` is how long it has to.
pub(super) fn until_answered(
    port: u16,
    request: &str,
    due: Duration,
    name: &str,
    ticks: &Ticks,
) -> Result<()> {
    let mut stream = connect(port)?;
    let begin = Instant::now();
    stream.write_all(request.as_bytes())?;
    let mut buffer = [0u8; 4096];
    if stream.read(&mut buffer)? > 0 {
        ticks.add(name, late(begin, due));
    }
    Ok(())
}

/// Serves one page, and takes word of its timers: GET /tick?name=NAME&late=MICROSECONDS.
pub(super) fn serve_page(page: String, ticks: &Ticks) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let ticks = ticks.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (page, ticks) = (page.clone(), ticks.clone());
            std::thread::spawn(move || answer(stream, &page, &ticks));
        }
    });
    Ok(port)
}

fn answer(mut stream: TcpStream, page: &str, ticks: &Ticks) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    while let Some(Ok(first)) = lines.next() {
        while lines.next()?.ok()?.as_str() != "" {}
        let path = first.split(' ').nth(1)?;
        let body = match path.strip_prefix("/tick?name=") {
            Some(rest) => {
                let (name, late) = rest.split_once("&late=")?;
                ticks.add(name, late.parse().ok()?);
                ""
            }
            None if path.starts_with("/favicon") => "",
            None => page,
        };
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html";
        write!(
            stream,
            "{head}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .ok()?;
    }
    None
}

/// Takes connections and never answers.
pub(super) fn serve_silence() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Held until the other side gives up.
            std::thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(LIMIT));
                let _ = std::io::copy(&mut &stream, &mut std::io::sink());
            });
        }
    });
    Ok(port)
}
