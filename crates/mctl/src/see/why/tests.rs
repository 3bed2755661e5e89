use mctl_sys::procfs::maps::Perms;
use mctl_sys::procfs::vmflags::{KnownFlags, VmFlag};
use proptest::prelude::*;

use super::*;
use crate::host::ThpSize;

const MIB: u64 = 1 << 20;

fn host(enabled: KnobValue) -> ThpHost {
    ThpHost {
        enabled,
        sizes: vec![ThpSize {
            kb: 2048,
            knob: KnobValue::Inherit,
        }],
        pmd_kb: 2048,
    }
}

fn setting(enabled: KnobValue, policy: Thp) -> Setting {
    Setting::new(Some(&host(enabled)), Known::Is(policy))
}

/// Eight aligned MiB of anonymous memory, all present and small.
fn vma() -> Vma<'static> {
    Vma {
        start: 64 * MIB,
        end: 72 * MIB,
        kind: Kind::Anonymous,
        perms: Perms::default(),
        offset: 0,
        name: b"",
        advice: Advice::None,
        thp_eligible: ThpEligible::Absent,
        coverage: Coverage {
            size: Bytes(8 * MIB),
            rss: Bytes(8 * MIB),
            anonymous: Bytes(8 * MIB),
            ..Coverage::default()
        },
        flags: KnownFlags::default(),
        flags_text: b"",
    }
}

fn advised(advice: Advice) -> Vma<'static> {
    Vma { advice, ..vma() }
}

/// The only reason, for all of the anonymous memory.
fn only(setting: &Setting, vma: &Vma<'_>) -> Reason {
    let why = setting.explain(vma);
    let shares = why.anon.list();
    assert_eq!(shares.len(), 1, "{shares:?}");
    assert_eq!(shares[0].bytes, vma.coverage.anon_small());
    shares[0].reason
}

#[test]
fn the_table() {
    use Advice::{Hugepage, Nohugepage, None};
    use KnobValue::{Always, Madvise, Never};
    use Reason::{
        AdviceNohugepage, HostMadvise, HostNever, NotCollapsed, PolicyAdvised, PolicyNever,
    };
    for (knob, policy, advice, wanted) in [
        (Always, Thp::Inherit, None, NotCollapsed),
        (Always, Thp::Inherit, Hugepage, NotCollapsed),
        (Always, Thp::Inherit, Nohugepage, AdviceNohugepage),
        (Madvise, Thp::Inherit, None, HostMadvise),
        (Madvise, Thp::Inherit, Hugepage, NotCollapsed),
        (Madvise, Thp::Inherit, Nohugepage, AdviceNohugepage),
        (Madvise, Thp::Always, None, NotCollapsed),
        (Madvise, Thp::Always, Nohugepage, AdviceNohugepage),
        (Madvise, Thp::Advised, None, PolicyAdvised),
        (Always, Thp::Advised, None, PolicyAdvised),
        (Always, Thp::Advised, Hugepage, NotCollapsed),
        (Always, Thp::Never, None, PolicyNever),
        (Madvise, Thp::Never, Hugepage, PolicyNever),
        (Madvise, Thp::Never, Nohugepage, PolicyNever),
        (Never, Thp::Inherit, Hugepage, HostNever),
        (Never, Thp::Always, Hugepage, HostNever),
        (Never, Thp::Never, None, HostNever),
        (
            KnobValue::Other("perhaps".into()),
            Thp::Inherit,
            Hugepage,
            HostNever,
        ),
    ] {
        let got = only(&setting(knob.clone(), policy), &advised(advice));
        assert_eq!(got, wanted, "{knob:?} {policy:?} {advice:?}");
    }
    let none = Setting::new(Option::None, Known::Is(Thp::Inherit));
    assert_eq!(only(&none, &vma()), Reason::NoThp);
    assert_eq!(none.knob(), Option::None);
}

#[test]
fn the_kernels_own_word() {
    let with = |advice, thp_eligible| Vma {
        thp_eligible,
        ..advised(advice)
    };
    let madvise = setting(KnobValue::Madvise, Thp::Inherit);
    let refused = with(Advice::Hugepage, ThpEligible::No);
    assert_eq!(only(&madvise, &refused), Reason::Unexplained);
    // Eligible, but for another size: the full one is what counts here.
    let other_size = with(Advice::None, ThpEligible::Yes);
    assert_eq!(only(&madvise, &other_size), Reason::HostMadvise);
    // Where the policy is not known, it may be "always".
    let unread = Setting::new(Some(&host(KnobValue::Madvise)), Known::Unknown);
    assert_eq!(only(&unread, &other_size), Reason::NotCollapsed);
    assert_eq!(only(&unread, &advised(Advice::None)), Reason::HostMadvise);
    let never = Setting::new(Some(&host(KnobValue::Never)), Known::Other(9));
    assert_eq!(only(&never, &other_size), Reason::HostNever);
    let armed = Vma {
        flags: KnownFlags::default().and(VmFlag::UffdMissing),
        ..with(Advice::Hugepage, ThpEligible::Yes)
    };
    assert_eq!(only(&madvise, &armed), Reason::Userfaultfd);
}

#[test]
fn place_comes_before_policy() {
    let never = setting(KnobValue::Never, Thp::Never);
    let kind = |kind| Vma { kind, ..vma() };
    assert_eq!(only(&never, &kind(Kind::File)), Reason::PrivateCopies);
    assert_eq!(only(&never, &kind(Kind::Shmem)), Reason::PrivateCopies);
    assert_eq!(only(&never, &kind(Kind::Special)), Reason::Special);
    assert_eq!(only(&never, &kind(Kind::Hugetlb)), Reason::Hugetlb);
    for (start, end) in [(64, 65), (65, 66), (65, 67)] {
        let small = Vma {
            start: start * MIB,
            end: end * MIB,
            ..vma()
        };
        assert_eq!(only(&never, &small), Reason::TooSmall, "{start} {end}");
    }
}

#[test]
fn edges() {
    // 1 MiB, two huge pages, 1 MiB: six in all.
    let mut vma = Vma {
        start: 65 * MIB,
        end: 71 * MIB,
        ..advised(Advice::Hugepage)
    };
    let madvise = setting(KnobValue::Madvise, Thp::Inherit);
    for (anonymous, huge, edges, inside) in [
        (6, 4, 2, 0),
        (6, 2, 2, 2),
        (6, 0, 2, 4),
        (3, 2, 0, 1),
        (5, 4, 1, 0),
        (4, 4, 0, 0),
        (1, 0, 0, 1),
    ] {
        vma.coverage.anonymous = Bytes(anonymous * MIB);
        vma.coverage.anon_huge = Bytes(huge * MIB);
        let why = madvise.explain(&vma);
        assert_eq!(why.anon.of(Reason::Edges), Bytes(edges * MIB));
        assert_eq!(why.anon.of(Reason::NotCollapsed), Bytes(inside * MIB));
    }
}

#[test]
fn shared_memory() {
    let mut vma = Vma {
        kind: Kind::Shmem,
        thp_eligible: ThpEligible::No,
        ..vma()
    };
    vma.coverage.anonymous = Bytes::ZERO;
    vma.coverage.shmem = Bytes(8 * MIB);
    let reason = |setting: &Setting, vma: &Vma<'_>| {
        let why = setting.explain(vma);
        assert_eq!(why.shmem.total(), vma.coverage.shmem_small());
        assert_eq!(why.anon.total(), Bytes::ZERO);
        why.dominant().unwrap().reason
    };
    // enabled is not its knob.
    let inherit = setting(KnobValue::Never, Thp::Inherit);
    assert_eq!(reason(&inherit, &vma), Reason::HostShmem);
    vma.thp_eligible = ThpEligible::Yes;
    assert_eq!(reason(&inherit, &vma), Reason::NotCollapsed);
    let never = setting(KnobValue::Always, Thp::Never);
    assert_eq!(reason(&never, &vma), Reason::PolicyNever);
    vma.offset = MIB;
    assert_eq!(reason(&never, &vma), Reason::TooSmall);
}

/// The few pages of a program that has its memory in shared mappings are not what the answer is about.
#[test]
fn shared_memory_counts_as_much_as_anonymous() {
    let coverage = Coverage {
        anonymous: Bytes(104 << 10),
        anon_huge: Bytes(104 << 10),
        shmem: Bytes(256 << 20),
        ..Coverage::default()
    };
    assert!(coverage.percent().is_some_and(|percent| percent < 1.0));
    let mut why = Why::default();
    why.anon.put(Reason::TooSmall, Bytes(4096));
    why.shmem.put(Reason::HostShmem, coverage.shmem_small());
    assert_eq!(why.summary(&coverage), Reason::HostShmem.phrase());
}

#[test]
fn what_is_not_there() {
    let mut vma = vma();
    vma.coverage.anonymous = Bytes::ZERO;
    vma.coverage.rss = Bytes::ZERO;
    vma.coverage.swap = Bytes(MIB);
    let why = setting(KnobValue::Madvise, Thp::Inherit).explain(&vma);
    assert_eq!(why.anon.total(), Bytes::ZERO);
    assert_eq!((why.swapped, why.unpopulated), (Bytes(MIB), Bytes(7 * MIB)));
    assert_eq!(why.summary(&vma.coverage), "swapped");
    assert_eq!(Why::default().summary(&Coverage::default()), "-");
}

#[test]
fn the_summary_is_the_largest_reason_until_it_is_covered() {
    let madvise = setting(KnobValue::Madvise, Thp::Inherit);
    let mut vma = vma();
    let says = |vma: &Vma<'_>| madvise.explain(vma).summary(&vma.coverage);
    assert_eq!(says(&vma), "host: madvise, not advised");
    vma.advice = Advice::Hugepage;
    vma.coverage.anon_huge = Bytes(6 * MIB);
    assert_eq!(says(&vma), "not collapsed yet");
    vma.coverage.anon_huge = Bytes(8 * MIB);
    assert_eq!(says(&vma), "-");
    let never = setting(KnobValue::Madvise, Thp::Never);
    vma.coverage.anon_huge = Bytes::ZERO;
    assert_eq!(never.explain(&vma).summary(&vma.coverage), "policy: never");
}

#[test]
fn the_knob_that_decides_is_named() {
    let inherits = setting(KnobValue::Madvise, Thp::Inherit);
    let named = inherits.knob().unwrap();
    assert!(named.path.ends_with("/transparent_hugepage/enabled"));
    let mut own = host(KnobValue::Madvise);
    own.sizes[0].knob = KnobValue::Never;
    let own = Setting::new(Some(&own), Known::Is(Thp::Inherit));
    assert!(
        own.knob()
            .unwrap()
            .path
            .ends_with("/hugepages-2048kB/enabled")
    );
    assert_eq!(only(&own, &advised(Advice::Hugepage)), Reason::HostNever);
}

#[test]
fn in_json() {
    let why = setting(KnobValue::Madvise, Thp::Inherit).explain(&vma());
    assert_eq!(
        serde_json::to_string(&why).unwrap(),
        r#"{"anon":[{"reason":"host-madvise","bytes":8388608}],"shmem":[],"swapped":0,"unpopulated":0}"#
    );
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::Anonymous,
        Kind::Shmem,
        Kind::File,
        Kind::Hugetlb,
        Kind::Special,
    ])
}

fn any_vma() -> impl Strategy<Value = Vma<'static>> {
    let eligible = prop::sample::select(vec![
        ThpEligible::Absent,
        ThpEligible::No,
        ThpEligible::Yes,
        ThpEligible::Other(7),
    ]);
    let advice = prop::sample::select(Advice::ALL.to_vec());
    let place = (any::<u64>(), 0..64 * MIB, any::<u64>());
    let sizes = prop::array::uniform4(0..64 * MIB);
    (any_kind(), eligible, advice, place, sizes, any::<bool>()).prop_map(
        |(kind, thp_eligible, advice, (start, len, offset), sizes, armed)| {
            let [rss, anonymous, anon_huge, shmem] = sizes.map(Bytes);
            let mut vma = Vma {
                start,
                end: start.saturating_add(len),
                kind,
                offset,
                advice,
                thp_eligible,
                ..vma()
            };
            if armed {
                vma.flags = vma.flags.and(VmFlag::UffdMinor);
            }
            vma.coverage = Coverage {
                rss,
                anonymous,
                anon_huge,
                shmem: if kind == Kind::Shmem {
                    shmem
                } else {
                    Bytes::ZERO
                },
                swap: rss,
                ..vma.coverage
            };
            vma
        },
    )
}

proptest! {
    #[test]
    fn reasons_add_up(
        vmas in prop::collection::vec(any_vma(), 0..20),
        knob in prop::sample::select(vec![KnobValue::Always, KnobValue::Madvise, KnobValue::Never]),
        policy in prop::sample::select(vec![
            Known::Is(Thp::Inherit), Known::Is(Thp::Always), Known::Is(Thp::Never),
            Known::Is(Thp::Advised), Known::Other(4), Known::Unknown,
        ]),
        no_thp in any::<bool>(),
        pmd_kb in prop::sample::select(vec![2048, 32_768, 0, 3, u64::MAX]),
    ) {
        let host = ThpHost { pmd_kb, ..host(knob) };
        let setting = Setting::new((!no_thp).then_some(&host), policy);
        let (mut why, mut anon, mut shmem) = (Why::default(), Bytes::ZERO, Bytes::ZERO);
        for vma in &vmas {
            let one = setting.explain(vma);
            prop_assert_eq!(one.anon.total(), vma.coverage.anon_small());
            prop_assert_eq!(one.shmem.total(), vma.coverage.shmem_small());
            anon += vma.coverage.anon_small();
            shmem += vma.coverage.shmem_small();
            why.add(&one);
        }
        prop_assert_eq!(why.anon.total(), anon);
        prop_assert_eq!(why.shmem.total(), shmem);
        let listed = why.anon.list();
        prop_assert_eq!(listed.first().copied(), why.anon.dominant());
        prop_assert_eq!(listed.iter().map(|share| share.bytes).sum::<Bytes>(), anon);
    }
}
