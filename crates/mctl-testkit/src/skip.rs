//! Skipping a test in the open. On CI nothing that the machine can do may be skipped.

/// Whether a test may be skipped for this reason: anywhere but on CI (`CI=true`), and there if one
/// of the comma-separated words of `MCTL_MAY_SKIP` occurs in the reason.
#[must_use]
pub fn may_skip(reason: &str) -> bool {
    let ci = std::env::var("CI").is_ok_and(|v| v == "true" || v == "1");
    let listed = std::env::var("MCTL_MAY_SKIP").unwrap_or_default();
    allowed(ci, &listed, reason)
}

fn allowed(ci: bool, listed: &str, reason: &str) -> bool {
    !ci || listed
        .split(',')
        .map(str::trim)
        .any(|w| !w.is_empty() && reason.contains(w))
}

/// Says on stderr that a test is skipped, and why. Used by [`skip!`](crate::skip!).
///
/// # Panics
///
/// On CI, unless `MCTL_MAY_SKIP` allows it.
#[track_caller]
pub fn note_skip(reason: &str) {
    assert!(
        may_skip(reason),
        "may not be skipped on CI (see MCTL_MAY_SKIP): {reason}"
    );
    eprintln!("skipped: {reason}");
}

/// Whether we are root.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Skips the rest of this test: `skip!("reason")`, with format arguments if need be.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        $crate::note_skip(&format!($($reason)+));
        return;
    }};
}

/// Skips the rest of this test unless it runs as root.
#[macro_export]
macro_rules! require_root {
    () => {
        if !$crate::is_root() {
            $crate::skip!("needs root");
        }
    };
}

/// Starts a fixture; skips the test where the machine cannot run it, panics on any other error.
#[macro_export]
macro_rules! start {
    ($name:expr $(, $arg:expr)* $(,)?) => {
        $crate::start!(@ $crate::Fixture::builder($name)$(.arg($arg))*)
    };
    (@ $builder:expr) => {
        match $builder.start() {
            Ok(fixture) => fixture,
            Err(error @ $crate::KitError::Unavailable { .. }) => $crate::skip!("{error}"),
            Err(error) => panic!("{error}"),
        }
    };
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn only_ci_is_strict_and_only_about_what_is_not_listed() {
        assert!(allowed(false, "", "needs root"));
        assert!(!allowed(true, "", "needs root"));
        assert!(!allowed(true, "io_uring,, ", "needs root"));
        assert!(allowed(true, "io_uring, root", "needs root"));
    }
}
