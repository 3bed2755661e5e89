//! Makes mctl.h: cbindgen for the functions and the structure, the action table and the table of
//! constants for the rest.

use std::fmt::Write;
use std::path::Path;

use mctl_abi::{ACTIONS, PolicyKind};

#[path = "../src/constants.rs"]
#[allow(dead_code, unreachable_pub, reason = "only the tables are used here")]
mod constants;

use constants::Constant;

/// Where the header is kept.
pub(crate) const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include/mctl.h");

const INTRODUCTION: &str = "\
/* mctl.h: memory policy for whole processes on Linux (libmctl).
 *
 * Made from the action table and src/calls.rs by
 * `cargo run -p mctl-capi --example gen_header`; do not edit.
 *
 * Link with -lmctl, or as `pkg-config --cflags --libs mctl` says.
 *
 * Errors: like a system call. -1 and errno on failure; errno is left alone on success.
 * mctl_last_detail() has the reason in words.
 *
 * Threads: every function may be called from any thread at any time.
 *
 * fork(2): nothing is cached about the process, so a child's calls concern the child. In the
 * child of a program with several threads, what holds for malloc(3) holds for this library.
 *
 * Signal handlers: mctl_version() is async-signal-safe. mctl(), mctl_call(), mctl_get_policy(),
 * mctl_outcome(), mctl_tree(), mctl_cgroup(), mctl_coverage(), mctl_save(), mctl_restore(),
 * mctl_process_madvise() and mctl_last_detail() are NOT: they allocate memory.
 * Do not longjmp(3) out of a handler that interrupted one of them, and do not call them from
 * within an implementation of malloc.
 *
 * Cancellation: no function is a cancellation point.
 *
 * Names: include this header after those of the system; what they define already is left as it
 * is. Where libc declares an `mctl` of its own, define MCTL_NO_SHORT_NAMES before including this
 * header and call mctl_call(): all else begins with mctl_, MCTL_ or PMADV_.
 */
";

const INCLUDES: &str = "
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h> /* P_PID, P_PIDFD */
";

fn define(text: &mut String, name: &str, value: &str, summary: &str) {
    if !summary.is_empty() {
        let _ = writeln!(text, "/* {summary} */");
    }
    let guard = name.split('(').next().unwrap_or(name);
    let _ = writeln!(text, "#ifndef {guard}\n#define {name} {value}\n#endif");
}

fn group(text: &mut String, title: &str, constants: &[Constant]) {
    let _ = writeln!(text, "\n/* {title} */");
    for constant in constants {
        let value = format!("{}u", constant.text);
        define(text, constant.name, &value, constant.summary);
    }
}

fn definitions() -> String {
    let mut text = String::new();
    let part = |name: &str| -> i32 { name.parse().unwrap_or_default() };
    let (major, minor, patch) = (
        part(env!("CARGO_PKG_VERSION_MAJOR")),
        part(env!("CARGO_PKG_VERSION_MINOR")),
        part(env!("CARGO_PKG_VERSION_PATCH")),
    );
    let _ = writeln!(
        text,
        "\n/* The version of this header; that of the library is mctl_version(). */\n\
         #define MCTL_VERSION_MAJOR {major}\n\
         #define MCTL_VERSION_MINOR {minor}\n\
         #define MCTL_VERSION_PATCH {patch}\n\
         #define MCTL_VERSION \
         (MCTL_VERSION_MAJOR << 16 | MCTL_VERSION_MINOR << 8 | MCTL_VERSION_PATCH)"
    );

    let _ = writeln!(text, "\n/* Actions of mctl(). 0 is none. */");
    for info in ACTIONS {
        define(
            &mut text,
            info.c_name,
            &info.number.to_string(),
            info.summary,
        );
    }
    group(&mut text, "Flags of mctl().", constants::FLAGS);

    let _ = writeln!(
        text,
        "\n/* Bits of what MCTL_GET_POLICY and mctl_get_policy() return. */"
    );
    for kind in PolicyKind::ALL {
        let word = kind.word().to_uppercase().replace('-', "_");
        define(
            &mut text,
            &format!("MCTL_POLICY_{word}"),
            &kind.bit().to_string(),
            "",
        );
    }
    define(
        &mut text,
        "MCTL_POLICY_ACROSS_EXEC(policy)",
        "((policy) << 8)",
        "the same policy is also the default across exec",
    );

    group(&mut text, "Options of mctl_outcome().", constants::OPTIONS);
    group(
        &mut text,
        "Options of mctl_tree() and mctl_cgroup(), besides those of mctl_outcome().",
        constants::GROUP_OPTIONS,
    );
    group(
        &mut text,
        "Options of mctl_coverage().",
        constants::COVERAGE_OPTIONS,
    );
    group(
        &mut text,
        "Bits of flags in struct mctl_group.",
        constants::GROUP_FACTS,
    );
    group(
        &mut text,
        "Guarantees: now, future, on_fork and on_exec in struct mctl_outcome.",
        constants::GUARANTEES,
    );
    group(
        &mut text,
        "Bits of mechanisms in struct mctl_outcome.",
        constants::MECHANISMS,
    );
    group(
        &mut text,
        "Bits of flags in struct mctl_outcome.",
        constants::FACTS,
    );
    group(
        &mut text,
        "Bits of notes in struct mctl_outcome.",
        constants::NOTES,
    );

    group(
        &mut text,
        "Flags of mctl_process_madvise().",
        constants::PMADV,
    );
    let _ = writeln!(
        text,
        "\n/* The calling process without a descriptor, spelt as in <linux/pidfd.h> (Linux 6.14).\n\
         \x20* This library knows them on every kernel. */"
    );
    let number = |value: i32| value.to_string();
    for (name, value) in [
        ("PIDFD_SELF_THREAD", number(mctl_abi::PIDFD_SELF_THREAD)),
        (
            "PIDFD_SELF_THREAD_GROUP",
            number(mctl_abi::PIDFD_SELF_THREAD_GROUP),
        ),
        ("PIDFD_SELF", "PIDFD_SELF_THREAD".to_owned()),
        ("PIDFD_SELF_PROCESS", "PIDFD_SELF_THREAD_GROUP".to_owned()),
    ] {
        define(&mut text, name, &value, "");
    }
    text
}

/// The text of mctl.h.
pub(crate) fn generate() -> Result<String, String> {
    let source = |file: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    let config = cbindgen::Config {
        language: cbindgen::Language::C,
        header: Some(INTRODUCTION.trim_end().to_owned()),
        include_guard: Some("MCTL_H".to_owned()),
        no_includes: true,
        after_includes: Some(format!("{INCLUDES}{}", definitions())),
        cpp_compat: true,
        style: cbindgen::Style::Tag,
        line_length: 100,
        tab_width: 4,
        documentation_style: cbindgen::DocumentationStyle::Doxy,
        usize_is_size_t: true,
        function: cbindgen::FunctionConfig {
            sort_by: Some(cbindgen::SortKey::None),
            ..cbindgen::FunctionConfig::default()
        },
        export: cbindgen::ExportConfig {
            rename: [
                ("RawOutcome".to_owned(), "mctl_outcome".to_owned()),
                ("RawCoverage".to_owned(), "mctl_coverage".to_owned()),
                ("RawGroup".to_owned(), "mctl_group".to_owned()),
                ("RawSaved".to_owned(), "mctl_saved".to_owned()),
                ("iovec".to_owned(), "struct iovec".to_owned()),
            ]
            .into(),
            ..cbindgen::ExportConfig::default()
        },
        ..cbindgen::Config::default()
    };
    let mut bytes = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_src(source("calls.rs"))
        .with_src(source("outcome.rs"))
        .with_src(source("coverage.rs"))
        .with_src(source("group.rs"))
        .with_src(source("saved.rs"))
        .generate()
        .map_err(|error| format!("cbindgen: {error}"))?
        .write(&mut bytes);
    let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    short_name(&plain_comments(&text))
}

/// cbindgen's comments as C has had them from the beginning: no `//`, one line where one suffices.
fn plain_comments(text: &str) -> String {
    let text = text
        .replace("// __cplusplus", "/* __cplusplus */")
        .replace("// extern \"C\"", "/* extern \"C\" */")
        .replace("\n *\n * # Safety\n * ", "\n *\n * Careful: ");
    let lines: Vec<&str> = text.lines().collect();
    let mut plain = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let one = (line.trim() == "/**")
            .then(|| lines.get(at + 1).zip(lines.get(at + 2)))
            .flatten()
            .filter(|(_, end)| end.trim() == "*/")
            .and_then(|(only, _)| only.trim().strip_prefix("* "));
        match one {
            Some(words) => {
                let indent = line.len() - line.trim_start().len();
                let _ = writeln!(plain, "{:indent$}/* {words} */", "");
                at += 3;
            }
            None => {
                let _ = writeln!(plain, "{}", line.replace("/**", "/*"));
                at += 1;
            }
        }
    }
    plain
}

/// Puts `mctl` itself between #ifndef MCTL_NO_SHORT_NAMES and #endif, comment and all.
fn short_name(text: &str) -> Result<String, String> {
    let declaration = "int mctl(int pidfd, int action, unsigned int flags);\n";
    let at = text.find(declaration).ok_or("mctl() is not declared")?;
    let comment = text
        .get(..at)
        .and_then(|before| before.rfind("/*\n"))
        .ok_or("mctl() has no comment")?;
    let (before, rest) = text.split_at(comment);
    let (short, after) = rest.split_at(at - comment + declaration.len());
    Ok(format!(
        "{before}#ifndef MCTL_NO_SHORT_NAMES\n{short}#endif\n{after}"
    ))
}
