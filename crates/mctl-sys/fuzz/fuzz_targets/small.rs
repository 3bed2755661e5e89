//! The small files together; the first byte picks the parser.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mctl_sys::procfs::auxv::Auxv;
use mctl_sys::procfs::ksm_stat::KsmStat;
use mctl_sys::procfs::stat::Stat;
use mctl_sys::procfs::syscall::TaskSyscall;
use mctl_sys::procfs::thp::Knob;
use mctl_sys::procfs::{cgroup, children, mountinfo};

fuzz_target!(|input: &[u8]| {
    let Some((&which, text)) = input.split_first() else {
        return;
    };
    match which % 8 {
        0 => drop(Stat::parse(text)),
        1 => drop(TaskSyscall::parse(text)),
        2 => {
            if let Ok(auxv) = Auxv::parse(text) {
                assert!(auxv.iter().all(|(kind, _)| auxv.get(kind).is_some()));
            }
        }
        3 => {
            mountinfo::tmpfs_mounts(text).for_each(drop);
            assert!(mountinfo::unescape(text).len() <= text.len());
        }
        4 => drop(KsmStat::parse(text)),
        5 => drop(cgroup::v2_path(text)),
        6 => children::pids(text).for_each(drop),
        _ => {
            if let Ok(knob) = Knob::parse(text) {
                assert!(knob.offers(knob.word()));
            }
        }
    }
});
