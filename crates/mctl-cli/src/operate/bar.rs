//! A bar with rate and time left: on a terminal, and only where the work is long.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mctl::advise::Progress;
use mctl::coverage::Bytes;

/// What ends before this needs no bar.
const SHORT: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub(crate) struct Bar {
    /// What stands before it; `None`: never show one.
    label: Option<String>,
    bar: Option<ProgressBar>,
}

impl Bar {
    pub(crate) fn new(label: String, quiet: bool) -> Bar {
        Bar {
            label: (!quiet && std::io::stderr().is_terminal()).then_some(label),
            bar: None,
        }
    }

    pub(crate) fn step(&mut self, progress: &Progress) {
        let Some(label) = &self.label else { return };
        if self.bar.is_none() && progress.elapsed < SHORT {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            ProgressBar::with_draw_target(Some(progress.total), ProgressDrawTarget::stderr())
                .with_style(style())
                .with_message(label.clone())
        });
        bar.set_length(progress.total);
        bar.set_prefix(rate_and_rest(progress));
        bar.set_position(progress.bytes);
    }
}

/// By the average since the beginning, which jumps least.
fn rate_and_rest(progress: &Progress) -> String {
    let micros = progress.elapsed.as_micros().max(1);
    let rate = u128::from(progress.bytes) * 1_000_000 / micros;
    let rest = u128::from(progress.total.saturating_sub(progress.bytes));
    let Some(seconds) = rest.checked_div(rate) else {
        return String::new();
    };
    let rate = Bytes(u64::try_from(rate).unwrap_or(u64::MAX));
    match seconds {
        0..120 => format!("{rate}/s, {seconds} s left"),
        _ => format!("{rate}/s, {} min left", seconds / 60),
    }
}

/// However it ends, the terminal's line is left empty.
impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

const TEMPLATE: &str = "{msg} [{wide_bar}] {binary_bytes}/{binary_total_bytes} {prefix}";

fn style() -> ProgressStyle {
    ProgressStyle::with_template(TEMPLATE)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_sound() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }

    #[test]
    fn rate_and_time_left() {
        let at = |bytes, seconds| {
            rate_and_rest(&Progress {
                bytes,
                total: 1 << 30,
                elapsed: Duration::from_secs(seconds),
            })
        };
        assert_eq!(at(0, 1), "");
        assert_eq!(at(512 << 20, 4), "128 MiB/s, 4 s left");
        assert_eq!(at(1 << 20, 1), "1 MiB/s, 17 min left");
    }

    #[test]
    fn none_where_no_one_looks() {
        let mut bar = Bar {
            label: None,
            bar: None,
        };
        bar.step(&Progress {
            bytes: 1,
            total: 2,
            elapsed: Duration::from_secs(9),
        });
        assert!(bar.bar.is_none());
    }
}
