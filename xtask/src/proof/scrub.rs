//! Takes out of a log what is of this machine and not of the run: folders, colours, throw-away names.

use crate::layout::Layout;

/// What is replaced, the longest first.
#[derive(Debug)]
pub(super) struct Scrub(Vec<(String, &'static str)>);

impl Scrub {
    pub(super) fn of(layout: &Layout) -> Scrub {
        let home = std::env::var("HOME").unwrap_or_default();
        let cargo = std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{home}/.cargo"));
        let rustup = std::env::var("RUSTUP_HOME").unwrap_or_else(|_| format!("{home}/.rustup"));
        Scrub::new(vec![
            (layout.target.display().to_string(), "target"),
            (layout.repo.display().to_string(), "."),
            (cargo, "~/.cargo"),
            (rustup, "~/.rustup"),
            (home, "~"),
        ])
    }

    fn new(mut folders: Vec<(String, &'static str)>) -> Scrub {
        folders.retain(|(path, _)| path.len() > 1);
        folders.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Scrub(folders)
    }

    pub(super) fn text(&self, log: &str) -> String {
        let mut text = without_colours(log);
        for (path, word) in &self.0 {
            text = text.replace(path, word);
        }
        let lines = text
            .lines()
            .map(|line| without_throw_away_names(line) + "\n");
        lines.collect()
    }
}

/// Without ECMA-48 control sequences.
fn without_colours(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        out.push_str(before);
        let end = after.find(|c: char| ('@'..='~').contains(&c));
        rest = end.and_then(|at| after.get(at + 1..)).unwrap_or_default();
    }
    out.push_str(rest);
    out.replace('\r', "")
}

/// `/tmp/.tmpAb3dE9/x` becomes `/tmp/…/x`.
fn without_throw_away_names(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("/tmp/.tmp") {
        out.push_str(before);
        out.push_str("/tmp/…");
        rest = after.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_machine_is_left() {
        let scrub = Scrub::new(vec![
            ("/srv/mctl".to_owned(), "."),
            ("/srv/mctl/target".to_owned(), "target"),
            (String::new(), "~"),
        ]);
        let log = "\u{1b}[32mok\u{1b}[0m /srv/mctl/target/debug/x /srv/mctl/README.md /tmp/.tmpAb3dE9/x\r\n";
        assert_eq!(scrub.text(log), "ok target/debug/x ./README.md /tmp/…/x\n");
        assert_eq!(scrub.text("\u{1b}["), "");
    }
}
