//! Running a guest, and taking what it says.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use mctl_guest_init::{Line, MARKER, Outcome, Totals, parse};

use crate::console::{Trouble, Watch};

/// A machine to run.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// The folder that host and guest share for writing.
    pub(crate) share: &'a Path,
    /// A disk image with a file system for /tmp.
    pub(crate) disk: &'a Path,
    /// MiB.
    pub(crate) memory: u32,
    pub(crate) cpus: u32,
    /// More for the kernel's command line.
    pub(crate) append: &'a str,
    /// The kernel's functions that our patches touch.
    pub(crate) ours: &'a [String],
    /// Everything has to be done by then.
    pub(crate) limit: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    pub(crate) outcomes: Vec<Outcome>,
    /// The guest's last line. Without it the run did not come to its end.
    pub(crate) totals: Option<Totals>,
    /// Jobs that began and did not end.
    pub(crate) unfinished: Option<String>,
    /// What the kernel complained of.
    pub(crate) troubles: Vec<Trouble>,
    /// Data races that it found in code which is not ours.
    pub(crate) other_races: Vec<String>,
    /// Why QEMU was ended from outside.
    pub(crate) killed: Option<String>,
    /// The end of the console.
    pub(crate) last_lines: Vec<String>,
    pub(crate) time: Duration,
}

impl Ran {
    /// What came of another guest that shared the jobs.
    pub(crate) fn join(&mut self, other: Self) {
        self.outcomes.extend(other.outcomes);
        self.totals = self.totals.zip(other.totals).map(|(a, b)| a + b);
        self.unfinished = match (self.unfinished.take(), other.unfinished) {
            (Some(a), Some(b)) => Some(format!("{a} and {b}")),
            (a, b) => a.or(b),
        };
        self.troubles.extend(other.troubles);
        self.other_races.extend(other.other_races);
        self.killed = self.killed.take().or(other.killed);
        self.last_lines.extend(other.last_lines);
        self.time = self.time.max(other.time);
    }

    /// Whether the machine ended before our init had begun anything.
    pub(crate) fn never_began(&self) -> bool {
        self.outcomes.is_empty() && self.totals.is_none() && self.unfinished.is_none()
    }
}

const KEEP: usize = 60;

/// QEMU's arguments. KVM is used only if asked for: that `/dev/kvm` opens does not mean that it can
/// run a guest.
pub(crate) fn arguments(machine: &Machine<'_>, accel: &str, share_lines: &Path) -> Vec<String> {
    let share = machine.share.display();
    // An emulated processor has no side channels, and what guards against them makes each call slower.
    let base = format!(
        "console=ttyS0 panic=-1 reboot=t oops=panic no_timer_check random.trust_cpu=1 mitigations=off \
         transparent_hugepage=madvise {MARKER} {}",
        machine.append
    );
    let words = [
        "-accel",
        accel,
        "-cpu",
        if accel.starts_with("kvm") {
            "host"
        } else {
            "max,la57=off"
        },
        "-smp",
        &machine.cpus.to_string(),
        "-m",
        &machine.memory.to_string(),
        "-kernel",
        &machine.kernel.display().to_string(),
        "-initrd",
        &machine.initramfs.display().to_string(),
        "-append",
        base.trim_end(),
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-serial",
        "stdio",
        "-serial",
        &format!("file:{}", share_lines.display()),
        "-fsdev",
        "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device",
        "virtio-9p-pci,fsdev=host,mount_tag=host",
        "-fsdev",
        &format!("local,id=share,path={share},security_model=none"),
        "-device",
        "virtio-9p-pci,fsdev=share,mount_tag=share",
        "-drive",
        &format!(
            "if=virtio,format=raw,cache=unsafe,file={}",
            machine.disk.display()
        ),
        "-device",
        "virtio-rng-pci",
    ];
    words.iter().map(|w| (*w).to_owned()).collect()
}

/// Runs a machine to its end, or to the end of its time. `seen` is told every result as it comes.
pub(crate) fn run(
    machine: &Machine<'_>,
    console_log: &Path,
    seen: &dyn Fn(&Outcome),
) -> Result<Ran> {
    crate::run::need(&[
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("/usr/share/seabios/bios-256k.bin", "seabios"),
    ])?;
    let accel = std::env::var("MCTL_ACCEL").unwrap_or_else(|_| "tcg".to_owned());
    let lines = console_log.with_extension("lines");
    std::fs::write(&lines, "")?;
    let begin = Instant::now();
    let mut child = crate::run::ends_with_us("qemu-system-x86_64")
        .args(arguments(machine, &accel, &lines))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context("starting qemu-system-x86_64")?;
    let console = read_console(&mut child, console_log)?;
    let mut ran = Ran::default();
    let mut tail = VecDeque::new();
    let mut said = 0;
    let mut watch = Watch::new(machine.ours);
    loop {
        match console.recv_timeout(Duration::from_millis(500)) {
            Ok(line) => {
                watch.line(&line);
                if tail.len() == KEEP {
                    tail.pop_front();
                }
                tail.push_back(line);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        for outcome in take(&lines, &mut ran)?.iter().skip(said) {
            said += 1;
            seen(outcome);
        }
        if begin.elapsed() > machine.limit {
            ran.killed = Some(format!("not done after {} s", machine.limit.as_secs()));
            let _ = child.kill();
            break;
        }
    }
    let status = child.wait()?;
    if !status.success() && ran.killed.is_none() {
        ran.killed = Some(format!("QEMU: {status}"));
    }
    for outcome in take(&lines, &mut ran)?.iter().skip(said) {
        seen(outcome);
    }
    watch.end();
    ran.troubles = watch.troubles;
    ran.other_races = watch.others;
    ran.last_lines = tail.into();
    ran.time = begin.elapsed();
    Ok(ran)
}

fn read_console(child: &mut Child, log: &Path) -> Result<Receiver<String>> {
    use std::io::Write as _;
    let stdout = child.stdout.take().context("QEMU has no output")?;
    let mut log = std::fs::File::create(log).with_context(|| log.display().to_string())?;
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let _ = log.write_all(&line);
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if send.send(text).is_err() {
                break;
            }
        }
    });
    Ok(receive)
}

/// Reads all result lines that have come so far.
fn take(lines: &Path, ran: &mut Ran) -> Result<Vec<Outcome>> {
    let text = std::fs::read(lines)?;
    let text = String::from_utf8_lossy(&text);
    // The last line may not be whole yet.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    ran.outcomes.clear();
    ran.unfinished = None;
    for line in whole.lines().filter_map(parse) {
        match line {
            Line::Start(name) => ran.unfinished = Some(name),
            Line::Result(outcome) => {
                ran.unfinished = None;
                ran.outcomes.push(outcome);
            }
            Line::Total(totals) => ran.totals = Some(totals),
        }
    }
    Ok(ran.outcomes.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_ours_alone_and_cannot_write_to_the_host() {
        let machine = Machine {
            kernel: Path::new("/k"),
            initramfs: Path::new("/i"),
            share: Path::new("/s"),
            disk: Path::new("/d"),
            memory: 1024,
            cpus: 2,
            append: "x=1",
            ours: &[],
            limit: Duration::from_secs(1),
        };
        let args = arguments(&machine, "tcg", Path::new("/l")).join(" ");
        assert!(args.contains("-accel tcg "), "{args}");
        assert!(
            args.contains("path=/,security_model=none,readonly=on"),
            "{args}"
        );
        assert!(args.contains(MARKER) && args.contains("x=1"), "{args}");
        assert!(
            args.contains("-nodefaults") && !args.contains("netdev"),
            "{args}"
        );
    }

    #[test]
    fn one_guest_without_its_last_line_is_enough() {
        let totals = |pass| Totals {
            pass,
            ..Totals::default()
        };
        let ran = |pass: Option<u32>, unfinished: Option<&str>| Ran {
            totals: pass.map(totals),
            unfinished: unfinished.map(str::to_owned),
            ..Ran::default()
        };
        let mut both = ran(Some(2), None);
        both.join(ran(Some(3), None));
        assert_eq!(both.totals, Some(totals(5)));
        both.join(ran(None, Some("b")));
        assert_eq!((both.totals, both.unfinished.as_deref()), (None, Some("b")));
        both.join(ran(Some(1), Some("c")));
        assert_eq!(both.totals, None);
        assert_eq!(both.unfinished.as_deref(), Some("b and c"));
    }

    #[test]
    fn only_whole_lines_count() {
        let dir = tempfile::tempdir().unwrap();
        let lines = dir.path().join("lines");
        let mut ran = Ran::default();
        std::fs::write(
            &lines,
            "MCTL-START a\r\nMCTL-RESULT a pass - 1.0\r\nMCTL-START b\r\nMCTL-RESULT b pa",
        )
        .unwrap();
        assert_eq!(take(&lines, &mut ran).unwrap().len(), 1);
        assert_eq!(ran.unfinished.as_deref(), Some("b"));
        assert_eq!(ran.totals, None);
    }
}
