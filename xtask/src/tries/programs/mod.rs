//! The programs: how each is started, with which timers, and how it is kept busy.

mod chromium;
mod postgres;
mod runtimes;
mod servers;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Serialize;

use super::Place;
use super::net::Beside;
use super::room::{Output, Room, User};
use super::ticks::Ticks;
use crate::run::need;

/// A program that can be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Program {
    /// asyncio
    Python,
    Node,
    /// A JVM with 1,000 threads
    Java,
    Go,
    Redis,
    Nginx,
    Postgres,
    /// Headless
    Chromium,
}

/// Counts something that the program has done so far.
type Counter = Box<dyn Fn() -> Result<u64>>;

/// A program that runs.
pub(super) struct Instance {
    pid: i32,
    ticks: Ticks,
    counters: Vec<(&'static str, Counter)>,
    began: Instant,
    // Ended first: what talks to the program, then the program.
    _beside: Vec<Beside>,
    room: Room,
}

impl Program {
    pub(super) fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether what it needs is installed.
    pub(super) fn is_there(self) -> Result<()> {
        const WRK: (&str, &str) = ("wrk", "wrk");
        need(match self {
            Program::Python => &[("/usr/bin/python3", "python3"), WRK],
            Program::Node => &[("node", "nodejs"), WRK],
            Program::Java => &[
                ("java", "default-jdk-headless"),
                ("javac", "default-jdk-headless"),
                WRK,
            ],
            Program::Go => &[("go", "golang-go"), WRK],
            Program::Redis => &[
                ("redis-server", "redis-server"),
                ("redis-benchmark", "redis-tools"),
            ],
            Program::Nginx => &[("nginx", "nginx-light"), WRK],
            Program::Postgres => &[("psql", "postgresql"), ("pgbench", "postgresql")],
            Program::Chromium => &[("chromium", "chromium")],
        })
    }

    /// Starts it, with its timers; where it shall be busy, with its load.
    pub(super) fn start(self, place: &Place<'_>, name: &str, busy: bool) -> Result<Instance> {
        let room = Room::new(place.temp, &format!("{}-{name}-{}", self.name(), unique()))?;
        match self {
            Program::Python => runtimes::python(place, room, busy),
            Program::Node => runtimes::node(place, room, busy),
            Program::Java => runtimes::java(place, room, busy),
            Program::Go => runtimes::go(place, room, busy),
            Program::Redis => servers::redis(room, busy),
            Program::Nginx => servers::nginx(room, busy),
            Program::Postgres => postgres::start(room, busy),
            Program::Chromium => chromium::start(place, room, busy),
        }
    }
}

fn unique() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Instance {
    fn new(pid: i32, ticks: Ticks, room: Room) -> Instance {
        Instance {
            pid,
            ticks,
            counters: Vec::new(),
            began: Instant::now(),
            _beside: Vec::new(),
            room,
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    pub(super) fn ticks(&self) -> &Ticks {
        &self.ticks
    }

    /// Waits until every timer has fired. What has not fired in four seconds is not known yet.
    pub(super) fn warm_up(&mut self) -> Result<()> {
        let (ticks, began) = (self.ticks.clone(), self.began);
        self.room.until("every timer fires", || {
            began.elapsed() > Duration::from_secs(4) && ticks.have_fired(2)
        })
    }

    pub(super) fn check_alive(&mut self) -> Result<()> {
        if !self.room.is_alive() {
            bail!("a program has ended on the way; {}", self.room.last_words());
        }
        Ok(())
    }

    /// Counts of what leaves no word of each time.
    pub(super) fn counts(&self) -> Result<BTreeMap<String, u64>> {
        let count = |(name, counter): &(&str, Counter)| Ok(((*name).to_owned(), counter()?));
        self.counters.iter().map(count).collect()
    }
}

/// Keeps an HTTP server busy. It is not ended by its limit: what runs so long has failed.
fn wrk(room: &mut Room, busy: bool) -> Result<()> {
    if busy {
        let url = format!("http://127.0.0.1:{}/", room.port());
        room.start(
            &["wrk", "-t1", "-c8", "-d3600s", &url],
            User::Same,
            Output::Log,
        )?;
    }
    Ok(())
}
