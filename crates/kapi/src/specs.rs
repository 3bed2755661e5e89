//! The project's own specifications, built in: the source of its man pages and error texts.

/// `(file name, text)`.
pub const ALL: &[(&str, &str)] = &[
    (
        "specs/madvise.kapi",
        include_str!("../../../specs/madvise.kapi"),
    ),
    ("specs/mctl.kapi", include_str!("../../../specs/mctl.kapi")),
    (
        "specs/mctl_process_madvise.kapi",
        include_str!("../../../specs/mctl_process_madvise.kapi"),
    ),
    (
        "specs/mincore.kapi",
        include_str!("../../../specs/mincore.kapi"),
    ),
    (
        "specs/mlock.kapi",
        include_str!("../../../specs/mlock.kapi"),
    ),
    (
        "specs/mlock2.kapi",
        include_str!("../../../specs/mlock2.kapi"),
    ),
    (
        "specs/mlockall.kapi",
        include_str!("../../../specs/mlockall.kapi"),
    ),
    (
        "specs/munlock.kapi",
        include_str!("../../../specs/munlock.kapi"),
    ),
    (
        "specs/munlockall.kapi",
        include_str!("../../../specs/munlockall.kapi"),
    ),
    (
        "specs/pidfd_open.kapi",
        include_str!("../../../specs/pidfd_open.kapi"),
    ),
    (
        "specs/pidfd_send_signal.kapi",
        include_str!("../../../specs/pidfd_send_signal.kapi"),
    ),
    (
        "specs/prctl-merge.kapi",
        include_str!("../../../specs/prctl-merge.kapi"),
    ),
    (
        "specs/prctl-thp.kapi",
        include_str!("../../../specs/prctl-thp.kapi"),
    ),
    (
        "specs/process_madvise.kapi",
        include_str!("../../../specs/process_madvise.kapi"),
    ),
];
