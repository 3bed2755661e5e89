//! Makes the kernel's include/uapi/linux/mctl.h from the action table.

use std::fmt::Write;

use mctl_abi::{ACTIONS, Flags, PolicyKind};

/// Where the header is in the kernel's tree.
#[allow(dead_code, reason = "only the test looks it up")]
pub(crate) const PATH: &str = "include/uapi/linux/mctl.h";

const HEAD: &str = "\
/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * mctl(): memory policy for a whole address space.
 *
 * Made from the action table of mm/mctl/abi/action.rs; do not edit.
 */
#ifndef _UAPI_LINUX_MCTL_H
#define _UAPI_LINUX_MCTL_H
";

const TAIL: &str = "\n#endif /* _UAPI_LINUX_MCTL_H */\n";

/// One `#define`, its value in the column where the kernel's headers have it.
fn define(text: &mut String, name: &str, value: &str) {
    let used = "#define ".len() + name.len();
    // Tabs of eight, to column 40.
    let tabs = (40usize.saturating_sub(used)).div_ceil(8).max(1);
    let _ = writeln!(text, "#define {name}{}{value}", "\t".repeat(tabs));
}

/// The header's text.
pub(crate) fn generate() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("\n/* Actions. 0 is none, so that a zeroed argument fails. */\n");
    for info in ACTIONS {
        define(&mut text, info.c_name, &info.number.to_string());
    }
    text.push_str("\n/* Flags. */\n");
    let flag = Flags::DEFAULT_EXEC.bits().trailing_zeros();
    define(
        &mut text,
        "MCTL_SET_DEFAULT_EXEC",
        &format!("(1U << {flag})"),
    );
    text.push_str("\n/* What MCTL_GET_POLICY returns: the policies in force, ... */\n");
    for kind in PolicyKind::ALL {
        let word = kind.word().to_uppercase().replace('-', "_");
        let bit = kind.bit().trailing_zeros();
        define(
            &mut text,
            &format!("MCTL_POLICY_{word}"),
            &format!("(1U << {bit})"),
        );
    }
    text.push_str("/* ... and those that are also the default across exec. */\n");
    let shift = PolicyKind::Hugepage.exec_bit().trailing_zeros();
    define(&mut text, "MCTL_POLICY_EXEC_SHIFT", &shift.to_string());
    text.push_str(TAIL);
    text
}
