//! Every kind of call that blocks, or takes long, goes through every command: what a command refuses is untouched, what
//! it does is not noticed, and reading is neither.
//!
//! `MCTL_COMMANDS` sets how often each command is run on each program; else it is once.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::time::Duration;

use common::mctl;
use mctl_testkit::{Fixture, KitError, note_skip};

/// Against hanging only.
const PATIENCE: Duration = Duration::from_secs(120);

const READS: [&str; 7] = [
    "get",
    "get --json",
    "get --maps",
    "get --tree",
    "set nohugepage --dry-run",
    "lock --dry-run",
    "collapse --dry-run",
];

/// Which want a thread of the program for a moment.
const CHANGES: [&str; 4] = ["set nohugepage", "lock", "unlock", "clear nohugepage"];

/// What becomes of a change.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// The program sleeps for ever where a stop would be seen.
    Refused,
    /// It sleeps for ever where it would not.
    Done,
    /// It depends on when.
    Either,
}

fn rounds() -> u64 {
    let text = std::env::var("MCTL_COMMANDS").unwrap_or_default();
    text.parse().unwrap_or(1)
}

fn through_every_command(program: &str, args: &[&str], then: Then) {
    let fixture = match Fixture::start(program, args) {
        Ok(fixture) => fixture,
        Err(error @ KitError::Unavailable { .. }) => return note_skip(&format!("{error}")),
        Err(error) => panic!("{error}"),
    };
    if then != Then::Either {
        fixture.wait_blocked(PATIENCE).unwrap();
    }
    let pid = fixture.target().to_string();
    let wait = match then {
        Then::Done => "60s",
        Then::Refused => "5ms",
        Then::Either => "300ms",
    };
    let (mut done, mut refused) = (0, 0);
    for _ in 0..rounds() {
        for words in READS {
            let words: Vec<&str> = words.split(' ').chain([pid.as_str()]).collect();
            let ran = mctl(&words);
            assert!(
                matches!(ran.code, Some(0 | 1)) && !ran.err.contains("panicked"),
                "{program} {args:?}: {ran:#?}"
            );
        }
        // By ourselves, as root: no thread is needed.
        mctl(&["collapse", "--wait", wait, &pid]);
        for words in CHANGES {
            let words: Vec<&str> = words
                .split(' ')
                .chain(["--wait", wait, pid.as_str()])
                .collect();
            let ran = mctl(&words);
            assert!(!ran.err.contains("panicked"), "{ran:#?}");
            let busy = ran.code == Some(1) && ran.err.contains("EBUSY");
            match then {
                Then::Refused => assert!(busy, "{program} {args:?}: {ran:#?}"),
                Then::Done => assert_eq!(ran.code, Some(0), "{program} {args:?}: {ran:#?}"),
                Then::Either => assert!(
                    matches!(ran.code, Some(0 | 1)),
                    "{program} {args:?}: {ran:#?}"
                ),
            }
            match ran.code {
                Some(0) => done += 1,
                _ => refused += 1,
            }
        }
    }
    fixture.finish().unwrap().assert_clean(1);
    eprintln!(
        "result: {program} {}: {done} changes, {refused} refused, {} reads: nothing noticed",
        args.join(" "),
        rounds() * READS.len() as u64
    );
}

macro_rules! commands {
    ($then:ident: $($test:ident: $name:literal $(, $arg:literal)*;)+) => {$(
        #[test]
        fn $test() {
            through_every_command($name, &[$($arg),*], Then::$then);
        }
    )+};
}

commands! { Refused:
    write_to_a_full_socket: "blocked", "kind=write-stream", "timeout=600000";
    writev_to_a_full_socket: "blocked", "kind=writev-stream", "timeout=600000";
    send_over_tcp: "blocked", "kind=send-tcp", "timeout=600000";
    sendmsg: "blocked", "kind=sendmsg-stream", "timeout=600000";
    read_of_a_socket: "blocked", "kind=read-stream", "timeout=600000";
    half_of_a_whole: "blocked", "kind=recv-waitall";
    one_of_two_messages: "blocked", "kind=recvmmsg";
    accept: "blocked", "kind=accept4", "timeout=600000";
    connect: "blocked", "kind=connect", "timeout=600000";
    splice_from_a_socket: "blocked", "kind=splice-stream";
    half_a_write: "blocked", "kind=write-pipe-large";
    vmsplice: "blocked", "kind=vmsplice";
    one_of_two_completions: "blocked", "kind=ring-of-two";
    terminal: "read_pty", "every=0";
    file_server_pread: "fuse_calls", "kind=pread", "every=0";
    file_server_write: "fuse_calls", "kind=write", "every=0";
    file_server_open: "fuse_calls", "kind=open", "every=0";
    file_server_stat: "fuse_calls", "kind=stat", "every=0";
    file_server_unlink: "fuse_calls", "kind=unlink", "every=0";
    file_server_mkdir: "fuse_calls", "kind=mkdir", "every=0";
    file_server_fsync: "fuse_calls", "kind=fsync", "every=0";
}

commands! { Done:
    poll: "poll", "every=0";
    epoll: "epoll_wait", "every=0";
    semop: "semop", "every=0";
    threads: "threads", "every=0";
    io_uring: "io_uring_enter", "every=0", "ext=0";
    splice_between_pipes: "blocked", "kind=splice-pipe";
    tee: "blocked", "kind=tee";
    read_from_a_fifo: "blocked", "kind=read-fifo";
    open_of_a_fifo: "blocked", "kind=open-fifo";
    write_to_a_pipe: "write_pipe", "every=0";
    write_to_an_eventfd: "blocked", "kind=write-eventfd";
    flock: "blocked", "kind=flock";
    lock_of_an_open_file: "blocked", "kind=ofd";
    futex_with_priority_inheritance: "blocked", "kind=futex-pi";
    futex_waitv: "blocked", "kind=futex-waitv";
    poll_of_a_pidfd: "blocked", "kind=pidfd-poll";
    wait_for_a_tracee: "blocked", "kind=ptrace-wait";
    sigwaitinfo: "blocked", "kind=sigwaitinfo";
    file_server: "fuse_calls", "kind=dev";
}

commands! { Either:
    close_that_lingers: "blocked", "kind=close-linger";
    getrandom: "blocked", "kind=getrandom", "size=200000";
    read_of_zero: "blocked", "kind=dev-zero", "size=4000000";
    read_of_random: "blocked", "kind=dev-urandom", "size=200000";
    sendfile: "blocked", "kind=sendfile", "size=1000000";
    bpf: "blocked", "kind=bpf-run", "size=200000";
    supervised: "notify", "every=50";
    served_memory: "served", "every=50";
    int80: "int80";
    i386: "i386";
    poll_now_and_then: "poll", "every=3";
    epoll_now_and_then: "epoll_wait", "every=3";
    io_uring_now_and_then: "io_uring_enter", "every=3";
    accept_now_and_then: "accept", "every=3";
    recv_now_and_then: "recv", "every=3";
    pread_now_and_then: "fuse_calls", "kind=pread", "every=20";
    stat_now_and_then: "fuse_calls", "kind=stat", "every=20";
}
