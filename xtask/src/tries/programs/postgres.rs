//! PostgreSQL: a session that sleeps, the rounds of autovacuum, and the checkpoints of its timer.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Instance;
use crate::run;
use crate::tries::net::connect;
use crate::tries::room::{Output, Room, User, command, give_away};
use crate::tries::ticks::Ticks;

/// Where the server's own programs are: Debian keeps them off the path.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let mut found: Vec<PathBuf> = versions
        .map(|v| v.path().join("bin"))
        .filter(|b| b.join("initdb").is_file())
        .collect();
    found.sort();
    found.pop()
}

/// One session for ever; it says how late each of its sleeps ends.
const SLEEPER: &str = "DO $$ DECLARE t timestamptz; BEGIN LOOP t := clock_timestamp(); PERFORM pg_sleep(1); \
     RAISE NOTICE 'tick pg_sleep(1) %', 1e6 * (extract(epoch FROM clock_timestamp() - t) - 1); END LOOP; END $$";

pub(super) fn start(mut room: Room, busy: bool) -> Result<Instance> {
    let bin = programs().context("no initdb below /usr/lib/postgresql")?;
    let tool = |name: &str| bin.join(name).display().to_string();
    give_away(room.dir())?;
    let dir = room.dir().display().to_string();
    let data = format!("{dir}/data");
    let initdb = tool("initdb");
    let make = [
        initdb.as_str(),
        "-D",
        &data,
        "-U",
        "postgres",
        "-A",
        "trust",
        "--no-sync",
    ];
    run::text(
        command(&make, User::NotRoot)?
            .env("HOME", &dir)
            .current_dir(&dir),
    )?;
    let (postgres, port) = (tool("postgres"), room.port());
    let text = port.to_string();
    let words = [
        postgres.as_str(),
        "-D",
        &data,
        "-p",
        &text,
        "-k",
        &dir,
        "-h",
        "127.0.0.1",
        // A round of autovacuum is told at this level, a checkpoint that has nothing to write too.
        "-c",
        "log_min_messages=debug1",
        "-c",
        "autovacuum_naptime=3s",
        "-c",
        "checkpoint_timeout=30s",
    ];
    let log = room.dir().join("0.log");
    let pid = room.start(&words, User::NotRoot, Output::Log)?;
    room.until("it takes connections", || {
        connect(port).is_ok() && times(&log, "database system is ready").is_ok_and(|n| n > 0)
    })?;
    let ticks = Ticks::default();
    let (psql, pgbench) = (tool("psql"), tool("pgbench"));
    let there = ["-h", "127.0.0.1", "-p", &text, "-U", "postgres"];
    let session = format!("exec \"$@\" -X -c \"{SLEEPER}\" postgres 2>&1").replace("$$", "\\$\\$");
    let mut words = vec!["sh", "-c", &session, "sh", &psql];
    words.extend(there);
    room.start(&words, User::Same, Output::Ticks(&ticks))?;
    if busy {
        let mut fill = vec![pgbench.as_str(), "-i", "-q", "-s", "2"];
        fill.extend(there);
        fill.push("postgres");
        run::text(&mut command(&fill, User::Same)?)?;
        let mut load = vec![pgbench.as_str(), "-c", "4", "-T", "3600"];
        load.extend(there);
        load.push("postgres");
        room.start(&load, User::Same, Output::Log)?;
    }
    let mut instance = Instance::new(pid, ticks, room);
    let vacuums = log.clone();
    instance.counters.push((
        "autovacuum_naptime 3s",
        Box::new(move || times(&vacuums, "autovacuum: processing database")),
    ));
    instance.counters.push((
        "checkpoint_timeout 30s",
        Box::new(move || {
            Ok(times(&log, "checkpoint starting: time")?
                + times(&log, "checkpoint skipped because system is idle")?)
        }),
    ));
    Ok(instance)
}

/// How often the log says it.
fn times(log: &Path, words: &str) -> Result<u64> {
    let text = std::fs::read(log).with_context(|| log.display().to_string())?;
    Ok(String::from_utf8_lossy(&text).matches(words).count() as u64)
}
