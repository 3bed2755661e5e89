//! redis and nginx: their timers show in what they do to connections.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Instance, wrk};
use crate::tries::net::{Beside, connect, serve_silence, until_answered, until_closed};
use crate::tries::room::{Output, Room, User};
use crate::tries::ticks::Ticks;

pub(super) fn redis(mut room: Room, busy: bool) -> Result<Instance> {
    let port = room.port();
    let text = port.to_string();
    let words = [
        "redis-server",
        "--port",
        &text,
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--daemonize",
        "no",
    ];
    let pid = room.start(&words, User::Same, Output::Log)?;
    room.until("its port answers", || connect(port).is_ok())?;
    if busy {
        let load = [
            "redis-benchmark",
            "-p",
            &text,
            "-t",
            "get,set",
            "-c",
            "8",
            "-r",
            "100000",
            "-q",
            "-l",
        ];
        room.start(&load, User::Same, Output::Log)?;
    }
    let ticks = Ticks::default();
    // The time of a client that waits is up when the loop that serverCron() turns says so.
    let heard = ticks.clone();
    let wait = move || {
        until_answered(
            port,
            "BLPOP nothing 1\r\n",
            Duration::from_secs(1),
            "BLPOP 1",
            &heard,
        )
    };
    let mut instance = Instance::new(pid, ticks, room);
    instance._beside.push(Beside::repeat(wait));
    Ok(instance)
}

pub(super) fn nginx(mut room: Room, busy: bool) -> Result<Instance> {
    let port = room.port();
    let silent = serve_silence()?;
    let dir = room.dir().display().to_string();
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("    {kind}_temp_path {dir}/{kind};\n"))
        .collect();
    let config = format!(
        "daemon off;\nworker_processes 2;\npid {dir}/pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 256; }}\n\
         http {{\n{temp}    access_log off;\n    keepalive_timeout 2s;\n    keepalive_requests 1000000000;\n    \
         server {{\n        listen 127.0.0.1:{port};\n        \
         location / {{ return 200 ok; }}\n        \
         location /silent {{ proxy_pass http://127.0.0.1:{silent}; proxy_read_timeout 3s; }}\n    }}\n}}\n"
    );
    let config = room.write("nginx.conf", &config)?;
    let config = config.to_str().context("the folder's path is no text")?;
    let words = ["nginx", "-e", "stderr", "-p", &dir, "-c", config];
    let pid = room.start(&words, User::Same, Output::Log)?;
    room.until("its port answers", || connect(port).is_ok())?;
    wrk(&mut room, busy)?;
    let ticks = Ticks::default();
    let mut instance = Instance::new(pid, ticks.clone(), room);
    let heard = ticks.clone();
    instance._beside.push(Beside::repeat(move || {
        until_closed(
            port,
            "/",
            Duration::from_secs(2),
            "keepalive_timeout 2s",
            &heard,
        )
    }));
    let request = "GET /silent HTTP/1.1\r\nHost: x\r\n\r\n";
    instance._beside.push(Beside::repeat(move || {
        until_answered(
            port,
            request,
            Duration::from_secs(3),
            "proxy_read_timeout 3s",
            &ticks,
        )
    }));
    Ok(instance)
}
