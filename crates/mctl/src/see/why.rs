//! "Why not huge?": for every byte of memory that is not in a huge page, the reason.
//!
//! The answer is a pure function of how the host is set, the policy in force, and what smaps says
//! of a mapping. It is about huge pages of the full size, which are what
//! [`Coverage`] counts. What no setting could change is named first: a mapping that is too small
//! stays small under every policy.

mod reason;
mod shares;

use mctl_abi::Thp;
use mctl_abi::thp::{Advice, Host, ThpDisable, may_be_huge};
use mctl_sys::procfs::smaps::ThpEligible;
use serde::Serialize;

use crate::error::Result;
use crate::host::{KnobValue, THP_DIR, ThpHost};
use crate::see::address_space::Kind;
use crate::see::coverage::{Bytes, Coverage, Vma};
use crate::see::policy::Known;
use crate::target::Target;

pub use reason::Reason;
pub use shares::{Share, Shares};

/// Coverage from which on nothing is said to be in the way any more, in per cent.
pub const COVERED_PERCENT: f64 = 95.0;

/// The knob that decides on huge pages of the full size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostKnob {
    /// Its path.
    pub path: String,
    /// What it says.
    pub value: KnobValue,
}

/// What is the same for all mappings of a process: the host's setting and the policy in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    host: Option<Host>,
    knob: Option<HostKnob>,
    policy: Known<Thp>,
    huge: u64,
}

impl Setting {
    /// From the host's knobs and a reading's [`thp()`](crate::Reading::thp). `None` for the host:
    /// a kernel without transparent huge pages.
    ///
    /// ```
    /// use mctl::why::Setting;
    /// use mctl::{Look, Target, ThpHost, read_policy};
    ///
    /// let target = Target::own()?;
    /// let policy = read_policy(&target, Look::Proc)?.thp();
    /// let setting = Setting::new(ThpHost::read()?.as_ref(), policy);
    /// let report = setting.report(&target)?;
    /// assert_eq!(report.why.anon.total(), report.coverage.anon_small());
    /// println!("{}: {}", target.pid(), report.summary());
    /// # Ok::<(), mctl::Error>(())
    /// ```
    #[must_use]
    pub fn new(host: Option<&ThpHost>, policy: Known<Thp>) -> Setting {
        let huge = Bytes::from_kb(host.map_or(2048, |host| host.pmd_kb)).0;
        Setting {
            host: host.map(ThpHost::pmd),
            knob: host.map(knob),
            policy,
            // Also a nonsensical value must not lead to a division by zero.
            huge: if huge.is_power_of_two() {
                huge
            } else {
                2 << 20
            },
        }
    }

    /// The knob that decides, to be named where [`Reason::is_host`].
    #[must_use]
    pub fn knob(&self) -> Option<&HostKnob> {
        self.knob.as_ref()
    }

    /// Explains one mapping.
    #[must_use]
    pub fn explain(&self, vma: &Vma<'_>) -> Why {
        let mut why = Why {
            swapped: vma.coverage.swap,
            ..Why::default()
        };
        if vma.kind == Kind::Anonymous {
            why.unpopulated = vma
                .coverage
                .size
                .less(vma.coverage.rss)
                .less(vma.coverage.swap);
        }
        self.explain_anonymous(vma, &mut why.anon);
        self.explain_shmem(vma, &mut why.shmem);
        why
    }

    /// Reads a process's mappings and explains all of them. Costs what
    /// [`Coverage::by_vma`] costs.
    ///
    /// # Errors
    /// As [`Coverage::by_vma`].
    pub fn report(&self, target: &Target) -> Result<Report> {
        target.look_in_one_task(|| self.report_here(target))
    }

    fn report_here(&self, target: &Target) -> Result<Report> {
        let mut why = Why::default();
        let mut mappings = 0;
        let mut advised = Advised::default();
        let coverage = Coverage::by_vma(target, |vma| {
            mappings += 1;
            advised.see(vma);
            why.add(&self.explain(vma));
            Ok::<(), crate::Error>(())
        })?;
        Ok(Report {
            coverage,
            why,
            mappings,
            advised,
            knob: self.knob.clone(),
        })
    }

    fn explain_anonymous(&self, vma: &Vma<'_>, shares: &mut Shares) {
        let small = vma.coverage.anon_small();
        match vma.kind {
            // Copies of the pages of a private file or shmem mapping are never huge.
            Kind::File | Kind::Shmem => shares.put(Reason::PrivateCopies, small),
            Kind::Hugetlb => shares.put(Reason::Hugetlb, small),
            Kind::Special => shares.put(Reason::Special, small),
            Kind::Anonymous => {
                // Anonymous memory has no offset to be aligned with.
                let room = self.room(vma.start, vma.end);
                let rest = structural(small, vma.coverage.anon_huge, room, shares);
                shares.put(self.cause(vma, self.host), rest);
            }
        }
    }

    fn explain_shmem(&self, vma: &Vma<'_>, shares: &mut Shares) {
        if vma.kind != Kind::Shmem {
            return;
        }
        let aligned = vma.start.wrapping_sub(vma.offset).is_multiple_of(self.huge);
        let room = match aligned {
            true => self.room(vma.start, vma.end),
            // No page of the file has the place in memory that a huge page asks for.
            false => Bytes::ZERO,
        };
        let small = vma.coverage.shmem_small();
        let rest = structural(small, vma.coverage.shmem_huge, room, shares);
        // shmem has knobs and mount options of its own. They are not read: the kernel's own word
        // on the mapping takes their place.
        let host = match vma.thp_eligible {
            ThpEligible::Yes | ThpEligible::Absent | ThpEligible::Other(_) => Host::Always,
            ThpEligible::No => Host::Never,
        };
        let reason = match self.cause(vma, self.host.map(|_| host)) {
            Reason::HostNever | Reason::HostMadvise => Reason::HostShmem,
            other => other,
        };
        shares.put(reason, rest);
    }

    /// How many bytes of a range lie in whole, aligned huge pages.
    fn room(&self, start: u64, end: u64) -> Bytes {
        let mask = self.huge.saturating_sub(1);
        let first = start.saturating_add(mask) & !mask;
        Bytes((end & !mask).saturating_sub(first))
    }

    /// What keeps memory small that could be huge by its place.
    fn cause(&self, vma: &Vma<'_>, host: Option<Host>) -> Reason {
        let Some(host) = host else {
            return Reason::NoThp;
        };
        let policy = match self.policy {
            // As the host is set the two come to the same: its setting is a reason for both.
            Known::Is(policy) | Known::Either(policy, _) => policy,
            Known::Other(_) | Known::Unknown => Thp::Inherit,
        };
        let certain = matches!(self.policy, Known::Is(_) | Known::Either(..));
        let may = may_be_huge(host, policy, ThpDisable::Off, vma.advice);
        match (may, vma.thp_eligible) {
            (true, ThpEligible::No) => Reason::Unexplained,
            // Without the policy the kernel knows better, unless it means another size.
            (false, ThpEligible::Yes)
                if !certain && host != Host::Never && vma.advice != Advice::Nohugepage =>
            {
                Reason::NotCollapsed
            }
            (true, _) if vma.has_userfaultfd() => Reason::Userfaultfd,
            (true, _) => Reason::NotCollapsed,
            (false, _) => held_back(host, policy, vma.advice),
        }
    }
}

/// Takes out what cannot be huge by its place, and returns the rest.
///
/// `room` bytes of the mapping lie in whole huge pages, `huge` of them are huge. What is present
/// beyond that room must be at the edges. It is the least that can be there; smaps does not say
/// how much exactly.
fn structural(small: Bytes, huge: Bytes, room: Bytes, shares: &mut Shares) -> Bytes {
    if room.is_zero() {
        shares.put(Reason::TooSmall, small);
        return Bytes::ZERO;
    }
    let edges = small.less(room.less(huge));
    shares.put(Reason::Edges, edges);
    small.less(edges)
}

/// Which of host, policy and advice holds it back, where one of them does. What is the hardest to
/// change comes first.
fn held_back(host: Host, policy: Thp, advice: Advice) -> Reason {
    match (host, policy, advice) {
        (Host::Never, _, _) => Reason::HostNever,
        (_, Thp::Never, _) => Reason::PolicyNever,
        (_, _, Advice::Nohugepage) => Reason::AdviceNohugepage,
        (_, Thp::Advised, _) => Reason::PolicyAdvised,
        _ => Reason::HostMadvise,
    }
}

fn knob(host: &ThpHost) -> HostKnob {
    let own = host
        .sizes
        .iter()
        .find(|size| size.kb == host.pmd_kb && size.knob != KnobValue::Inherit);
    match own {
        Some(size) => HostKnob {
            path: format!("{THP_DIR}/hugepages-{}kB/enabled", size.kb),
            value: size.knob.clone(),
        },
        None => HostKnob {
            path: format!("{THP_DIR}/enabled"),
            value: host.enabled.clone(),
        },
    }
}

/// Why memory is not huge. All sizes are bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Why {
    /// Reasons for the anonymous memory that is present and not huge. Their bytes add up to
    /// [`Coverage::anon_small`].
    pub anon: Shares,
    /// The same for shared memory. They add up to [`Coverage::shmem_small`].
    pub shmem: Shares,
    /// What is on swap: it comes back in small pages.
    pub swapped: Bytes,
    /// Anonymous memory that was mapped but never written, or was given back.
    pub unpopulated: Bytes,
}

impl Why {
    /// Adds another mapping's reasons.
    pub fn add(&mut self, other: &Why) {
        self.anon.add(&other.anon);
        self.shmem.add(&other.shmem);
        self.swapped += other.swapped;
        self.unpopulated += other.unpopulated;
    }

    /// The reason for most of the memory that is not huge, anonymous or shared.
    #[must_use]
    pub fn dominant(&self) -> Option<Share> {
        let mut both = self.anon;
        both.add(&self.shmem);
        both.dominant()
    }

    /// The dominant reason in a few words, or `-` where the memory is covered
    /// ([`COVERED_PERCENT`]) or there is none.
    #[must_use]
    pub fn summary(&self, coverage: &Coverage) -> &'static str {
        if coverage
            .percent()
            .is_some_and(|percent| percent >= COVERED_PERCENT)
        {
            return "-";
        }
        match self.dominant() {
            Some(share) => share.reason.phrase(),
            None if !self.swapped.is_zero() => "swapped",
            None => "-",
        }
    }
}

/// The mappings that ask for huge pages (`MADV_HUGEPAGE`), whoever gave them the advice: the
/// program, or `mctl set hugepage` on a host that says `madvise`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Advised {
    /// How many.
    pub mappings: u64,
    /// What they span, populated or not.
    pub bytes: Bytes,
}

impl Advised {
    /// Counts a mapping, if it is one.
    pub fn see(&mut self, vma: &Vma<'_>) {
        if vma.advice == Advice::Hugepage {
            self.mappings = self.mappings.saturating_add(1);
            self.bytes += vma.coverage.size;
        }
    }
}

/// The answer for a whole address space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How much there is.
    pub coverage: Coverage,
    /// Why the rest is not huge.
    pub why: Why,
    /// How many mappings there are.
    pub mappings: u64,
    /// Those that ask for huge pages.
    pub advised: Advised,
    /// The knob that decides for all; `None` in a kernel without transparent huge pages.
    pub knob: Option<HostKnob>,
}

impl Report {
    /// As [`Why::summary`].
    #[must_use]
    pub fn summary(&self) -> &'static str {
        self.why.summary(&self.coverage)
    }
}

#[cfg(test)]
mod tests;
