use proptest::prelude::*;

use super::super::test_data::STATUS;
use super::*;

#[test]
fn a_captured_file() {
    let status = Status::parse(STATUS).unwrap();
    assert_eq!(status.name.as_deref(), Some(&b"cat"[..]));
    assert_eq!(status.state, Some(b'R'));
    assert_eq!((status.tgid, status.pid), (Some(3859), Some(3859)));
    assert_eq!((status.ppid, status.tracer_pid), (Some(3850), Some(0)));
    assert_eq!(
        status.uid,
        Some(Ids {
            real: 1000,
            effective: 0,
            saved: 1,
            fs: 4_294_967_295
        })
    );
    assert_eq!(status.gid, Some(Ids::default()));
    assert_eq!(
        status.ns_pid.unwrap().iter().collect::<Vec<_>>(),
        [3859, 12, 1]
    );
    assert_eq!(status.ns_pid.unwrap().innermost(), Some(1));
    assert_eq!((status.kthread, status.threads), (Some(0), Some(1)));
    assert_eq!(
        (status.vm_size, status.vm_lck, status.vm_swap),
        (Some(3060), Some(0), Some(0))
    );
    assert_eq!((status.vm_rss, status.rss_anon), (Some(1700), Some(116)));
    assert_eq!((status.rss_file, status.rss_shmem), (Some(1584), Some(0)));
    assert_eq!(status.thp_enabled, Some(1));
    assert_eq!(status.sig_blk, Some(0x8000_0000_0000_0001));
    assert_eq!(
        (status.cap_inh, status.cap_eff),
        (Some(0), Some(0x1ff_feff_ffff))
    );
    assert_eq!(
        (status.no_new_privs, status.seccomp, status.seccomp_filters),
        (Some(0), Some(2), Some(3))
    );
    assert_eq!(status.x86_thread_features, Some(&b"shstk wrss"[..]));
    assert_eq!(status.x86_thread_features_locked, Some(&b""[..]));
}

#[test]
fn absent_is_none() {
    let status = Status::parse(b"Name:\tkworker/0:1-events\nPid:\t12\nKthread:\t1\n").unwrap();
    assert_eq!(status.name.as_deref(), Some(&b"kworker/0:1-events"[..]));
    assert_eq!(
        (status.vm_size, status.thp_enabled, status.uid),
        (None, None, None)
    );
    assert_eq!(Status::parse(b""), Ok(Status::default()));
}

#[test]
fn a_name_cannot_forge_a_line() {
    // The kernel writes a newline in a name as \n; the tab and the colon stand as they are.
    let status = Status::parse(b"Name:\t a\\nTgid:\t7\\\\ \nTgid:\t9\n").unwrap();
    assert_eq!(status.name.as_deref(), Some(&b" a\nTgid:\t7\\ "[..]));
    assert_eq!(status.tgid, Some(9));
}

#[test]
fn unknown_lines_do_not_matter_and_wrong_ones_do() {
    assert!(Status::parse(b"Seccomp_new:\tx\nPids:\ty\nno colon\n\nVmRSSx:\tz\n").is_ok());
    for (text, kind) in [
        (&b"\nPid:\tx\n"[..], Malformed::NotANumber("Pid")),
        (b"\nPid:\n", Malformed::Missing("Pid")),
        (b"\nPid:\t4294967296\n", Malformed::TooLarge("Pid")),
        (b"\nVmRSS:\t12 MB\n", Malformed::Unit("VmRSS")),
        (b"\nSigCgt:\t0x12\n", Malformed::NotANumber("SigCgt")),
        (b"\nUid:\t1 2 3\n", Malformed::Missing("Uid")),
        (b"\nUid:\t1 2 3 4 5\n", Malformed::Unexpected("Uid")),
        (b"\nNSpid:\t1 x\n", Malformed::NotANumber("NSpid")),
        (b"\nState:\n", Malformed::Missing("State")),
        (b"\nState:\t(sleeping)\n", Malformed::Unexpected("State")),
    ] {
        assert_eq!(Status::parse(text), Err(ParseError { line: 2, kind }));
    }
}

proptest! {
    #[test]
    fn names_round_trip(name in proptest::collection::vec(any::<u8>(), 0..64)) {
        let mut text = b"Name:\t".to_vec();
        for &byte in &name {
            match byte {
                b'\n' => text.extend_from_slice(b"\\n"),
                b'\\' => text.extend_from_slice(b"\\\\"),
                byte => text.push(byte),
            }
        }
        text.extend_from_slice(b"\nPid:\t1\n");
        let status = Status::parse(&text).unwrap();
        prop_assert_eq!(status.name.as_deref(), Some(&name[..]));
        prop_assert_eq!(status.pid, Some(1));
    }

    #[test]
    fn numbers_round_trip(pid in any::<u32>(), kb in any::<u64>(), mask in any::<u64>(), ids in any::<[u32; 4]>()) {
        let [real, effective, saved, fs] = ids;
        let text = format!(
            "Pid:\t{pid}\nVmRSS:\t{kb:8} kB\nSigBlk:\t{mask:016x}\nUid:\t{real}\t{effective}\t{saved}\t{fs}\n"
        );
        let status = Status::parse(text.as_bytes()).unwrap();
        prop_assert_eq!((status.pid, status.vm_rss, status.sig_blk), (Some(pid), Some(kb), Some(mask)));
        prop_assert_eq!(status.uid, Some(Ids { real, effective, saved, fs }));
    }

    #[test]
    fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = Status::parse(&text);
    }

    #[test]
    fn never_panics_on_damaged_text(at in 0..STATUS.len(), byte in any::<u8>(), cut in 0..STATUS.len()) {
        let mut text = STATUS.to_vec();
        text[at] = byte;
        let _ = Status::parse(&text[cut..]);
        let _ = Status::parse(&text[..cut]);
    }
}

#[test]
fn the_policy_record_is_a_mask() {
    assert_eq!(
        Status::parse(b"Name:\tx\nMctl:\t0101\n").unwrap().mctl,
        Some(0x101)
    );
    assert_eq!(
        Status::parse(b"Name:\tx\n").unwrap().mctl,
        None,
        "a stock kernel"
    );
    assert!(Status::parse(b"Mctl:\tyes\n").is_err());
}
