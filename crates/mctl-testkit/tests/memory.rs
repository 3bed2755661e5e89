//! The memory fixtures: what they say about their memory is so.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use mctl_testkit::{Fixture, spawn_tree, start};

fn ask_map(fixture: &mut Fixture, command: &str) -> String {
    let answer = fixture.ask(command).expect("an answer");
    let place = answer
        .strip_prefix("map ")
        .unwrap_or_else(|| panic!("{command}: {answer}"));
    place.to_owned()
}

#[test]
fn memory_on_command() {
    let mut f = start!("touch");
    for kind in [
        "map 4194304",
        "shared 4194304",
        "memfd 4194304",
        "file 8192",
    ] {
        let place = ask_map(&mut f, kind);
        assert_eq!(f.ask(&format!("touch {place}")).expect("an answer"), "ok");
        assert_eq!(f.ask(&format!("check {place}")).expect("an answer"), "ok");
        let address = place.split(' ').next().expect("an address").to_owned();
        let flags = f
            .ask(&format!("smaps {address} VmFlags"))
            .expect("an answer");
        assert!(flags.starts_with("VmFlags rd wr"), "{flags}");
        assert_eq!(f.ask(&format!("unmap {place}")).expect("an answer"), "ok");
    }
    f.finish().expect("a verdict").assert_clean(1);
}

#[test]
fn huge_pages_are_reported_where_the_host_gives_them() {
    let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    let enabled = enabled.unwrap_or_default();
    if enabled.is_empty() || enabled.contains("[never]") {
        mctl_testkit::skip!("transparent huge pages are off");
    }
    let mut f = start!("touch");
    let place = ask_map(&mut f, "map 8388608");
    let address = place.split(' ').next().expect("an address").to_owned();
    assert_eq!(
        f.ask(&format!("advise {place} 14")).expect("an answer"),
        "ok"
    );
    assert_eq!(f.ask(&format!("touch {place}")).expect("an answer"), "ok");
    let huge = f.ask(&format!("huge {address}")).expect("an answer");
    let told = f.ask(&format!("smaps {address} AnonHugePages"));
    let told = told.expect("an answer");
    // A busy machine has no free block for some of them.
    let mut words = told.split_whitespace();
    let kib: u64 = words.nth(1).expect("a number").parse().expect("a number");
    assert_eq!(huge, format!("huge {kib}"), "{told}");
    if kib == 0 {
        mctl_testkit::skip!("the machine has no huge page to give");
    }
    assert_eq!(kib % 2048, 0, "{told}");
}

#[test]
fn policy_is_reported_across_fork_and_exec() {
    let mut f = start!("touch");
    assert_eq!(f.ask("thp").expect("an answer"), "thp 0");
    assert_eq!(f.ask("setthp 1 0").expect("an answer"), "ok");
    let child = f.ask("fork").expect("an answer");
    assert_ne!(child, format!("fork {}", f.pid()));
    assert_eq!(f.ask("thp").expect("an answer"), "thp 1");
    f.send("exec").expect("sent");
    f.wait_ready().expect("ready anew");
    assert_eq!(f.ask("thp").expect("an answer"), "thp 1");
    assert_eq!(f.ask("exit 7").expect("an answer"), "reaped 7");
    assert_eq!(f.ask("pid").expect("an answer"), format!("pid {}", f.pid()));
    assert!(f.ask("nonsense").expect("an answer").starts_with("error"));
    f.finish().expect("a verdict").assert_clean(1);
}

#[test]
fn children_and_threads_on_command() {
    let mut f = start!("touch");
    let child = f.ask("spawn").expect("an answer");
    let pid: i32 = child
        .strip_prefix("child ")
        .expect("a child")
        .parse()
        .expect("a PID");
    assert_eq!(mctl_testkit::tasks(pid).len(), 1);
    assert!(f.ask("thread").expect("an answer").starts_with("thread "));
    assert_eq!(f.tasks().len(), 2);
    drop(f);
    // The child dies with its parent; init may take a moment to reap it.
    let gone = || {
        mctl_testkit::tasks(pid)
            .iter()
            .all(|task| task.state == 'Z')
    };
    let begun = std::time::Instant::now();
    while !gone() {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "{pid} has outlived its fixture"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_tree_has_all_its_nodes() {
    let tree = spawn_tree(2, 3).expect("a tree");
    let nodes = tree.info_all("node");
    assert_eq!(nodes.len(), 13);
    assert_eq!(nodes[0], tree.pid().to_string());
    for node in nodes {
        assert_eq!(mctl_testkit::tasks(node.parse().expect("a PID")).len(), 1);
    }
}

#[test]
fn memory_that_is_used_all_the_time() {
    let mut f = start!("gaps", "mib=8");
    assert!(
        f.info("base")
            .is_some_and(|base| base.ends_with(" 8388608"))
    );
    assert!(f.ask("gap").expect("an answer").starts_with("gap "));
    assert_eq!(f.ask("again").expect("an answer"), "ok");
    f.wait_rounds(1).expect("goes round");
    f.finish().expect("a verdict").assert_clean(1);
}

#[test]
fn memory_mapped_wildly() {
    let mut f = start!("map_wild", "threads=2");
    f.wait_rounds(10).expect("maps");
    assert!(f.ask("gap").expect("an answer").starts_with("gap "));
    f.finish().expect("a verdict").assert_clean(10);
}

#[test]
fn the_hand_written_loop_does_the_same_work_in_few_calls() {
    mctl_testkit::require_root!();
    let f = start!("vmas", "n=2000", "touch=1");
    let base = f.info("base").expect("an address");
    let mut words = base.split(' ');
    let from = words.next().expect("an address").trim_start_matches("0x");
    let from = u64::from_str_radix(from, 16).expect("an address");
    let to = from + 2000 * 4096;
    let (pid, from, to) = (f.pid().to_string(), from.to_string(), to.to_string());
    // 20: MADV_COLD.
    let output = mctl_testkit::run_tool("advise_loop", &[&pid, "20", &from, &to]);
    let output = output.expect("a run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("bytes 8192000 calls 2 "), "{text}");
    f.finish().expect("a verdict").assert_clean(0);
}
