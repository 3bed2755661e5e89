//! One mapping of an address space, as smaps shows it.

use mctl_abi::thp::Advice;
use mctl_sys::procfs::counters::{Counter, Want};
use mctl_sys::procfs::maps::Perms;
use mctl_sys::procfs::smaps::{SmapsEntry, ThpEligible};
use mctl_sys::procfs::vmflags::{KnownFlags, VmFlag, VmFlags};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::{Bytes, Coverage};
use crate::see::address_space::{Kind, ShmemDevices, kind};

/// One mapping. It borrows the listing's buffer: what is to be kept must be copied.
///
/// In JSON the addresses are hexadecimal text, since the highest ones do not fit a double; the
/// sizes are bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vma<'a> {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// What it is made of.
    pub kind: Kind,
    /// Its permissions.
    pub perms: Perms,
    /// Offset into the file in bytes; 0 without a file.
    pub offset: u64,
    /// The path or special name, raw as the kernel wrote it; see [`Vma::printable_name`].
    pub name: &'a [u8],
    /// What the program advised. The kernel maps thread stacks as if NOHUGEPAGE had been advised
    /// (Linux 6.7), and nothing tells the two apart.
    pub advice: Advice,
    /// Whether the kernel would put huge pages there now: of any size that is switched on, not
    /// only of the full one.
    pub thp_eligible: ThpEligible,
    /// How much of it there is.
    pub coverage: Coverage,
    /// The flags that are known here.
    pub flags: KnownFlags,
    /// All flags as the kernel wrote them, unknown ones included.
    pub flags_text: &'a [u8],
}

/// The counters that a [`Vma`] is made from; the others are not even parsed.
pub(crate) const WANTED: Want = Want::NONE
    .and(Counter::Rss)
    .and(Counter::Anonymous)
    .and(Counter::AnonHugePages)
    .and(Counter::ShmemPmdMapped)
    .and(Counter::FilePmdMapped)
    .and(Counter::SharedHugetlb)
    .and(Counter::PrivateHugetlb)
    .and(Counter::Swap);

impl<'a> Vma<'a> {
    /// From an entry of a smaps listing.
    #[must_use]
    pub fn from_smaps(entry: &SmapsEntry<'a>, shmem: &ShmemDevices) -> Vma<'a> {
        let flags = entry.flags.unwrap_or_else(|| VmFlags::parse(b""));
        let kind = kind(&entry.vma, flags.known(), shmem);
        let mut coverage = Coverage::from_counters(&entry.counters);
        coverage.size = Bytes(entry.vma.len());
        if kind == Kind::Shmem {
            // What is present and no private copy.
            coverage.shmem = coverage.rss.less(coverage.anonymous);
        }
        Vma {
            start: entry.vma.start,
            end: entry.vma.end,
            kind,
            perms: entry.vma.perms,
            offset: entry.vma.offset,
            name: entry.vma.name,
            advice: advice(flags.known()),
            thp_eligible: entry.thp_eligible,
            coverage,
            flags: flags.known(),
            flags_text: flags.text().trim_ascii(),
        }
    }

    /// The size in bytes.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "the kernel has no empty mappings"
    )]
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// The permissions as the kernel writes them, such as `rw-p`.
    #[must_use]
    pub fn perms_text(&self) -> String {
        self.perms.letters().map(char::from).iter().collect()
    }

    /// The name fit for a terminal and for JSON; see [`printable`](crate::printable).
    ///
    /// ```
    /// # use mctl::coverage::printable_name;
    /// assert_eq!(printable_name(b"/tmp/\xff\x1b[31m"), "/tmp/\\377\\033[31m");
    /// assert_eq!(printable_name("/tmp/ö".as_bytes()), "/tmp/ö");
    /// ```
    #[must_use]
    pub fn printable_name(&self) -> String {
        printable_name(self.name)
    }

    /// The flags as text, with bytes that are not ASCII escaped.
    #[must_use]
    pub fn printable_flags(&self) -> String {
        self.flags_text.escape_ascii().to_string()
    }

    /// Whether userfaultfd handles faults in it.
    #[must_use]
    pub const fn has_userfaultfd(&self) -> bool {
        self.flags.has(VmFlag::UffdMissing)
            || self.flags.has(VmFlag::UffdWriteProtect)
            || self.flags.has(VmFlag::UffdMinor)
    }
}

/// What a program advised, from the flags of a mapping.
fn advice(flags: KnownFlags) -> Advice {
    if flags.has(VmFlag::NoHugePage) {
        Advice::Nohugepage
    } else if flags.has(VmFlag::HugePage) {
        Advice::Hugepage
    } else {
        Advice::None
    }
}

/// As [`Vma::printable_name`], for any name.
#[must_use]
pub fn printable_name(name: &[u8]) -> String {
    mctl_sys::text::printable(name)
}

/// The word for a kind of mapping.
#[must_use]
pub const fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Anonymous => "anonymous",
        Kind::Shmem => "shmem",
        Kind::File => "file",
        Kind::Hugetlb => "hugetlb",
        Kind::Special => "special",
    }
}

/// The word for an advice; `None` where there is none.
#[must_use]
pub const fn advice_word(advice: Advice) -> Option<&'static str> {
    match advice {
        Advice::None => None,
        Advice::Hugepage => Some("hugepage"),
        Advice::Nohugepage => Some("nohugepage"),
    }
}

impl Serialize for Vma<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // What a newer kernel may say beyond yes and no is not made out to be either.
        let eligible = match self.thp_eligible {
            ThpEligible::Yes => Some(true),
            ThpEligible::No => Some(false),
            ThpEligible::Absent | ThpEligible::Other(_) => None,
        };
        let mut out = serializer.serialize_struct("Vma", 10)?;
        out.serialize_field("start", &format!("{:#x}", self.start))?;
        out.serialize_field("end", &format!("{:#x}", self.end))?;
        out.serialize_field("kind", kind_word(self.kind))?;
        out.serialize_field("perms", &self.perms_text())?;
        out.serialize_field("offset", &format!("{:#x}", self.offset))?;
        out.serialize_field("name", &self.printable_name())?;
        out.serialize_field("advice", &advice_word(self.advice))?;
        out.serialize_field("thp_eligible", &eligible)?;
        out.serialize_field("flags", &self.printable_flags())?;
        out.serialize_field("coverage", &self.coverage)?;
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use mctl_sys::procfs::maps::Dev;
    use mctl_sys::procfs::smaps::SmapsEntries;

    use super::*;

    const TEXT: &[u8] =
        b"7f0000000000-7f0000400000 rw-s 00200000 00:01 7       /memfd:\xff\x1b (deleted)\n\
        Size: 4096 kB\nRss: 3072 kB\nAnonymous: 0 kB\nShmemPmdMapped: 2048 kB\nSwap: 4 kB\n\
        NewCounter: 9 kB\nTHPeligible: 7\nVmFlags: rd wr sh zz nh \xfe \n";

    fn vma() -> Vma<'static> {
        let shmem = ShmemDevices::from_devices([Dev { major: 0, minor: 1 }]);
        Vma::from_smaps(&SmapsEntries::new(TEXT).next().unwrap().unwrap(), &shmem)
    }

    #[test]
    fn nothing_unknown_is_lost() {
        let vma = vma();
        assert_eq!((vma.kind, vma.advice), (Kind::Shmem, Advice::Nohugepage));
        assert_eq!(vma.name, b"/memfd:\xff\x1b (deleted)");
        assert_eq!(vma.thp_eligible, ThpEligible::Other(7));
        assert_eq!(vma.flags_text, b"rd wr sh zz nh \xfe");
        assert_eq!(vma.coverage.shmem, Bytes(3 << 20));
        assert_eq!(vma.coverage.shmem_small(), Bytes(1 << 20));
    }

    #[test]
    fn in_json() {
        let json = serde_json::to_value(vma()).unwrap();
        assert_eq!(json["start"], "0x7f0000000000");
        assert_eq!(json["kind"], "shmem");
        assert_eq!(json["perms"], "rw-s");
        assert_eq!(json["offset"], "0x200000");
        assert_eq!(json["name"], "/memfd:\\377\\033 (deleted)");
        assert_eq!(json["advice"], "nohugepage");
        assert!(json["thp_eligible"].is_null());
        assert_eq!(json["flags"], "rd wr sh zz nh \\xfe");
        assert_eq!(json["coverage"]["shmem_huge"], 2 << 20);
    }
}
