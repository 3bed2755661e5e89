//! Language runtimes, each with a program from `tries/timers`.

use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Instance, wrk};
use crate::run;
use crate::tries::Place;
use crate::tries::net::connect;
use crate::tries::room::{Output, Room, User};
use crate::tries::ticks::Ticks;

fn source(place: &Place<'_>, name: &str) -> Result<String> {
    let path = place.layout.repo.join("tries/timers").join(name);
    path.into_os_string()
        .into_string()
        .ok()
        .context("the repository's path is no text")
}

fn launch(mut room: Room, words: &[&str], busy: bool) -> Result<Instance> {
    let ticks = Ticks::default();
    let port = room.port();
    let mut words = words.to_vec();
    let text = port.to_string();
    words.push(&text);
    let pid = room.start(&words, User::Same, Output::Ticks(&ticks))?;
    room.until("its port answers", || connect(port).is_ok())?;
    wrk(&mut room, busy)?;
    Ok(Instance::new(pid, ticks, room))
}

pub(super) fn python(place: &Place<'_>, room: Room, busy: bool) -> Result<Instance> {
    // By its whole name: a wrapper of the user's would be another process.
    launch(
        room,
        &["/usr/bin/python3", &source(place, "timers.py")?],
        busy,
    )
}

pub(super) fn node(place: &Place<'_>, room: Room, busy: bool) -> Result<Instance> {
    launch(room, &["node", &source(place, "timers.js")?], busy)
}

pub(super) fn java(place: &Place<'_>, room: Room, busy: bool) -> Result<Instance> {
    let dir = room
        .dir()
        .to_str()
        .context("the folder's path is no text")?
        .to_owned();
    run::text(Command::new("javac").args(["-d", &dir, &source(place, "Timers.java")?]))?;
    launch(room, &["java", "-Xss256k", "-cp", &dir, "Timers"], busy)
}

pub(super) fn go(place: &Place<'_>, room: Room, busy: bool) -> Result<Instance> {
    let program = room.dir().join("timers");
    let mut build = Command::new("go");
    build
        .arg("build")
        .arg("-o")
        .arg(&program)
        .arg(source(place, "timers.go")?);
    build
        .env("GOCACHE", place.temp.join("go-cache"))
        .env("GO111MODULE", "off");
    run::text(&mut build)?;
    launch(
        room,
        &[program.to_str().context("the folder's path is no text")?],
        busy,
    )
}
