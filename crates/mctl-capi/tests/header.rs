//! mctl.h is what its generator makes, and says what the library means.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../header/mod.rs"]
mod header;

use std::collections::BTreeMap;

use mctl::advise::{P_PID, P_PIDFD, PmadvFlags};

fn text() -> String {
    std::fs::read_to_string(header::PATH).unwrap()
}

#[test]
fn is_up_to_date() {
    let made = header::generate().unwrap();
    let kept = text();
    if let Some((at, (made, kept))) = made
        .lines()
        .zip(kept.lines())
        .enumerate()
        .find(|(_, (made, kept))| made != kept)
    {
        panic!(
            "include/mctl.h line {}: \"{kept}\" should be \"{made}\"; \
             run cargo run -p mctl-capi --example gen_header",
            at + 1
        );
    }
    assert_eq!(
        made, kept,
        "run cargo run -p mctl-capi --example gen_header"
    );
}

fn defines(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("#define ")?.split_once(' '))
        .collect()
}

#[test]
fn every_action_has_its_number() {
    let text = text();
    let defines = defines(&text);
    for info in mctl_abi::ACTIONS {
        let number = info.number.to_string();
        assert_eq!(defines.get(info.c_name), Some(&number.as_str()));
    }
    let actions = defines
        .keys()
        .filter(|name| name.starts_with("MCTL_SET_") || name.starts_with("MCTL_CLEAR_"))
        .count();
    // MCTL_SET_DEFAULT_EXEC is a flag, MCTL_GET_POLICY an action.
    assert_eq!(actions, mctl_abi::ACTIONS.len());
}

#[test]
fn flags_have_the_values_of_the_library() {
    let text = text();
    let defines = defines(&text);
    let value = |name: &str| -> u32 {
        let text = defines.get(name).unwrap_or_else(|| panic!("{name}"));
        text.trim_end_matches('u').parse().unwrap()
    };
    assert_eq!(
        value("MCTL_SET_DEFAULT_EXEC"),
        mctl_abi::Flags::DEFAULT_EXEC.bits()
    );
    for (name, flag) in [
        ("PMADV_SKIP_ERRORS", PmadvFlags::SKIP_ERRORS),
        (
            "PMADV_NO_ERROR_ON_UNMAPPED",
            PmadvFlags::NO_ERROR_ON_UNMAPPED,
        ),
        (
            "PMADV_SET_FORK_EXEC_DEFAULT",
            PmadvFlags::SET_FORK_EXEC_DEFAULT,
        ),
        (
            "PMADV_ENTIRE_ADDRESS_SPACE",
            PmadvFlags::ENTIRE_ADDRESS_SPACE,
        ),
    ] {
        assert_eq!(value(name), flag.bits(), "{name}");
    }
    let trio = [
        "PMADV_SET_DEFAULT",
        "PMADV_INHERIT_FORK",
        "PMADV_INHERIT_EXEC",
    ];
    assert_eq!(trio.map(value).iter().sum::<u32>(), PmadvFlags::FINER_TRIO);
    assert_eq!(defines.get("PIDFD_SELF_THREAD"), Some(&"-10000"));
    assert_eq!(defines.get("PIDFD_SELF_THREAD_GROUP"), Some(&"-10001"));
    // enum idtype_t of sys/wait.h.
    assert_eq!((P_PID, P_PIDFD), (1, 3));
}

#[test]
fn every_name_is_ours_or_guarded() {
    let text = text();
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = line.strip_prefix("#define ") else {
            continue;
        };
        let name = name.split([' ', '(']).next().unwrap();
        let guarded = lines[at - 1] == format!("#ifndef {name}");
        let version = name.starts_with("MCTL_VERSION");
        assert!(guarded || version, "{name}");
    }
}
