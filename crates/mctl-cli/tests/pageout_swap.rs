//! `mctl pageout` with somewhere to go: a swap file of our own, added for the test and removed
//! after it. A file of its own, because other tests count on there being none.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::mctl;
use common::memory::{kib, populated};
use mctl_testkit::{require_root, start};

const SWAP: u64 = 192 << 20;

struct Swap {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Swap {
    /// `Err`: why there can be none here.
    fn add() -> Result<Swap, String> {
        let dir = tempfile::tempdir_in("/var/tmp").map_err(|error| error.to_string())?;
        let path = dir.path().join("swap");
        let text = path.to_str().unwrap();
        run("fallocate", &["-l", &SWAP.to_string(), text])?;
        run("chmod", &["600", text])?;
        run("mkswap", &[text])?;
        run("swapon", &[text])?;
        Ok(Swap { path, _dir: dir })
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        let done = run("swapoff", &[self.path.to_str().unwrap()]);
        assert!(done.is_ok() || std::thread::panicking(), "{done:?}");
    }
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let path = "/usr/sbin:/sbin:/usr/bin:/bin";
    let output = Command::new(program).args(args).env("PATH", path).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

fn in_use(path: &Path) -> bool {
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    swaps.contains(path.to_str().unwrap())
}

#[test]
fn memory_goes_to_swap_and_comes_back() {
    require_root!();
    let swap = match Swap::add() {
        Ok(swap) => swap,
        Err(why) => mctl_testkit::skip!("no swap file can be added: {why}"),
    };
    assert!(in_use(&swap.path));
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, len) = populated(&mut fixture, "map 134217728");
    // Pages that were just written may still be on their way to the lists that reclaim sees.
    let mut ran = mctl(&["pageout", "--json", &pid]).assert(0);
    for _ in 0..50 {
        if kib(&mut fixture, &start, "Rss") < 4096 {
            break;
        }
        ran = mctl(&["pageout", "--json", &pid]).assert(0);
    }
    let swapped = kib(&mut fixture, &start, "Swap");
    assert!(swapped > 120 << 10, "{swapped} KiB went to swap: {ran:?}");
    let after = &ran.json()["processes"][0]["change"]["after"]["memory"];
    assert!(after["swap"].as_u64().unwrap() > 120 << 20, "{after}");
    assert_eq!(fixture.ask(&format!("check {start} {len}")).unwrap(), "ok");
    assert!(kib(&mut fixture, &start, "Rss") > 120 << 10);
    // The friendly form says where it went.
    let ran = mctl(&["pageout", &pid]).assert(0);
    assert!(ran.out.contains("swap "), "{ran:?}");
    fixture.finish().unwrap().assert_clean(1);
    let path = swap.path.clone();
    drop(swap);
    assert!(!in_use(&path), "it is gone again");
}
