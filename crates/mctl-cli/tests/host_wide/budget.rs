//! What work may cost, on real limits of cgroup v2 and real swap.

use std::path::{Path, PathBuf};

use mctl_testkit::{Fixture, skip, start};

use super::common::mctl;
use super::{Zram, kib, mapped, only_in_a_guest, populated, status};

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// A cgroup v2 and one below it, in which processes are.
struct Nested {
    outer: PathBuf,
    inner: PathBuf,
}

impl Nested {
    /// `None`: the memory controller is not there.
    fn new(name: &str) -> Option<Nested> {
        only_in_a_guest();
        let outer = Path::new("/sys/fs/cgroup").join(name);
        let inner = outer.join("below");
        std::fs::create_dir_all(&outer).unwrap();
        std::fs::write(outer.join("cgroup.subtree_control"), "+memory").ok()?;
        std::fs::create_dir_all(&inner).unwrap();
        let nested = Nested { outer, inner };
        nested.inner.join("memory.max").exists().then_some(nested)
    }

    fn take(&self, fixture: &Fixture) {
        std::fs::write(self.inner.join("cgroup.procs"), fixture.pid().to_string()).unwrap();
    }
}

fn set(dir: &Path, file: &str, value: u64) {
    std::fs::write(dir.join(file), value.to_string()).unwrap();
}

fn unlimited(dir: &Path, file: &str) {
    std::fs::write(dir.join(file), "max").unwrap();
}

impl Drop for Nested {
    fn drop(&mut self) {
        for dir in [&self.inner, &self.outer] {
            let procs = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            for pid in procs.lines() {
                let _ = std::fs::write("/sys/fs/cgroup/cgroup.procs", pid);
            }
            for _ in 0..600 {
                if std::fs::remove_dir(dir).is_ok() || !dir.exists() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }
}

/// memory.max of the cgroup above, and memory.high of its own, each with and without.
#[test]
#[ignore = "changes the whole machine: only in a guest"]
fn limits_of_cgroup_v2_are_looked_at() {
    let Some(nested) = Nested::new("mctl-limits") else {
        skip!("needs the memory controller");
    };
    let mut fixture = start!("touch");
    nested.take(&fixture);
    let pid = fixture.pid().to_string();
    let (start, len) = mapped(&mut fixture, &format!("map {}", 200 * MIB));
    let range = super::common::memory::range(&start, &len);
    let populate = ["advise", "populate-write", "--range", &range, &pid];
    let limits = [
        (&nested.outer, "memory.max", "/mctl-limits has"),
        (&nested.inner, "memory.high", "/mctl-limits/below has"),
        (&nested.inner, "memory.max", "/mctl-limits/below has"),
    ];
    for (dir, file, whose) in limits {
        set(dir, file, 100 * MIB);
        for words in [&["lock", &pid][..], &["lock", "-n", &pid], &populate] {
            let ran = mctl(words).assert(1);
            for text in ["ENOMEM", whose, "of 100 MiB available", "--max-growth"] {
                assert!(
                    ran.err.contains(text),
                    "{file}: {words:?}: {text}: {ran:#?}"
                );
            }
        }
        assert!(kib(&mut fixture, &start, "Rss") < 1024, "{file}");
        // What fits is done.
        mctl(&[
            "advise",
            "populate-write",
            "--range",
            &range,
            "--max-growth",
            "8M",
            &pid,
        ])
        .assert(0);
        let grown = kib(&mut fixture, &start, "Rss");
        assert!((1024..=9 << 10).contains(&grown), "{file}: {grown} KiB");
        mctl(&[
            "advise",
            "dontneed",
            "--destructive",
            "--range",
            &range,
            &pid,
        ])
        .assert(0);
        unlimited(dir, file);
    }
    // Without a limit it has room.
    mctl(&["lock", "-n", &pid]).assert(0);
    mctl(&populate).assert(0);
    assert_eq!(kib(&mut fixture, &start, "Rss"), 200 << 10);
    let events = std::fs::read_to_string(nested.outer.join("memory.events")).unwrap();
    assert!(events.contains("oom_kill 0"), "{events}");
}

/// The whole host: a reservation of terabytes is refused, and nobody is killed.
#[test]
#[ignore = "changes the whole machine: only in a guest"]
fn a_reservation_is_refused_by_the_host() {
    only_in_a_guest();
    let kills = || -> u64 {
        let text = std::fs::read_to_string("/proc/vmstat").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.map_or(0, |count| count.trim().parse().unwrap())
    };
    let before = kills();
    let mut fixture = start!("touch");
    let pid = fixture.pid().to_string();
    let (start, _) = mapped(&mut fixture, &format!("reserve {}", 2 * TIB));
    let spread = format!("spread {start} {} 64", 2 * TIB);
    assert_eq!(fixture.ask(&spread).unwrap(), "ok");
    for words in [&["lock", &pid][..], &["lock", "-n", &pid]] {
        let ran = mctl(words).assert(1);
        assert!(
            ran.err.contains("2 TiB") && ran.err.contains("the host has"),
            "{ran:#?}"
        );
    }
    assert_eq!(kills(), before);
    fixture.finish().unwrap().assert_clean(1);
}

/// Pageout with no swap, with swap, with swap that is full, and with swap that its cgroup may not have.
#[test]
#[ignore = "changes the whole machine: only in a guest"]
fn pageout_goes_only_where_there_is_room() {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total = meminfo.lines().find(|line| line.starts_with("SwapTotal:"));
    if total.is_some_and(|line| line.split_whitespace().nth(1) != Some("0")) {
        skip!("needs a machine without swap of its own: this test fills the one that there is");
    }
    let Some(nested) = Nested::new("mctl-swap") else {
        skip!("needs the memory controller");
    };
    let mut fixture = start!("touch");
    nested.take(&fixture);
    let pid = fixture.pid();
    let name = pid.to_string();
    populated(&mut fixture, "map 33554432");
    let pageout = ["pageout", "--anon", &name];
    let dry = ["pageout", "--anon", "-n", &name];
    let refused = |why: &str| {
        for words in [&pageout[..], &dry] {
            let ran = mctl(words).assert(1);
            assert!(
                ran.err.contains(why) && ran.err.contains("EOPNOTSUPP"),
                "{words:?}: {ran:#?}"
            );
        }
        assert_eq!(status(pid, "VmSwap:"), 0, "{why}");
    };
    refused("the host has no swap");
    let Some(zram) = Zram::on() else {
        skip!("needs zram");
    };
    if nested.outer.join("memory.swap.max").exists() {
        for (dir, whose) in [
            (&nested.outer, "/mctl-swap "),
            (&nested.inner, "/mctl-swap/below "),
        ] {
            set(dir, "memory.swap.max", 0);
            refused(&format!("its memory cgroup {whose}leaves it 0 B of swap"));
            unlimited(dir, "memory.swap.max");
        }
    } else {
        println!("no memory.swap.max in this kernel");
    }
    // Somebody else fills it: 300 MiB into 256.
    let mut other = start!("touch");
    let filler = other.pid().to_string();
    populated(&mut other, &format!("map {}", 300 * MIB));
    mctl(&["pageout", "--anon", "-q", &filler]);
    refused("the swap of the host is full");
    other.finish().unwrap();
    // There is room again.
    mctl(&dry).assert(0);
    mctl(&pageout).assert(0);
    let swapped = status(pid, "VmSwap:");
    assert!(swapped >= 28 << 10, "{swapped} KiB of 32 MiB");
    // Splitting what is huge puts nothing out.
    let mut zeroes = start!("touch");
    let (start, len) = mapped(&mut zeroes, "map 33554432");
    for line in [
        format!("advise {start} {len} 14"),
        format!("blank {start} {len}"),
    ] {
        assert_eq!(zeroes.ask(&line).unwrap(), "ok");
    }
    let ran = mctl(&["split", &zeroes.pid().to_string()]);
    println!("split beside swap: {} {}", ran.out, ran.err);
    assert_eq!(status(zeroes.pid(), "VmSwap:"), 0, "{ran:#?}");
    assert_eq!(zeroes.ask(&format!("zero {start} {len}")).unwrap(), "ok");
    drop(zram);
}
