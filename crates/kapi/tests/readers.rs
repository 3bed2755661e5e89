//! Nothing is lost in silence: what a reader does not understand is kept and told with its place,
//! and what it cannot read is refused.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::process::{Command, Output};

use kapi::diag::Severity;
use kapi::front::Parsed;
use kapi::front::tree::read_text;
use kapi::ir::Spec;

fn kapi(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kapi"))
        .args(args)
        .output()
        .unwrap()
}

fn kerneldoc(body: &str) -> String {
    let mut text = String::from("/**\n * sys_x - A call\n *\n * contexts: process\n");
    for line in body.lines() {
        text.push_str(&format!(" * {line}\n"));
    }
    text + " */\n"
}

fn read(text: &str) -> Parsed {
    read_text("x.c", text)
}

fn one(parsed: &Parsed) -> &Spec {
    assert_eq!(parsed.specs.len(), 1, "{:?}", parsed.diagnostics);
    &parsed.specs[0]
}

/// The line of the message with this code, and its text.
fn told(parsed: &Parsed, code: &str) -> Vec<(u32, String)> {
    parsed
        .diagnostics
        .iter()
        .filter(|d| d.code == code && d.severity >= Severity::Warning)
        .map(|d| (d.span.line, d.message.clone()))
        .collect()
}

#[test]
fn an_unknown_subfield_is_kept_and_told() {
    let parsed = read(&kerneldoc(
        "signal: SIGUSR1\n  direction: receive\n  colour: blue\n    and green\n  action: return",
    ));
    let spec = one(&parsed);
    let unknown = &spec.unknown[0];
    assert_eq!(
        (
            unknown.within.as_str(),
            unknown.key.as_str(),
            unknown.text.as_str()
        ),
        ("signal SIGUSR1", "colour", "blue and green")
    );
    assert_eq!(told(&parsed, "unknown-item")[0].0, 7);
    // The fields around it are what they were.
    assert_eq!(
        spec.signals[0].action.as_ref().unwrap().to_string(),
        "return"
    );
    // Deeper text that looks like a field is text.
    let parsed = read(&kerneldoc("error: EIO, Bad\n  desc: One.\n    note: two"));
    assert_eq!(one(&parsed).errors[0].description, "One. note: two");
    assert!(told(&parsed, "unknown-item").is_empty());
}

#[test]
fn neither_yes_nor_no_is_kept() {
    let parsed = read(&kerneldoc(
        "lock: a->lock\n  type: mutex\n  acquired: conditional\n  released: yes",
    ));
    let spec = one(&parsed);
    assert!(spec.locks[0].released);
    assert_eq!(spec.unknown[0].text, "conditional");
    assert!(told(&parsed, "unknown-item")[0].1.contains("acquired"));
}

#[test]
fn spellings_of_the_middle_revisions_are_read() {
    let parsed = read(&kerneldoc(
        "capability: CAP_SYS_NICE\n  type: bypass_check\n  desc: May go first.\n\n\
         signal: SIGUSR1\n  direction: receive\n  state-req: 3\n\n\
         struct: point\n  desc: A place.\n\nfield: x\n  type: int\n  desc: To the right.\n\n\
         related: other_call",
    ));
    let spec = one(&parsed);
    assert_eq!(spec.capabilities[0].allows, "May go first.");
    assert_eq!(
        spec.signals[0].state_required.as_ref().unwrap().number,
        Some(3)
    );
    assert_eq!(spec.structs[0].fields[0].name, "x");
    assert_eq!(spec.structs[0].fields[0].description, "To the right.");
    assert_eq!(spec.unknown[0].key, "related");
}

#[test]
fn the_flat_form_and_raw_structures_are_refused() {
    let parsed = read(&kerneldoc(
        "param: flags\nparam-type: KAPI_TYPE_INT\nerror-code: -EINVAL",
    ));
    assert!(parsed.specs.is_empty());
    assert_eq!(told(&parsed, "flat-dialect")[0].0, 6);
    let raw = "static const struct kapi_ioctl_spec foo_spec = {\n\t.cmd = 3,\n};\n";
    let parsed = read(raw);
    assert!(parsed.specs.is_empty());
    assert!(told(&parsed, "raw-struct")[0].1.contains("foo_spec"));
    // Declarations and uses are no specifications.
    let header =
        "struct kapi_ioctl_spec {\n\tint cmd;\n};\nint f(const struct kapi_ioctl_spec *spec);\n";
    assert!(read(header).diagnostics.is_empty());
}

#[test]
fn parameters_of_an_ioctl_and_octal_modes() {
    let parsed = read(
        "DEFINE_KAPI_IOCTL_SPEC(foo, FOO_CMD, \"FOO_CMD\")\n\
         KAPI_IOCTL_PARAM(0, \"n\", \"int\", \"How many\")\nKAPI_IOCTL_PARAM_FLAGS(KAPI_PARAM_IN)\n\
         KAPI_IOCTL_PARAM_END\nKAPI_END_SPEC;\n",
    );
    let spec = one(&parsed);
    assert_eq!(spec.params[0].name, "n");
    assert!(
        told(&parsed, "unknown-item").is_empty(),
        "{:?}",
        parsed.diagnostics
    );
    let parsed = read(
        "DEFINE_SYSFS_API_SPEC(size)\nKAPI_PATH(\"/sys/a\")\nKAPI_PERMISSIONS(0644)\nKAPI_END_SPEC;\n",
    );
    let mode = one(&parsed)
        .sysfs
        .as_ref()
        .unwrap()
        .permissions
        .as_ref()
        .unwrap();
    assert_eq!((mode.text.as_str(), mode.number), ("0644", Some(0o644)));
}

/// What `kapi lint` says of a file or folder, with its status.
fn lint(path: &Path) -> (Option<i32>, String) {
    let out = kapi(&["lint", "-s", path.to_str().unwrap()]);
    let text = [out.stdout, out.stderr].concat();
    (
        out.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let good = kerneldoc("long-desc: Words.");
    let utf16: Vec<u8> = [0xff, 0xfe]
        .into_iter()
        .chain(good.encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
    for (name, bytes, code) in [
        (
            "open.c",
            good.replace("*/", "").into_bytes(),
            "unclosed-comment",
        ),
        ("wide.c", utf16.clone(), "encoding"),
        ("bare.c", utf16.get(2..).unwrap().to_vec(), "encoding"),
        ("mac.c", good.replace('\n', "\r").into_bytes(), "encoding"),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let (status, text) = lint(&path);
        assert_eq!(status, Some(1), "{name}: {text}");
        assert!(
            text.contains(&format!("error[{code}]")) && text.contains(name),
            "{text}"
        );
    }
    for name in ["a.json", "mails.mbox"] {
        let folder = dir.path().join(name.replace('.', "_"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(name), "[]").unwrap();
        let (status, text) = lint(&folder);
        assert_eq!(status, Some(1), "{name}: {text}");
        assert!(text.contains("error[nothing-read]"), "{text}");
        let out = kapi(&["list", "-s", folder.to_str().unwrap()]);
        assert_eq!(out.status.code(), Some(1), "{name}");
    }
}

#[test]
fn show_tells_the_messages_of_its_call_only() {
    let dir = tempfile::tempdir().unwrap();
    let named = |name: &str| {
        kerneldoc("error: EIO, Bad\n  desc: One.\n  odd-thing: two").replace("sys_x", name)
    };
    std::fs::write(dir.path().join("a.c"), named("sys_one") + &named("sys_two")).unwrap();
    let out = kapi(&["show", "two", "-s", dir.path().to_str().unwrap()]);
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(told.matches("odd-thing").count(), 2, "{told}");
    assert!(told.contains("a.c:15") && !told.contains("a.c:7"), "{told}");
}

#[test]
fn lint_tells_only_what_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let old = kerneldoc("error: EIO, Bad\n  odd-thing: two");
    std::fs::write(path("old.c"), &old).unwrap();
    std::fs::write(
        path("new.c"),
        format!(
            "\n\n{}",
            old.replace("two\n", "two\n *   odder-thing: three\n")
        ),
    )
    .unwrap();
    let json = kapi(&["lint", "-s", &path("old.c"), "--format", "json"]);
    std::fs::write(path("old.json"), &json.stdout).unwrap();
    for before in ["old.c", "old.json"] {
        let out = kapi(&["lint", "-s", &path("new.c"), "--new-only", &path(before)]);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(text.contains("odder-thing"), "{text}");
        assert!(!text.contains("`odd-thing"), "{before}: {text}");
    }
    let out = kapi(&["lint", "-s", &path("new.c"), "--new-only", &path("none")]);
    assert_eq!(out.status.code(), Some(2));
}

/// Conditions in words that happen to be expressions are no concern of the lint.
#[test]
fn lint_leaves_words_alone() {
    let text = kerneldoc(
        "param: size\n  type: uint, input\n\n\
         error: EINTR, Cut short\n  condition: interrupted\n\n\
         error: E2BIG, Large\n  condition: size > limit\n\n\
         error: EINVAL, Odd\n  condition: size & BAD_FLAG_THAT_NOBODY_KNOWS",
    );
    let parsed = read(&text);
    let found = kapi::lint::lint(&parsed.specs, &[]);
    let types: Vec<&str> = found
        .iter()
        .filter(|d| d.code == "expression-type")
        .map(|d| d.message.as_str())
        .collect();
    assert_eq!(types.len(), 1, "{types:?}");
    assert!(types[0].contains("BAD_FLAG_THAT_NOBODY_KNOWS"));
}

/// Twice as many specifications take about twice as long, not four times: counted as the time of
/// one run beside another, with room for a busy machine.
#[test]
fn lint_is_linear() {
    let dir = tempfile::tempdir().unwrap();
    let time = |count: usize| {
        let mut text = String::new();
        for n in 0..count {
            let spec =
                kerneldoc("error: EIO, Bad\n  desc: One.\n  odd-thing: two\n\nlong-desc: Words.");
            text.push_str(&spec.replace("sys_x", &format!("sys_call{n}")));
            text.push_str(&format!("SYSCALL_DEFINE1(call{n}, int, flags)\n"));
        }
        let path = dir.path().join(format!("{count}.c"));
        std::fs::write(&path, text).unwrap();
        let start = std::time::Instant::now();
        let (status, _) = lint(&path);
        assert!(status.is_some());
        start.elapsed()
    };
    // 16 times as many would take 256 times as long if it were quadratic.
    let (small, large) = (time(500), time(8000));
    assert!(
        large < small * 100 + std::time::Duration::from_secs(20),
        "{small:?} for 500, {large:?} for 8000"
    );
}
