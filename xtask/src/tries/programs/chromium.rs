//! Chromium, headless, with its sandbox: timers of a page, told to a server of ours.

use anyhow::{Context as _, Result};

use super::Instance;
use crate::tries::Place;
use crate::tries::net::serve_page;
use crate::tries::room::{Output, Room, User, give_away};
use crate::tries::ticks::Ticks;

pub(super) fn start(place: &Place<'_>, mut room: Room, busy: bool) -> Result<Instance> {
    let page = place.layout.repo.join("tries/timers/timers.html");
    let page = std::fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    let ticks = Ticks::default();
    let port = serve_page(page, &ticks)?;
    give_away(room.dir())?;
    let data = format!("--user-data-dir={}/data", room.dir().display());
    let url = format!(
        "http://127.0.0.1:{port}/{}",
        if busy { "?busy" } else { "" }
    );
    let words = [
        "chromium",
        "--headless=new",
        "--disable-gpu",
        "--no-first-run",
        "--no-proxy-server",
        "--no-pings",
        // It talks to nobody but our page.
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-quic",
        "--disable-extensions",
        "--disable-default-apps",
        "--disable-domain-reliability",
        "--disable-breakpad",
        "--metrics-recording-only",
        "--disable-features=OptimizationHints,MediaRouter,Translate",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--disable-dev-shm-usage",
        "--disable-background-timer-throttling",
        "--remote-debugging-port=0",
        &data,
        &url,
    ];
    let pid = room.start(&words, User::NotRoot, Output::Log)?;
    Ok(Instance::new(pid, ticks, room))
}
