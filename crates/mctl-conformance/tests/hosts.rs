//! A case names what it needs of the host; what it does not name does not matter to it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stop where a test would"
)]

use mctl_abi::thp::Host;
use mctl_conformance::backend::model::ModelBackend;
use mctl_conformance::lang::{Needs, Setup};
use mctl_conformance::report::built_in;
use mctl_conformance::run::{Verdict, run};

/// Hosts as they are: one knob away from the usual one each, and several at once.
fn hosts() -> Vec<(String, Setup)> {
    let mut hosts = Vec::new();
    // Few mappings, so that filling them up is quick.
    let usual = Setup {
        max_map_count: 500,
        ..Setup::default()
    };
    let kinds = [Host::Always, Host::Madvise, Host::Never];
    for thp in kinds {
        hosts.push(Setup {
            thp,
            ..usual.clone()
        });
        // A laptop of today: zram, the distributions' limit, Yama, a pool.
        hosts.push(Setup {
            thp,
            shmem: Some(Host::Madvise),
            swap_pages: 1 << 20,
            hugetlb_pages: 16,
            max_map_count: 2_000,
            yama: 1,
            ..usual.clone()
        });
    }
    for shmem in [Some(Host::Always), Some(Host::Madvise), None] {
        hosts.push(Setup {
            shmem,
            ..usual.clone()
        });
    }
    for (swap_pages, hugetlb_pages, max_map_count, yama) in [
        (1 << 18, 0, 500, 0),
        (0, 8, 500, 0),
        (0, 0, 2_000, 0),
        (0, 0, 500, 1),
        (0, 0, 500, 2),
    ] {
        hosts.push(Setup {
            swap_pages,
            hugetlb_pages,
            max_map_count,
            yama,
            ..usual.clone()
        });
    }
    hosts
        .into_iter()
        .map(|host| (format!("{host:?}"), host))
        .collect()
}

#[test]
fn what_a_case_does_not_name_does_not_matter() {
    let cases = built_in().expect("the cases");
    let mut wrong = Vec::new();
    for (name, host) in hosts() {
        let mut model = ModelBackend::default().on_host(host);
        for case in &cases {
            let verdict = run(&case.scenario, &mut model);
            if verdict != Verdict::Holds {
                wrong.push(format!("{} on {name}: {verdict:?}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} \n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn needs_are_held_against_a_host() {
    let host = Setup {
        swap_pages: 100,
        hugetlb_pages: 4,
        shmem: None,
        ..Setup::default()
    };
    assert_eq!(Needs::default().missing_on(&host), None);
    for (needs, enough) in [
        (
            Needs {
                swap_pages: Some(100),
                ..Needs::default()
            },
            true,
        ),
        (
            Needs {
                swap_pages: Some(101),
                ..Needs::default()
            },
            false,
        ),
        (
            Needs {
                swap_pages: Some(0),
                ..Needs::default()
            },
            false,
        ),
        (
            Needs {
                hugetlb_pages: Some(2),
                ..Needs::default()
            },
            true,
        ),
        (
            Needs {
                hugetlb_pages: Some(0),
                ..Needs::default()
            },
            false,
        ),
        (
            Needs {
                max_map_count: Some(8),
                ..Needs::default()
            },
            true,
        ),
        (
            Needs {
                max_map_count: Some(1 << 20),
                ..Needs::default()
            },
            false,
        ),
        (
            Needs {
                thp: Some(Host::Madvise),
                ..Needs::default()
            },
            true,
        ),
        (
            Needs {
                thp: Some(Host::Never),
                ..Needs::default()
            },
            false,
        ),
        (
            Needs {
                shmem: Some(Host::Never),
                ..Needs::default()
            },
            false,
        ),
        (
            Needs {
                yama: Some(0),
                ..Needs::default()
            },
            true,
        ),
        (
            Needs {
                yama: Some(1),
                ..Needs::default()
            },
            false,
        ),
    ] {
        assert_eq!(needs.missing_on(&host).is_none(), enough, "{needs:?}");
    }
}
