//! What /proc shows of a policy, host by host.

use mctl_testkit::{has_native_call, skip, start};

use super::common::mctl;
use super::{Knob, THP, mapped, only_in_a_guest};

const SHMEM: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

fn of_size(kb: u32) -> String {
    format!("/sys/kernel/mm/transparent_hugepage/hugepages-{kb}kB/enabled")
}

fn shown(pid: &str) -> String {
    let ran = mctl(&["get", "-n", "-o", "POLICY", pid]).assert(0);
    ran.out.trim_end().to_owned()
}

/// With a mapping that has room: what the state is said to be, off and except advised.
fn told() -> [String; 2] {
    let mut fixture = start_or_panic("touch");
    mapped(&mut fixture, "map 8388608");
    both(&mut fixture)
}

fn start_or_panic(name: &str) -> mctl_testkit::Fixture {
    mctl_testkit::Fixture::start(name, &[]).unwrap()
}

/// Whether the kernel gives huge pages to one of its mappings.
fn some_mapping_is_eligible(fixture: &mctl_testkit::Fixture) -> bool {
    let smaps = std::fs::read_to_string(format!("/proc/{}/smaps", fixture.pid())).unwrap();
    smaps.lines().any(|line| {
        line.strip_prefix("THPeligible:")
            .is_some_and(|value| value.trim() == "1")
    })
}

fn both(fixture: &mut mctl_testkit::Fixture) -> [String; 2] {
    let pid = fixture.pid().to_string();
    ["setthp 0 0", "setthp 1 2"].map(|state| {
        assert_eq!(fixture.ask(state).unwrap(), "ok");
        shown(&pid)
    })
}

#[test]
#[ignore = "changes the whole machine: only in a guest"]
fn what_shows_of_a_policy_depends_on_the_host() {
    only_in_a_guest();
    let mut probe = start!("touch");
    if has_native_call() || probe.ask("setthp 1 2").unwrap() != "ok" {
        skip!("needs PR_THP_DISABLE_EXCEPT_ADVISED without a policy record");
    }
    let facts = ["inherit", "hugepage-advised"].map(str::to_owned);
    let alike = ["inherit-or-advised", "inherit-or-advised"].map(str::to_owned);
    let pause = start!("pause");
    let pause = pause.pid().to_string();
    {
        let _shmem = Knob::set(SHMEM, "never");
        for (knob, wanted) in [("always", &facts), ("madvise", &alike), ("never", &alike)] {
            let _knob = Knob::set(THP, knob);
            assert_eq!(told(), *wanted, "{knob}");
        }
        let _knob = Knob::set(THP, "always");
        assert_eq!(shown(&pause), "unknown", "no mapping has room");
        // The knob of a size goes before the one for all.
        let _of_the_size = Knob::set(&of_size(2048), "madvise");
        // The program's own text may be such a mapping: that takes 2 MiB of it and a file system with
        // large folios, so it depends on the build and on the address drawn.
        let mut fixture = start_or_panic("touch");
        mapped(&mut fixture, "map 8388608");
        let [off, except] = both(&mut fixture);
        assert_eq!(fixture.ask("setthp 0 0").unwrap(), "ok");
        let of_a_file = some_mapping_is_eligible(&fixture);
        let wanted = if of_a_file { "inherit" } else { "unknown" };
        assert_eq!(off, wanted, "only mappings of files show it");
        assert_eq!(except, "unknown", "what is missing there is no evidence");
        let _all = Knob::set(THP, "madvise");
        let _of_a_small_size = Knob::set(&of_size(64), "always");
        assert_eq!(told(), facts, "64 KiB pages for everybody");
    }
    // What shared memory has, private memory has not: it shows there, and only there.
    let _knob = Knob::set(THP, "madvise");
    let _shmem = Knob::set(SHMEM, "always");
    let mut fixture = start!("touch");
    let said = both(&mut fixture);
    assert!(said.iter().all(|word| word == "unknown"), "{said:?}");
    mapped(&mut fixture, "shared 8388608");
    let said = both(&mut fixture);
    assert_eq!(said, ["inherit", "unknown"].map(str::to_owned));
}
