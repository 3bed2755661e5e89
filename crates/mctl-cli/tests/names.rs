//! Names of processes, files and cgroups are whatever their owner chose: no command passes on what would steer
//! a terminal, begin a line of its own, or reorder or hide text.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};

use common::{command, mctl, ran};

/// Fifteen bytes: a title for the terminal, a right-to-left override, C1, no UTF-8, a new line.
const NAME: &[u8] = b"\x1b]0;x\x07\xe2\x80\xae\xc2\x9b\xff\nQ";

/// A process with that name, which has a file of that name mapped.
struct Named(Child);

impl Named {
    fn start(dir: &std::path::Path) -> Option<Named> {
        let name: String = NAME.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        let file = dir.join(OsStr::from_bytes(NAME));
        std::fs::write(&file, vec![1_u8; 4096]).unwrap();
        let script = format!(
            "import mmap, sys\n\
             f = open(sys.argv[1], 'rb')\n\
             m = mmap.mmap(f.fileno(), 4096, prot=mmap.PROT_READ)\n\
             m[0]; open('/proc/self/comm', 'wb').write(b'{name}')\n\
             print('ready', flush=True); sys.stdin.read()"
        );
        let mut child = Command::new("python3")
            .args(["-c", &script])
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        Some(Named(child))
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn assert_fit(words: &[&str], text: &str) {
    let unfit = |c: &char| {
        (c.is_control() && *c != '\n')
            || matches!(*c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffd}')
    };
    assert_eq!(text.chars().find(unfit), None, "{words:?}: {text:?}");
    // The name's own new line: what follows it would be a line of its own.
    assert!(
        !text.lines().any(|line| line.starts_with('Q')),
        "{words:?}: {text:?}"
    );
}

#[test]
fn no_name_steers_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let Some(named) = Named::start(dir.path()) else {
        mctl_testkit::skip!("needs python3");
    };
    let pid = named.0.id().to_string();
    let saved = dir.path().join("saved.json");
    let saved = saved.to_str().unwrap();
    std::fs::write(saved, mctl(&["get", "--json", &pid]).assert(0).out).unwrap();
    let picture = dir.path().join("map.svg");
    let picture = picture.to_str().unwrap();
    let mut seen = String::new();
    for words in [
        &["get", &pid][..],
        &["get", "--raw", &pid],
        &["get", "--maps", &pid],
        &["get", "--tree", &pid],
        &["map", &pid],
        &["map", "--svg", picture, &pid],
        &["set", "nohugepage", "-v", &pid],
        &["set", "nohugepage", "-n", &pid],
        &["clear", "nohugepage", "--tree", "-v", &pid],
        &["advise", "cold", "-v", &pid],
        &["advise", "mergeable", "--anon", "-v", &pid],
        &["cold", &pid],
        &["pageout", "-n", &pid],
        &["collapse", &pid],
        &["lock", "-n", &pid],
        &["unlock", &pid],
        &["restore", "-v", saved],
        &["restore", "-n", saved],
    ] {
        let ran = mctl(words);
        assert!(matches!(ran.code, Some(0 | 1)), "{words:?}: {ran:#?}");
        assert_fit(words, &ran.out);
        assert_fit(words, &ran.err);
        seen.push_str(&ran.out);
    }
    assert!(
        seen.contains("\\033]0;x\\007"),
        "the name was shown: {seen}"
    );
    let drawn = std::fs::read_to_string(picture).unwrap();
    assert_fit(&["the picture"], &drawn);
    for words in [
        &["get", "--json", &pid][..],
        &["get", "--maps", "--json", &pid],
        &["set", "nohugepage", "--json", &pid],
        &["clear", "nohugepage", "--json", &pid],
        &["cold", "--json", &pid],
        &["unlock", "--json", &pid],
    ] {
        let ran = mctl(words).assert(0);
        ran.json();
        assert_fit(words, &ran.out);
    }
}

/// Words of the command line come from scripts, which take them from file names.
#[test]
fn nor_do_the_words() {
    let name = OsStr::from_bytes(NAME);
    for words in [
        &["restore"][..],
        &["run", "--thp", "never", "--"],
        &["run", "--thp", "never", "-n", "--"],
        &["set", "nohugepage", "--cgroup"],
        &["get", "--cgroup"],
        &["cold"],
        &["set", "nohugepage"],
    ] {
        let ran = ran(command().args(words).arg(name));
        assert_fit(words, &ran.out);
        assert_fit(words, &ran.err);
    }
}

/// Words of the command line are shown where they are not understood, by the parser too.
#[test]
fn no_word_steers_the_terminal_either() {
    let fixture = mctl_testkit::start!("pause");
    let pid = OsStr::from_bytes(fixture.pid().to_string().as_bytes()).to_owned();
    let bytes = |prefix: &str| -> std::ffi::OsString {
        OsStr::from_bytes(&[prefix.as_bytes(), NAME].concat()).to_owned()
    };
    let lines: &[(&[&str], &str)] = &[
        (&[], ""),
        (&["get"], ""),
        (&["get"], "--foo"),
        (&["get"], "--"),
        (&["get", "-o"], ""),
        (&["get", "--cgroup"], ""),
        (&["get", "--cgroup"], "/sys/fs/cgroup/"),
        (&["set"], ""),
        (&["set", "nohugepage"], ""),
        (&["set", "nohugepage"], "--exec"),
        (&["set", "nohugepage", "--wait"], ""),
        (&["set", "nohugepage", "--cgroup"], "4:memory:/"),
        (&["explain"], ""),
        (&["explain", "EPERM"], ""),
        (&["map", "--width"], ""),
        (&["map", "--color"], ""),
        (&["map", "PID", "--svg"], "/nonexistent/"),
        (&["run"], ""),
        (&["run", "--thp"], ""),
        (&["run", "--thp", "never", "--"], ""),
        (&["run", "--thp", "never", "--"], "/nonexistent/"),
        (&["restore"], ""),
        (&["advise"], ""),
        (&["advise", "cold", "PID", "--range"], ""),
        (&["advise", "cold", "PID", "--maps"], ""),
        (&["advise", "cold", "PID", "--maps"], "["),
        (&["cold", "PID", "--pace"], ""),
        (&["collapse", "PID", "--max-growth"], ""),
        (&["collapse", "PID", "--min-coverage"], ""),
        (&["completions"], ""),
        (&["man", "--dir"], "/nonexistent/"),
        (&["help"], ""),
        (&["probe"], ""),
    ];
    for (words, last) in lines {
        let mut command = command();
        for word in *words {
            match *word {
                "PID" => command.arg(&pid),
                word => command.arg(word),
            };
        }
        let ran = ran(command.arg(bytes(last)));
        assert!(
            matches!(ran.code, Some(1 | 2 | 125..=127)),
            "{words:?}: {ran:#?}"
        );
        assert_fit(words, &ran.out);
        assert_fit(words, &ran.err);
    }
}
