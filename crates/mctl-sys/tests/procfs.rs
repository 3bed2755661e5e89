//! The `/proc` parsers against the running kernel: our own process, and children whose mappings are
//! out of the ordinary.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation ends the test"
)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use mctl_sys::procfs::auxv::{AT_ENTRY, AT_PAGESZ, AT_SYSINFO_EHDR, Auxv, Width};
use mctl_sys::procfs::counters::{Counter, Counters, Want};
use mctl_sys::procfs::ksm_stat::KsmStat;
use mctl_sys::procfs::maps::{MapLines, MapsReader};
use mctl_sys::procfs::mountinfo::{MountLines, tmpfs_mounts};
use mctl_sys::procfs::smaps::{SmapsEntries, SmapsEntry, ThpEligible};
use mctl_sys::procfs::smaps_reader::SmapsReader;
use mctl_sys::procfs::stat::Stat;
use mctl_sys::procfs::status::Status;
use mctl_sys::procfs::syscall::TaskSyscall;
use mctl_sys::procfs::thp::{Choice, Knob};
use mctl_sys::procfs::vmflags::VmFlag;
use mctl_sys::procfs::{cgroup, children, smaps_rollup};
use mctl_testkit::{skip, slower, start};

fn read(pid: impl ToString, file: &str) -> Vec<u8> {
    let path = format!("/proc/{}/{file}", pid.to_string());
    fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn rebuilt(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for vma in MapLines::new(text) {
        vma.unwrap().write_line(&mut out).unwrap();
    }
    out
}

/// Compares an entry with its own text, read in another, plain way.
fn check_against_text(entry: &SmapsEntry<'_>) {
    let text = String::from_utf8_lossy(entry.text);
    let mut header = Vec::new();
    entry.vma.write_line(&mut header).unwrap();
    assert!(entry.text.starts_with(&header));
    let mut counters = 0;
    for line in text.lines().skip(1) {
        let (key, value) = line.split_once(':').unwrap();
        if let Some(counter) = Counter::from_key(key.as_bytes()) {
            let kb = value.strip_suffix(" kB").unwrap().trim().parse().unwrap();
            assert_eq!(entry.counters.get(counter), Some(kb), "{line}");
            counters += 1;
        } else {
            assert_eq!(entry.field(key.as_bytes()), Some(value.trim().as_bytes()));
        }
        if key == "VmFlags" {
            let flags = entry.flags.unwrap();
            assert_eq!(flags.text(), value.strip_prefix(' ').unwrap().as_bytes());
            let mut again = Vec::new();
            flags.to_set().write_text(&mut again);
            assert_eq!(again, flags.text());
            for code in value.split_ascii_whitespace() {
                let known = VmFlag::from_code(code.as_bytes()).is_some_and(|flag| flags.has(flag));
                assert!(
                    known || flags.unknown().any(|word| word == code.as_bytes()),
                    "{code}"
                );
            }
        }
    }
    assert_eq!(entry.counters.iter().count(), counters);
}

#[test]
fn own_maps_can_be_rebuilt() {
    let text = read("self", "maps");
    assert_eq!(rebuilt(&text), text);
    assert!(MapLines::new(&text).any(|vma| vma.unwrap().name == b"[stack]"));
}

#[test]
fn own_smaps_say_what_their_text_says() {
    let text = read("self", "smaps");
    let mut seen = Vec::new();
    for entry in SmapsEntries::new(&text).map(Result::unwrap) {
        check_against_text(&entry);
        assert_eq!(entry.counters.size() * 1024, entry.vma.len());
        assert_eq!(entry.flags.unwrap().has(VmFlag::Read), entry.vma.perms.read);
        assert_eq!(
            entry.flags.unwrap().has(VmFlag::MayShare),
            entry.vma.perms.shared
        );
        seen.extend_from_slice(entry.text);
    }
    assert_eq!(seen, text);
}

#[test]
fn own_status_and_stat() {
    let text = read("self", "status");
    let status = Status::parse(&text).unwrap();
    assert_eq!(status.tgid, Some(std::process::id()));
    assert_eq!(status.ns_pid.unwrap().iter().next(), status.tgid);
    assert!(status.vm_rss.unwrap() <= status.vm_size.unwrap());
    assert_eq!(
        status.uid.unwrap().effective,
        rustix::process::geteuid().as_raw()
    );
    assert!(status.sig_cgt.is_some() && status.cap_eff.is_some() && status.seccomp.is_some());

    let text = read("self", "stat");
    let stat = Stat::parse(&text).unwrap();
    assert_eq!((Some(stat.pid), Some(stat.ppid)), (status.pid, status.ppid));
    assert_eq!(status.name.as_deref(), Some(stat.comm));
    assert!(!stat.is_kernel_thread() && !stat.is_exiting() && stat.starttime > 0);
    assert_eq!(stat.exit_signal, Some(17));
}

#[test]
fn own_auxv() {
    let bytes = read("self", "auxv");
    let auxv = Auxv::parse(&bytes).unwrap();
    assert_eq!(auxv.width(), Width::W64);
    assert_eq!(auxv.get(AT_PAGESZ), Some(rustix::param::page_size() as u64));
    let maps = read("self", "maps");
    let vdso = MapLines::new(&maps)
        .flatten()
        .find(|vma| vma.name == b"[vdso]");
    assert_eq!(auxv.get(AT_SYSINFO_EHDR), vdso.map(|vma| vma.start));
    let entry = auxv.get(AT_ENTRY).unwrap();
    let holds = |vma: &mctl_sys::procfs::maps::MapLine<'_>| (vma.start..vma.end).contains(&entry);
    assert!(
        MapLines::new(&maps)
            .flatten()
            .any(|vma| vma.perms.exec && holds(&vma))
    );
}

#[test]
fn own_mounts_cgroups_and_the_host() {
    let text = read("self", "mountinfo");
    assert!(MountLines::new(&text).all(|mount| mount.is_ok()));
    assert!(tmpfs_mounts(&text).all(|mount| mount.unwrap().is_tmpfs()));
    let text = read("self", "cgroup");
    assert!(cgroup::lines(&text).all(|line| line.is_ok()));
    if let Some(path) = cgroup::v2_path(&text).unwrap() {
        assert!(path.starts_with(b"/"));
    }
    if let Ok(text) = fs::read("/sys/kernel/mm/transparent_hugepage/enabled") {
        let knob = Knob::parse(&text).unwrap();
        assert!(knob.offers(b"always") && !matches!(knob.choice(), Choice::Other(_)));
    }
    if let Ok(text) = fs::read("/proc/self/ksm_stat") {
        assert!(KsmStat::parse(&text).unwrap().rmap_items.is_some());
    }
}

#[test]
fn a_kernel_thread_has_no_address_space() {
    // Process 2 is kthreadd, except in a PID namespace of one's own.
    let Ok(text) = fs::read("/proc/2/stat") else {
        skip!("no process 2 here")
    };
    if !Stat::parse(&text).unwrap().is_kernel_thread() {
        skip!("process 2 is no kernel thread here");
    }
    let status = read(2, "status");
    let status = Status::parse(&status).unwrap();
    assert_eq!((status.vm_size, status.vm_rss), (None, None));
    assert!(status.kthread.is_none_or(|kthread| kthread == 1));
    if let Ok(maps) = fs::read("/proc/2/maps") {
        assert_eq!(MapLines::new(&maps).count(), 0);
    }
}

/// The child does nothing, so its files do not change while they are read.
#[test]
fn a_child_with_advice() {
    let fixture = start!(
        "vmas",
        "n=40",
        "size=2097152",
        "huge=4",
        "nohuge=3",
        "touch=1"
    );
    fixture.wait_blocked(Duration::from_secs(120)).unwrap();
    let pid = fixture.pid();
    let base = fixture.info("base").unwrap().split_once(' ').unwrap().0;
    let base = u64::from_str_radix(base.trim_start_matches("0x"), 16).unwrap();

    let text = read(pid, "smaps");
    let entries: Vec<_> = SmapsEntries::new(&text).map(Result::unwrap).collect();
    entries.iter().for_each(check_against_text);
    let mut reader = SmapsReader::new(File::open(format!("/proc/{pid}/smaps")).unwrap());
    for entry in &entries {
        // Not all counters: the kernel ages pages on its own.
        let found = reader.next_entry().unwrap().unwrap();
        assert_eq!((found.vma, found.flags), (entry.vma, entry.flags));
        assert_eq!(found.counters.rss(), entry.counters.rss());
    }
    assert!(reader.next_entry().unwrap().is_none());

    for n in 0..40_u64 {
        let at = base + n * 0x20_0000;
        let holds = |entry: &&SmapsEntry<'_>| (entry.vma.start..entry.vma.end).contains(&at);
        let entry = entries.iter().find(holds).unwrap();
        let flags = entry.flags.unwrap();
        // The later advice wins, and the program gives `nohuge` last.
        assert_eq!(flags.has(VmFlag::NoHugePage), n % 3 == 0, "mapping {n}");
        assert_eq!(
            flags.has(VmFlag::HugePage),
            n % 4 == 0 && n % 3 != 0,
            "mapping {n}"
        );
        if n % 3 == 0 {
            assert_eq!(entry.thp_eligible, ThpEligible::No);
        }
    }

    let text = read(pid, "smaps_rollup");
    let rollup = smaps_rollup::parse(&text).unwrap();
    let line = String::from_utf8_lossy(&text);
    let line = line.lines().find_map(|l| l.strip_prefix("Private_Dirty:"));
    let dirty = line.and_then(|l| l.strip_suffix(" kB")?.trim().parse().ok());
    assert!(dirty.is_some_and(|kb: u64| kb > 0));
    assert_eq!(rollup.counters.get(Counter::PrivateDirty), dirty);
    let mut sum = Counters::EMPTY;
    entries.iter().for_each(|entry| sum.add(&entry.counters));
    // Of the sums, no counter that another process changes: a page of libc's is private only until one more
    // program maps it, and dirty until it is written back.
    for counter in [Counter::Rss, Counter::Anonymous, Counter::Locked] {
        assert_eq!(
            rollup.counters.get(counter),
            sum.get(counter),
            "{counter:?}"
        );
    }

    let maps = read(pid, "maps");
    assert_eq!(rebuilt(&maps), maps);
    match TaskSyscall::parse(&read(pid, "syscall")).unwrap() {
        TaskSyscall::Blocked { sp, pc, .. } => {
            for at in [sp, pc] {
                assert!(
                    MapLines::new(&maps)
                        .flatten()
                        .any(|vma| (vma.start..vma.end).contains(&at))
                );
            }
        }
        other => eprintln!("between two naps: {other:?}"),
    }
    // Each of our threads has its own list, and the kernel may be built without the lists.
    let mut lists = (fs::read_dir("/proc/self/task").unwrap())
        .filter_map(|task| fs::read(task.ok()?.path().join("children")).ok())
        .peekable();
    let child = pid.unsigned_abs();
    assert!(
        lists.peek().is_none()
            || lists.any(|text| children::pids(&text).any(|pid| pid == Ok(child)))
    );
    fixture.finish().unwrap().assert_clean(0);
}

#[test]
fn sixty_thousand_mappings_through_one_buffer() {
    let count = 60_000 / slower();
    let fixture = start!("vmas", format!("n={count}"));
    let pid = fixture.pid();
    let mut maps = MapsReader::new(File::open(format!("/proc/{pid}/maps")).unwrap());
    let mut in_maps = 0;
    while maps.next_line().unwrap().is_some() {
        in_maps += 1;
    }
    let (mut in_smaps, mut size) = (0, 0);
    let smaps = File::open(format!("/proc/{pid}/smaps")).unwrap();
    let see = |entry: &SmapsEntry<'_>| {
        in_smaps += 1;
        size += entry.counters.size();
    };
    SmapsReader::with(smaps, Want::NONE.and(Counter::Size))
        .for_each(see)
        .unwrap();
    assert!(in_maps >= count, "{in_maps}");
    assert_eq!(in_smaps, in_maps);
    assert!(size >= count * 4);
    fixture.finish().unwrap().assert_clean(0);
}

/// Mappings that few programs have. Made by Python, since a test must not be unsafe either.
const ODD: &str = r"
import ctypes, mmap, os, sys
libc = ctypes.CDLL(None)
libc.getauxval.restype = ctypes.c_ulong
libc.getauxval.argtypes = [ctypes.c_ulong]
keep = []
for advice in (1, 2, 10, 12, 14, 15, 16, 18):
    m = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    keep.append(m)
    address = ctypes.addressof(ctypes.c_char.from_buffer(m))
    done = libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(1 << 20), advice) == 0
    print('advice', advice, hex(address), int(done))
directory = os.fsencode(sys.argv[1])
for name in (b'two words', b'new\nline', b'caf\xe9', b' (deleted)', b'gone'):
    path = directory + b'/' + name
    with open(path, 'wb+') as f:
        f.truncate(8192)
        keep.append(mmap.mmap(f.fileno(), 8192, flags=mmap.MAP_SHARED))
    if name == b'gone':
        os.unlink(path)
fd = os.memfd_create('a memfd')
os.ftruncate(fd, 4096)
keep.append(mmap.mmap(fd, 4096))
libc.prctl(15, b'a) (b\n', 0, 0, 0)
print('auxv', *(hex(libc.getauxval(kind)) for kind in (33, 6, 9, 3)))
print('ready', flush=True)
sys.stdin.readline()
";

struct Odd {
    child: Child,
    said: Vec<String>,
    /// The child ends when this closes.
    _stdin: ChildStdin,
}

impl Drop for Odd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn odd(directory: &std::path::Path) -> Option<Odd> {
    let mut command = Command::new("python3");
    command
        .args(["-c", ODD])
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().ok()?;
    let stdin = child.stdin.take()?;
    let stdout = BufReader::new(child.stdout.take()?);
    let mut odd = Odd {
        child,
        said: Vec::new(),
        _stdin: stdin,
    };
    for line in stdout.lines().map(Result::unwrap) {
        if line == "ready" {
            return Some(odd);
        }
        odd.said.push(line);
    }
    panic!("the child died early: {:?}", odd.said);
}

#[test]
fn odd_names_and_flags() {
    let directory = std::env::temp_dir().join(format!("mctl-procfs-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let Some(odd) = odd(&directory) else {
        skip!("no python3")
    };
    let pid = odd.child.id();

    let maps = read(pid, "maps");
    assert_eq!(rebuilt(&maps), maps);
    let named = |end: &[u8]| {
        MapLines::new(&maps)
            .flatten()
            .find(|vma| vma.name.ends_with(end))
    };
    for end in [
        &b"/two words"[..],
        b"/new\\012line",
        b"/caf\xe9",
        b"/ (deleted)",
        b"/gone (deleted)",
    ] {
        let vma = named(end).unwrap_or_else(|| panic!("no {}", end.escape_ascii()));
        assert!(vma.perms.shared && vma.inode != 0);
    }
    assert!(named(b"/memfd:a memfd (deleted)").is_some());

    let smaps = read(pid, "smaps");
    let entries: Vec<_> = SmapsEntries::new(&smaps).map(Result::unwrap).collect();
    entries.iter().for_each(check_against_text);
    let mut checked = 0;
    for line in odd
        .said
        .iter()
        .filter_map(|line| line.strip_prefix("advice "))
    {
        let words: Vec<_> = line.split(' ').collect();
        let [advice, address, done] = words[..] else {
            panic!("{line}")
        };
        let address = u64::from_str_radix(address.trim_start_matches("0x"), 16).unwrap();
        let flag = match advice {
            "1" => VmFlag::RandRead,
            "2" => VmFlag::SeqRead,
            "10" => VmFlag::DontCopy,
            "12" => VmFlag::Mergeable,
            "14" => VmFlag::HugePage,
            "15" => VmFlag::NoHugePage,
            "16" => VmFlag::DontDump,
            "18" => VmFlag::WipeOnFork,
            other => panic!("{other}"),
        };
        let holds = |entry: &&SmapsEntry<'_>| (entry.vma.start..entry.vma.end).contains(&address);
        let flags = entries.iter().find(holds).unwrap().flags.unwrap();
        assert_eq!(flags.has(flag), done == "1", "{flag:?}");
        checked += usize::from(done == "1");
    }
    // KSM and THP may be left out of a kernel.
    assert!(checked >= 5, "{:?}", odd.said);

    let auxv = read(pid, "auxv");
    let auxv = Auxv::parse(&auxv).unwrap();
    let said = odd
        .said
        .iter()
        .find_map(|line| line.strip_prefix("auxv "))
        .unwrap();
    let in_file = [33, 6, 9, 3].map(|kind| format!("{:#x}", auxv.get(kind).unwrap_or(0)));
    assert_eq!(in_file.join(" "), said);

    let (stat, status) = (read(pid, "stat"), read(pid, "status"));
    assert_eq!(Stat::parse(&stat).unwrap().comm, b"a) (b\n");
    assert_eq!(
        Status::parse(&status).unwrap().name.as_deref(),
        Some(&b"a) (b\n"[..])
    );
    drop(odd);
    fs::remove_dir_all(&directory).unwrap();
}
