//! A bar with rate and time left: on a terminal, and only where the work is long.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mctl::advise::Progress;

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
                .with_elapsed(progress.elapsed)
        });
        bar.set_length(progress.total);
        bar.set_position(progress.bytes);
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

const TEMPLATE: &str =
    "{msg} [{wide_bar}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left";

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
