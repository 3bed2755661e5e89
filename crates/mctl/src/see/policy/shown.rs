//! What the kernel says of single mappings, as evidence for the policy behind them.
//!
//! `THPeligible` of smaps is the kernel's own sum of host, policy and advice. A mapping without
//! advice that gets huge pages is not in a process where only advised ones do; and one that gets
//! none, though the host gives them to such a mapping, is.
//!
//! Source: `proc_pid_smaps(5)`; `vma_thp_disabled()` in `include/linux/huge_mm.h` (Linux 6.18).

use mctl_abi::Errno;
use mctl_abi::thp::{Advice, ThpDisable};
use mctl_sys::procfs::counters::Want;
use mctl_sys::procfs::smaps::ThpEligible;
use mctl_sys::procfs::smaps_reader::SmapsReader;

use super::unadvised::{Unadvised, mounts_give_more};
use super::{Doubt, Known};
use crate::error::Result;
use crate::see::address_space::{Kind, ShmemDevices, smaps_error};
use crate::see::coverage::{Vma, through_a_thread};
use crate::target::{Target, read_all};

type Told = (Known<ThpDisable>, Option<Doubt>);

/// Off or except advised, of a process that is known not to be under "never".
pub(super) fn off_or_except_advised(target: &Target) -> Result<Told> {
    let unknown = |doubt| Ok((Known::Unknown, Some(doubt)));
    let Ok(Some(host)) = Unadvised::read() else {
        return unknown(Doubt::HostHidden);
    };
    if host.is_nothing() && !(host.mounts_count && mounts_of(target)) {
        return Ok((
            Known::Either(ThpDisable::Off, ThpDisable::ExceptAdvised),
            Some(Doubt::Alike),
        ));
    }
    let shown = match evidence(target, &host) {
        Ok(shown) => shown,
        Err(error) if error.errno() == Errno::ESRCH => return Err(error),
        Err(error) => {
            return unknown(Doubt::Hidden {
                file: "smaps",
                errno: error.errno(),
            });
        }
    };
    match shown {
        None => unknown(Doubt::NoMappingShows),
        // What was seen missing was to be there by the knobs of a moment ago.
        Some(ThpDisable::ExceptAdvised) if Unadvised::read().ok().flatten() != Some(host) => {
            unknown(Doubt::HostChanged)
        }
        Some(state) => Ok((Known::Is(state), None)),
    }
}

/// Whether a tmpfs that it sees gives huge pages unasked. What cannot be read may.
fn mounts_of(target: &Target) -> bool {
    let text = through_a_thread(target, |prefix| {
        match read_all(target, &format!("{prefix}mountinfo")) {
            Ok(text) => Ok(Some(text)),
            // A thread that has exited sees no mounts any more.
            Err(error) if matches!(error.errno(), Errno::EINVAL | Errno::ESRCH) => Ok(None),
            Err(error) => Err(error),
        }
    });
    text.map_or(true, |text| mounts_give_more(&text))
}

/// Reads mappings until one tells.
fn evidence(target: &Target, host: &Unadvised) -> Result<Option<ThpDisable>> {
    // Only private anonymous memory is judged by its kind.
    let shmem = ShmemDevices::default();
    through_a_thread(target, |prefix| {
        let file = match target.open_proc(&format!("{prefix}smaps")) {
            Ok(file) => file,
            Err(error) if error.errno() == Errno::ESRCH && target.is_alive() => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut reader = SmapsReader::with(file, Want::NONE);
        let mut mappings = false;
        while let Some(entry) = reader
            .next_entry()
            .map_err(|error| smaps_error(target, &error))?
        {
            mappings = true;
            let told = tells(&Vma::from_smaps(&entry, &shmem), host);
            if told.is_some() {
                return Ok(Some(told));
            }
        }
        // Nothing mapped: a thread that has exited while others run.
        Ok(mappings.then_some(None))
    })
}

/// What one mapping says.
fn tells(vma: &Vma<'_>, host: &Unadvised) -> Option<ThpDisable> {
    if vma.advice != Advice::None {
        return None;
    }
    match vma.thp_eligible {
        ThpEligible::Yes => Some(ThpDisable::Off),
        // The stack is none while a program is being executed.
        ThpEligible::No
            if vma.kind == Kind::Anonymous
                && !vma.name.starts_with(b"[stack")
                && host.fits(vma.start, vma.end) =>
        {
            Some(ThpDisable::ExceptAdvised)
        }
        ThpEligible::No | ThpEligible::Absent | ThpEligible::Other(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use mctl_sys::procfs::smaps::SmapsEntries;

    use super::*;

    fn told(head: &str, eligible: &str, flags: &str, host: &Unadvised) -> Option<ThpDisable> {
        let text = format!("{head}\nSize: 4096 kB\n{eligible}VmFlags: {flags} \n");
        let entry = SmapsEntries::new(text.as_bytes()).next().unwrap().unwrap();
        tells(&Vma::from_smaps(&entry, &ShmemDevices::default()), host)
    }

    #[test]
    fn which_mappings_tell_what() {
        const ANON: &str = "7f0000000000-7f0000400000 rw-p 00000000 00:00 0 ";
        const SMALL: &str = "7f0000001000-7f0000200000 rw-p 00000000 00:00 0 ";
        const STACK: &str = "7f0000000000-7f0000400000 rw-p 00000000 00:00 0   [stack]";
        const FILE: &str = "7f0000000000-7f0000400000 r-xp 00000000 08:01 7   /bin/x";
        const SHARED: &str =
            "7f0000000000-7f0000400000 rw-s 00000000 00:01 7   /dev/zero (deleted)";
        const YES: &str = "THPeligible: 1\n";
        const NO: &str = "THPeligible: 0\n";
        let always = Unadvised {
            anonymous: vec![2 << 20],
            more: true,
            mounts_count: true,
        };
        let none = Unadvised::default();
        let (off, advised) = (Some(ThpDisable::Off), Some(ThpDisable::ExceptAdvised));
        for (head, eligible, flags, host, wanted) in [
            (ANON, YES, "rd wr", &always, off),
            (ANON, NO, "rd wr", &always, advised),
            // Its own advice hides the policy.
            (ANON, YES, "rd wr hg", &always, None),
            (ANON, NO, "rd wr nh", &always, None),
            // Not there for another reason.
            (SMALL, NO, "rd wr", &always, None),
            (STACK, NO, "rd wr", &always, None),
            (FILE, NO, "rd ex", &always, None),
            (SHARED, NO, "rd wr sh", &always, None),
            (ANON, NO, "rd wr pf io", &always, None),
            (ANON, NO, "rd wr ht", &always, None),
            (ANON, NO, "rd wr", &none, None),
            // There, wherever it may come from: nothing holds it back.
            (FILE, YES, "rd ex", &none, off),
            (SHARED, YES, "rd wr sh", &none, off),
            // Kernels that do not say, or say what nobody knows.
            (ANON, "", "rd wr", &always, None),
            (ANON, "THPeligible: 2\n", "rd wr", &always, None),
        ] {
            let got = told(head, eligible, flags, host);
            assert_eq!(got, wanted, "{head} {eligible} {flags}");
        }
    }

    #[test]
    fn an_unnamed_size_is_no_evidence() {
        let only_64k = Unadvised {
            anonymous: vec![64 << 10],
            ..Unadvised::default()
        };
        let head = "7f0000001000-7f000001f000 rw-p 00000000 00:00 0 ";
        assert_eq!(told(head, "THPeligible: 0\n", "rd wr", &only_64k), None);
    }
}
