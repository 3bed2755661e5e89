//! `/proc/PID/status`: what a process is and may do, in `Name:\tvalue` lines.
//!
//! Source: `proc_pid_status(5)`; `proc_pid_status()` in `fs/proc/array.c`.

use std::borrow::Cow;

use super::error::{Malformed, ParseError};
use super::lines::{Lines, split_at_byte, words};
use super::num::{dec_u32, dec_u64, hex_u64};

/// Four user or group ids, as the kernel lists them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ids {
    /// The real id.
    pub real: u32,
    /// The effective id: what permission checks use.
    pub effective: u32,
    /// The saved set-user-ID or set-group-ID.
    pub saved: u32,
    /// The id for file system access.
    pub fs: u32,
}

/// One process or thread. A field that the kernel did not write is `None`; memory is in kB.
///
/// A kernel thread and a zombie have no address space: `vm_size` and its like are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status<'a> {
    /// The command name with the kernel's escapes (`\n`, `\\`) undone; not always UTF-8.
    pub name: Option<Cow<'a, [u8]>>,
    /// The state's letter: `R`, `S`, `D`, `T`, `t`, `Z`, `X`, `I` …
    pub state: Option<u8>,
    /// The process (thread group) id.
    pub tgid: Option<u32>,
    /// The thread id.
    pub pid: Option<u32>,
    /// The parent's process id; 0 if it is outside the reader's PID namespace.
    pub ppid: Option<u32>,
    /// The tracer's id; 0 for none.
    pub tracer_pid: Option<u32>,
    /// The user ids.
    pub uid: Option<Ids>,
    /// The group ids.
    pub gid: Option<Ids>,
    /// The thread ids in each nested PID namespace, the reader's first.
    pub ns_pid: Option<IdList<'a>>,
    /// 1 for a kernel thread. Since Linux 6.10.
    pub kthread: Option<u64>,
    /// `VmSize`: all mappings.
    pub vm_size: Option<u64>,
    /// `VmLck`: locked memory.
    pub vm_lck: Option<u64>,
    /// `VmRSS`: present memory.
    pub vm_rss: Option<u64>,
    /// `RssAnon`: the anonymous part of it.
    pub rss_anon: Option<u64>,
    /// `RssFile`: the file part of it.
    pub rss_file: Option<u64>,
    /// `RssShmem`: the shmem part of it.
    pub rss_shmem: Option<u64>,
    /// `VmSwap`: anonymous memory on swap.
    pub vm_swap: Option<u64>,
    /// `THP_enabled`: 0 if PR_SET_THP_DISABLE forbids huge pages altogether, else 1, also under
    /// PR_THP_DISABLE_EXCEPT_ADVISED. Since Linux 5.0.
    pub thp_enabled: Option<u64>,
    /// `Mctl`: the policy record, as the mask of `MCTL_GET_POLICY`. Only kernels with the mctl()
    /// system call write it.
    pub mctl: Option<u64>,
    /// How many threads the process has.
    pub threads: Option<u64>,
    /// Signals pending for the thread; bit n − 1 is signal n, as in the other masks.
    pub sig_pnd: Option<u64>,
    /// Signals pending for the process.
    pub shd_pnd: Option<u64>,
    /// Blocked signals.
    pub sig_blk: Option<u64>,
    /// Ignored signals.
    pub sig_ign: Option<u64>,
    /// Caught signals.
    pub sig_cgt: Option<u64>,
    /// Inheritable capabilities; bit n is capability n, as in the other masks.
    pub cap_inh: Option<u64>,
    /// Permitted capabilities.
    pub cap_prm: Option<u64>,
    /// Effective capabilities.
    pub cap_eff: Option<u64>,
    /// The capability bounding set.
    pub cap_bnd: Option<u64>,
    /// Ambient capabilities.
    pub cap_amb: Option<u64>,
    /// 1 if no_new_privs is set.
    pub no_new_privs: Option<u64>,
    /// The seccomp mode: 0 off, 1 strict, 2 filter.
    pub seccomp: Option<u64>,
    /// How many seccomp filters are installed. Since Linux 5.9.
    pub seccomp_filters: Option<u64>,
    /// Enabled x86 features, such as `shstk wrss`, as raw text. Since Linux 6.6.
    pub x86_thread_features: Option<&'a [u8]>,
    /// Locked x86 features, as raw text.
    pub x86_thread_features_locked: Option<&'a [u8]>,
}

impl<'a> Status<'a> {
    /// Parses the whole file in one pass. Lines that are not known here are passed over.
    ///
    /// # Errors
    ///
    /// [`ParseError`], if a line that is known here has a value of another kind.
    pub fn parse(text: &'a [u8]) -> Result<Self, ParseError> {
        let mut status = Self::default();
        for (line, bytes) in Lines::new(text) {
            let Some((key, value)) = split_at_byte(bytes, b':') else {
                continue;
            };
            status
                .take(key, value)
                .map_err(|kind| ParseError { line, kind })?;
        }
        Ok(status)
    }

    fn take(&mut self, key: &[u8], value: &'a [u8]) -> Result<(), Malformed> {
        match key {
            // The kernel puts one tab before the name. The name itself may begin with a space.
            b"Name" => self.name = Some(unescape(value.strip_prefix(b"\t").unwrap_or(value))),
            b"State" => self.state = Some(letter(value)?),
            b"Tgid" => self.tgid = id(value, "Tgid")?,
            b"Pid" => self.pid = id(value, "Pid")?,
            b"PPid" => self.ppid = id(value, "PPid")?,
            b"TracerPid" => self.tracer_pid = id(value, "TracerPid")?,
            b"Uid" => self.uid = Some(ids(value, "Uid")?),
            b"Gid" => self.gid = Some(ids(value, "Gid")?),
            b"NSpid" => self.ns_pid = Some(IdList::parse(value, "NSpid")?),
            b"Kthread" => self.kthread = number(value, "Kthread")?,
            b"VmSize" => self.vm_size = kilobytes(value, "VmSize")?,
            b"VmLck" => self.vm_lck = kilobytes(value, "VmLck")?,
            b"VmRSS" => self.vm_rss = kilobytes(value, "VmRSS")?,
            b"RssAnon" => self.rss_anon = kilobytes(value, "RssAnon")?,
            b"RssFile" => self.rss_file = kilobytes(value, "RssFile")?,
            b"RssShmem" => self.rss_shmem = kilobytes(value, "RssShmem")?,
            b"VmSwap" => self.vm_swap = kilobytes(value, "VmSwap")?,
            b"THP_enabled" => self.thp_enabled = number(value, "THP_enabled")?,
            b"Mctl" => self.mctl = mask(value, "Mctl")?,
            b"Threads" => self.threads = number(value, "Threads")?,
            b"SigPnd" => self.sig_pnd = mask(value, "SigPnd")?,
            b"ShdPnd" => self.shd_pnd = mask(value, "ShdPnd")?,
            b"SigBlk" => self.sig_blk = mask(value, "SigBlk")?,
            b"SigIgn" => self.sig_ign = mask(value, "SigIgn")?,
            b"SigCgt" => self.sig_cgt = mask(value, "SigCgt")?,
            b"CapInh" => self.cap_inh = mask(value, "CapInh")?,
            b"CapPrm" => self.cap_prm = mask(value, "CapPrm")?,
            b"CapEff" => self.cap_eff = mask(value, "CapEff")?,
            b"CapBnd" => self.cap_bnd = mask(value, "CapBnd")?,
            b"CapAmb" => self.cap_amb = mask(value, "CapAmb")?,
            b"NoNewPrivs" => self.no_new_privs = number(value, "NoNewPrivs")?,
            b"Seccomp" => self.seccomp = number(value, "Seccomp")?,
            b"Seccomp_filters" => self.seccomp_filters = number(value, "Seccomp_filters")?,
            b"x86_Thread_features" => self.x86_thread_features = Some(value.trim_ascii()),
            b"x86_Thread_features_locked" => {
                self.x86_thread_features_locked = Some(value.trim_ascii());
            }
            _ => {}
        }
        Ok(())
    }
}

/// A list of ids whose form has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdList<'a>(&'a [u8]);

impl<'a> IdList<'a> {
    fn parse(text: &'a [u8], what: &'static str) -> Result<Self, Malformed> {
        words(text).try_for_each(|word| dec_u32(word, what).map(drop))?;
        Ok(Self(text))
    }

    /// The ids, in the kernel's order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        words(self.0).filter_map(|word| dec_u32(word, "id").ok())
    }

    /// The id in the innermost namespace: what the process itself sees.
    #[must_use]
    pub fn innermost(&self) -> Option<u32> {
        self.iter().last()
    }
}

/// Undoes `\n` and `\\`. Any other backslash is left as it is. Allocates only if there is one.
fn unescape(name: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', name).is_none() {
        return Cow::Borrowed(name);
    }
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    loop {
        rest = match rest {
            [] => return Cow::Owned(plain),
            [b'\\', b'n', tail @ ..] => {
                plain.push(b'\n');
                tail
            }
            [b'\\', b'\\', tail @ ..] => {
                plain.push(b'\\');
                tail
            }
            [byte, tail @ ..] => {
                plain.push(*byte);
                tail
            }
        };
    }
}

/// The `S` of `S (sleeping)`.
fn letter(value: &[u8]) -> Result<u8, Malformed> {
    match value.trim_ascii_start() {
        [] => Err(Malformed::Missing("State")),
        [letter] | [letter, b' ', ..] if letter.is_ascii_alphabetic() => Ok(*letter),
        _ => Err(Malformed::Unexpected("State")),
    }
}

fn id(value: &[u8], what: &'static str) -> Result<Option<u32>, Malformed> {
    dec_u32(value.trim_ascii(), what).map(Some)
}

fn number(value: &[u8], what: &'static str) -> Result<Option<u64>, Malformed> {
    dec_u64(value.trim_ascii(), what).map(Some)
}

fn mask(value: &[u8], what: &'static str) -> Result<Option<u64>, Malformed> {
    hex_u64(value.trim_ascii(), what).map(Some)
}

fn kilobytes(value: &[u8], what: &'static str) -> Result<Option<u64>, Malformed> {
    let number = value
        .trim_ascii()
        .strip_suffix(b" kB")
        .ok_or(Malformed::Unit(what))?;
    dec_u64(number, what).map(Some)
}

fn ids(value: &[u8], what: &'static str) -> Result<Ids, Malformed> {
    let mut words = words(value);
    let mut next = || dec_u32(words.next().unwrap_or_default(), what);
    let ids = Ids {
        real: next()?,
        effective: next()?,
        saved: next()?,
        fs: next()?,
    };
    if words.next().is_some() {
        Err(Malformed::Unexpected(what))
    } else {
        Ok(ids)
    }
}

#[cfg(test)]
mod tests;
