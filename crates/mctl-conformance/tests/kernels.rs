//! The model as each kernel that it can play, and the facts of the kernel that runs.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stop where a test would"
)]

use mctl_conformance::backend::model::ModelBackend;
use mctl_conformance::lang::{Needs, Setup, parse};
use mctl_conformance::report::{Report, built_in};
use mctl_conformance::run::{Verdict, run};
use mctl_model::{Feature, Features, KERNELS, Kernel, USUAL};

/// One scenario per feature: what it comes to with the feature, and the same steps without.
const SHOWS: [(Feature, &str, &str); 9] = [
    (
        Feature::ExceptAdvised,
        "p prctl thp-disable 1 2",
        "p prctl thp-disable 1 2 -> EINVAL",
    ),
    (
        Feature::MemoryMerge,
        "p prctl memory-merge 1",
        "p prctl memory-merge 1 -> EINVAL",
    ),
    (
        Feature::GuardRegions,
        "p map a 64K\np madvise a 4K guard-install",
        "p map a 64K\np madvise a 4K guard-install -> EINVAL",
    ),
    (
        Feature::OwnAdvice,
        "p map a 64K\np process-madvise p dontdump a 64K -> 64K",
        "p map a 64K\np process-madvise p dontdump a 64K -> EINVAL",
    ),
    (
        Feature::PidfdSelf,
        "p map a 64K\np process-madvise self cold a 64K -> 64K",
        "p map a 64K\np process-madvise self cold a 64K -> EBADF",
    ),
    (
        Feature::ThreadPidfds,
        "p pidfd f p thread",
        "p pidfd f p thread -> EINVAL",
    ),
    (
        Feature::TableReclaim,
        "p map a 2M\np touch a 4K write\np madvise a 2M dontneed\np madvise a 2M hugepage\n\
         p touch a 4K write\nexpect p huge a 2M 2M",
        "p map a 2M\np touch a 4K write\np madvise a 2M dontneed\np madvise a 2M hugepage\n\
         p touch a 4K write\nexpect p huge a 2M 0",
    ),
    (
        Feature::StrictDofork,
        "p map a 2M hugetlb noreserve\np madvise a 2M dofork -> EINVAL",
        "p map a 2M hugetlb noreserve\np madvise a 2M dofork",
    ),
    (
        Feature::PartialCollapse,
        "p map a 4M\np touch a 4K write\np madvise a+512K 512K collapse",
        "p map a 4M\np touch a 4K write\np madvise a+512K 512K collapse -> EINVAL",
    ),
];

/// With the feature and without it, and neither the other way round.
#[test]
fn each_feature_shows_on_the_model() {
    for (feature, with, without) in SHOWS {
        for (there, text, holds) in [
            (true, with, true),
            (false, without, true),
            (true, without, false),
            (false, with, false),
        ] {
            let key = if there { "has" } else { "lacks" };
            let text = format!(
                "case \"x\"\nhost thp=madvise {key}={}\nspawn p\n{text}",
                feature.word()
            );
            let scenario = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            let verdict = run(&scenario, &mut ModelBackend::default());
            assert_eq!(verdict == Verdict::Holds, holds, "{text}\n{verdict:?}");
        }
    }
}

/// Each is in the list: a new feature comes with what it shows.
#[test]
fn every_feature_has_its_scenario() {
    let shown: Features = SHOWS.iter().map(|(feature, ..)| *feature).collect();
    assert_eq!(shown.missing(), Features::NONE);
}

/// No sentence differs on the model as any of them: what a case needs of the kernel it names.
#[test]
fn cases_name_what_they_need_of_a_kernel() {
    let cases = built_in().expect("the cases");
    let mut before = 0;
    for release in KERNELS {
        let mut model = ModelBackend::default().under(Kernel::of(release));
        let report = Report::run(&cases, &mut [&mut model]);
        assert!(report.is_clean(), "{release:?}\n{}", report.table(false));
        let counts = report.counts("model");
        assert!(counts.not_possible > 0, "{release:?} has everything");
        if release <= USUAL {
            assert!(
                counts.holds > before,
                "{release:?} holds no more than before"
            );
            before = counts.holds;
        }
    }
}

/// A kernel's own features are its own: what a scenario needs cannot be set on it.
#[test]
fn needs_of_a_kernel_are_held_against_it() {
    let guard = Features::NONE.with(Feature::GuardRegions);
    let old = Setup::under(Kernel::of((6, 12)));
    let new = Setup::under(Kernel::of(USUAL));
    // Neither found: nobody knows.
    let untried = Setup {
        features: Features::NONE,
        lacks: Features::NONE,
        ..Setup::default()
    };
    for (needs, host, enough) in [
        (
            Needs {
                has: guard,
                ..Needs::default()
            },
            &new,
            true,
        ),
        (
            Needs {
                has: guard,
                ..Needs::default()
            },
            &old,
            false,
        ),
        (
            Needs {
                has: guard,
                ..Needs::default()
            },
            &untried,
            false,
        ),
        (
            Needs {
                lacks: guard,
                ..Needs::default()
            },
            &new,
            false,
        ),
        (
            Needs {
                lacks: guard,
                ..Needs::default()
            },
            &old,
            true,
        ),
        (
            Needs {
                lacks: guard,
                ..Needs::default()
            },
            &untried,
            false,
        ),
    ] {
        assert_eq!(
            needs.missing_on(host).is_none(),
            enough,
            "{needs:?} on {host:?}"
        );
        // A model that is not pinned becomes what is needed.
        assert_eq!(needs.missing_on(&needs.over(host)), None, "{needs:?}");
    }
    let scenario = parse("case \"x\"\nhost has=guard-regions\nspawn p").expect("it parses");
    let mut old = ModelBackend::default().under(Kernel::of((6, 12)));
    assert!(matches!(run(&scenario, &mut old), Verdict::NotPossible(why) if why.contains("6.13")));
}
