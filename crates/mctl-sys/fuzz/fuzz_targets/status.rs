//! Any bytes: the parser returns.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mctl_sys::procfs::status::Status;

fuzz_target!(|text: &[u8]| {
    if let Ok(status) = Status::parse(text)
        && let Some(ids) = status.ns_pid
    {
        assert_eq!(ids.iter().last(), ids.innermost());
    }
});
