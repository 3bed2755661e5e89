//! `cargo xtask evidence`: runs what shows a capability and writes down what was promised, what was run, on what,
//! and what came of it. The table is xtask/evidence.toml, the result docs/evidence/NAME.md and NAME.log. Nothing is
//! committed: a person reads it first.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;

use super::nightly::chosen;
use super::recipe::{End, Recipe, table};
use super::scrub::Scrub;
use crate::layout::Layout;
use crate::say;

/// What is kept of a log: its beginning and its end.
const KEPT: usize = 200 << 10;

#[derive(Debug, Args)]
pub(crate) struct Evidence {
    /// The capabilities; `all` for every one
    #[arg(required = true)]
    names: Vec<String>,
}

impl Evidence {
    /// Whether everything was shown.
    pub(crate) fn run(&self, layout: &Layout) -> Result<bool> {
        let table = table(&layout.repo, "evidence.toml", "capability")?;
        let names = if self.names.iter().any(|name| name == "all") {
            Vec::new()
        } else {
            self.names.clone()
        };
        let dir = layout.repo.join("docs/evidence");
        std::fs::create_dir_all(&dir)?;
        let scrub = Scrub::of(layout);
        let mut well = true;
        for recipe in chosen(table, &names)? {
            let raw = layout.target.join(format!("evidence-{}.log", recipe.name));
            let (end, took) = recipe.run(&layout.repo, &raw)?;
            let log = match end {
                End::Lacks(_) => String::new(),
                _ => String::from_utf8_lossy(&std::fs::read(&raw)?).into_owned(),
            };
            let log = shortened(&scrub.text(&log));
            let path = dir.join(&recipe.name);
            std::fs::write(path.with_extension("log"), &log)?;
            let page = page(&recipe, &end, took, &log, &machine());
            std::fs::write(path.with_extension("md"), page)
                .with_context(|| path.display().to_string())?;
            well &= end.is_well();
            say(&format!(
                "{}: {}; docs/evidence/{0}.md",
                recipe.name,
                end.words()
            ));
        }
        Ok(well)
    }
}

fn page(recipe: &Recipe, end: &End, took: Duration, log: &str, machine: &str) -> String {
    let env: Vec<String> = recipe
        .env
        .iter()
        .map(|(k, v)| format!("{k}={v} "))
        .collect();
    let results: Vec<&str> = log.lines().filter(|line| is_result(line)).collect();
    let shown = results.iter().rev().take(40).rev();
    let results: String = shown.map(|line| format!("    {line}\n")).collect();
    let results = if results.is_empty() {
        String::new()
    } else {
        format!("\nFrom the log:\n\n{results}")
    };
    format!(
        "# {name}\n\n{promise}\n\n    {env}{command}\n\n{words}, after {seconds} s, on {machine}. \
         The whole output: [{name}.log]({name}.log).\n{results}",
        name = recipe.name,
        promise = recipe.promise,
        env = env.concat(),
        command = recipe.command.trim().replace('\n', "\n    "),
        words = end.words(),
        seconds = took.as_secs(),
    )
}

/// Lines that say what came of it: of test harnesses, of benches, of our own tasks.
fn is_result(line: &str) -> bool {
    line.starts_with("test result:") || line.starts_with("promise ") || line.starts_with("result: ")
}

/// The kind of machine, without its name.
fn machine() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // A build's own suffix says nothing about the kernel.
    let release = release.trim().split('-').next().unwrap_or("?").to_owned();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let arch = std::env::consts::ARCH;
    format!("Linux {release}, {arch}, {processors} processors")
}

fn shortened(log: &str) -> String {
    if log.len() <= KEPT {
        return log.to_owned();
    }
    let (mut head, mut tail) = (KEPT / 2, log.len() - KEPT / 2);
    while !log.is_char_boundary(head) {
        head -= 1;
    }
    while !log.is_char_boundary(tail) {
        tail += 1;
    }
    let (first, last) = (log.get(..head), log.get(tail..));
    format!(
        "{}\n[… {} bytes left out …]\n{}",
        first.unwrap_or_default(),
        tail - head,
        last.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_page_says_what_was_promised_run_and_seen() {
        use std::os::unix::process::ExitStatusExt as _;
        let recipe = Recipe {
            name: "names".to_owned(),
            promise: "No name steers a terminal.".to_owned(),
            command: "cargo test -p mctl-cli --test names".to_owned(),
            env: [("A".to_owned(), "1".to_owned())].into(),
            minutes: 1,
            needs: Vec::new(),
        };
        let end = End::Exited(std::process::ExitStatus::from_raw(0));
        let log = "noise\ntest result: ok. 2 passed\n";
        let page = page(&recipe, &end, Duration::from_secs(3), log, "Linux 6.18");
        for part in [
            "# names\n",
            "No name steers",
            "    A=1 cargo test",
            "passed, after 3 s",
            "test result: ok",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("noise"));
    }

    #[test]
    fn a_long_log_keeps_both_ends() {
        let log = format!("first\n{}last\n", "ä\n".repeat(KEPT));
        let short = shortened(&log);
        assert!(short.len() < KEPT + 100);
        assert!(short.starts_with("first\n") && short.ends_with("last\n"));
        assert_eq!(shortened("x"), "x");
    }

    /// What is kept is of capabilities that the table still has.
    #[test]
    fn no_evidence_without_its_recipe() {
        let repo = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("a repository");
        let table = table(repo, "evidence.toml", "capability").expect("the table");
        let kept = std::fs::read_dir(repo.join("docs/evidence"));
        for entry in kept.into_iter().flatten().flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            let name = file.rsplit_once('.').map_or("", |(name, _)| name);
            assert!(
                table.iter().any(|recipe| recipe.name == name),
                "docs/evidence/{file}"
            );
        }
    }
}
