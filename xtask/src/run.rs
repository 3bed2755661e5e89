//! Running other programs: with a time limit, and with an error that says what it was.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Long enough for a cold kernel build on a slow machine; nothing runs for ever.
const LIMIT: Duration = Duration::from_secs(3600);

fn words(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    if text.len() > 300 {
        let mut end = 300;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A program that is told to end, by SIGTERM, when the thread that started it ends: also when xtask is killed. What
/// runs for minutes is started so; a QEMU or a make that is left behind would be in the way of the next one.
pub(crate) fn ends_with_us(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", program]);
    command
}

/// Runs a program; its output goes where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let words = words(command);
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("starting {words}"))?;
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            if status.success() {
                return Ok(());
            }
            bail!("{words}: {status}");
        }
        if begin.elapsed() > LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            bail!("{words}: not done after {} s", LIMIT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a program and keeps what it prints; its errors are part of ours.
pub(crate) fn bytes(command: &mut Command) -> Result<Vec<u8>> {
    let words = words(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {words}"))?;
    let stderr = child.stderr.take();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(mut stderr) = stderr {
            let _ = stderr.read_to_string(&mut text);
        }
        text
    });
    let mut out = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut out)?;
    }
    let status = child.wait()?;
    let errors = errors.join().unwrap_or_default();
    if !status.success() {
        bail!("{words}: {status}\n{}", last_lines(&errors, 30));
    }
    Ok(out)
}

/// As [`bytes`], for text.
pub(crate) fn text(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&bytes(command)?).into_owned())
}

/// The end of a text.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Says which of the needed host programs are missing, with the line that installs them.
pub(crate) fn need(tools: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> = tools
        .iter()
        .filter(|(what, _)| !present(what))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "this machine lacks packages; install them with\n    \
         apt-get install --no-install-recommends {}",
        missing.join(" ")
    )
}

/// A program on the path, or a file by its whole name.
fn present(what: &str) -> bool {
    if what.starts_with('/') {
        return std::path::Path::new(what).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Not everyone has the administrator's folders on the path; the programs there serve us as well.
    let more = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path)
        .chain(more)
        .any(|dir| dir.join(what).is_file())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn a_missing_program_is_named_with_the_line_that_installs_it() {
        assert!(need(&[("sh", "dash"), ("/", "base-files")]).is_ok());
        let error = need(&[("no-such-program", "such-package"), ("sh", "dash")]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("apt-get install --no-install-recommends such-package"),
            "{text}"
        );
    }

    #[test]
    fn who_is_started_to_end_with_us_does() {
        let start = || {
            let child = ends_with_us("sleep").arg("60").spawn().unwrap();
            let comm = format!("/proc/{}/comm", child.id());
            let begin = Instant::now();
            while std::fs::read(&comm).unwrap() != b"sleep\n" {
                assert!(begin.elapsed() < Duration::from_secs(30));
                std::thread::sleep(Duration::from_millis(1));
            }
            child
        };
        let mut child = std::thread::spawn(start).join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(15));
    }

    #[test]
    fn a_failure_says_who_and_why() {
        let error = text(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("sh -c") && text.contains("why") && text.contains('3'),
            "{text}"
        );
        assert_eq!(last_lines("a\nb\nc", 2), "b\nc");
    }
}
