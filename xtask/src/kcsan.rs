//! Whose a data race is: KCSAN reports those in unmodified code as well.

/// How a report begins, after the line of `=`.
pub(crate) const TITLE: &str = "BUG: KCSAN: ";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// With the reason.
    Ours(String),
    /// The two functions.
    Others(String),
}

/// Whether this line ends a report.
pub(crate) fn is_last(line: &str) -> bool {
    line.starts_with("=====")
}

/// Whether a function is one that the series adds, by its name.
fn is_new(function: &str) -> bool {
    let words = [
        "mctl",
        "pmadv",
        "ksm_exec",
        "ksm_follow_policy",
        "fade",
        "fading",
    ];
    words.iter().any(|word| function.contains(word))
}

/// A report is ours if a function that the series adds is anywhere in it, or if one that it changes
/// (`touched`) did one of the two accesses. Deeper callers do not count: every system call has the same.
pub(crate) fn judge(report: &[String], touched: &[String]) -> Whose {
    let title = report.first().map_or("", String::as_str);
    let mut top = false;
    let mut accesses = Vec::new();
    for line in report.iter().skip(1) {
        if line.contains(" bytes by ") {
            top = true;
        }
        let Some(function) = frame(line) else {
            continue;
        };
        if is_new(function) {
            return Whose::Ours(format!("{title} ({function})"));
        }
        // Copies have no reason of their own.
        if top
            && !["memcpy", "memset", "memmove"]
                .iter()
                .any(|f| function.contains(f))
        {
            accesses.push(function);
            top = false;
        }
    }
    let ours = |function: &&&str| touched.iter().any(|t| t == *function);
    if let Some(function) = accesses.iter().find(ours) {
        return Whose::Ours(format!("{title} ({function})"));
    }
    Whose::Others(pair(title))
}

/// ` find_lock_task_mm+0x12/0x40`: its function, without what the compiler adds to names.
fn frame(line: &str) -> Option<&str> {
    let (name, offset) = line.trim().split_once("+0x")?;
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if !offset.contains("/0x") || name.is_empty() || !name.chars().all(word) {
        return None;
    }
    name.split('.').next()
}

/// The functions of a title in one order.
fn pair(title: &str) -> String {
    let names = title.split(" in ").nth(1).unwrap_or(title);
    let mut names: Vec<&str> = names.split(" / ").map(str::trim).collect();
    names.sort_unstable();
    names.join(" / ")
}

/// The functions in which a patch changes something: what its hunks name, and what it defines.
pub(crate) fn touched(patch: &str) -> Vec<String> {
    let mut code = false;
    let mut functions = Vec::new();
    for line in patch.lines() {
        if let Some(file) = line.strip_prefix("+++ b/") {
            code = !file.starts_with("tools/") && (file.ends_with(".c") || file.ends_with(".h"));
        } else if code && let Some(rest) = line.strip_prefix("@@ ") {
            functions.extend(rest.split_once("@@ ").and_then(|(_, text)| function(text)));
        } else if code
            && let Some(text) = line.strip_prefix(['+', ' '])
            && !text.trim_end().ends_with(';')
            && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        {
            functions.extend(function(text));
        }
    }
    functions.sort();
    functions.dedup();
    functions
}

/// The name that a line defines: the word before the first bracket.
fn function(text: &str) -> Option<String> {
    let (before, inside) = text.split_once('(')?;
    let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let name = before.trim_end().rsplit(word).next()?;
    if name.starts_with("SYSCALL_DEFINE") {
        let call = inside.split([',', ')']).next()?.trim();
        return Some(format!("__do_sys_{call}"));
    }
    (!name.is_empty() && !name.starts_with("__attribute")).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(first: &[&str], second: &[&str]) -> Vec<String> {
        let mut lines = vec!["BUG: KCSAN: data-race in b / a".to_owned(), String::new()];
        for (what, frames) in [("write (marked)", first), ("read", second)] {
            lines.push(format!("{what} to 0xffff of 8 bytes by task 7 on cpu 0:"));
            lines.extend(frames.iter().map(|f| format!(" {f}+0x1/0x2")));
            lines.push(String::new());
        }
        lines
    }

    #[test]
    fn ours_is_what_the_series_adds_or_changes() {
        let touched = ["dup_mmap".to_owned()];
        let judged = |a: &[&str], b: &[&str]| judge(&report(a, b), &touched);
        let others = Whose::Others("a / b".into());
        assert_eq!(judged(&["b", "dup_mmap"], &["a", "x64_sys_call"]), others);
        let ours = |w: Whose| matches!(w, Whose::Ours(_));
        assert!(ours(judged(&["b", "mctl_apply"], &["a"])));
        assert!(ours(judged(&["b"], &["__do_sys_mctl.part.0"])));
        assert!(ours(judged(&["dup_mmap.isra.0"], &["a"])));
        assert!(ours(judged(&["b"], &["__tsan_memcpy", "dup_mmap"])));
    }

    #[test]
    fn the_functions_of_a_patch() {
        let patch = "--- a/mm/x.c\n+++ b/mm/x.c\n@@ -1,2 +1,3 @@ static int exec_mmap(struct mm *mm)\n\
             +\tmctl_exec(mm, old);\n+static inline bool fresh(int a,\n+vm_flags_t declared(u32 word);\n\
             +SYSCALL_DEFINE3(mctl, int, pidfd)\n int after(void)\n+#define X(a)\n\
             --- a/tools/t.c\n+++ b/tools/t.c\n@@ -1 +1 @@ int test(void)\n";
        assert_eq!(
            touched(patch),
            ["__do_sys_mctl", "after", "exec_mmap", "fresh"]
        );
    }
}
