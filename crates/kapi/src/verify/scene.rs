//! Preconditions that specifications state in words, brought about where that harms nobody; and
//! for the others, why they are not.

use crate::consts;
use crate::ir::{ErrorSpec, Spec};

use super::plan::{Case, Setting};
use super::script::{Arg, Step};

/// What surrounds a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scene {
    /// Nothing out of the ordinary.
    Plain,
    /// No descriptor may be opened.
    NoDescriptors,
    /// The region is a private mapping of a file.
    PrivateFile,
    /// The region is a mapping behind the end of its file.
    BeyondFile,
    /// The caller is another user than its children.
    OtherUser,
}

/// A user without privileges: nobody.
const NOBODY: u32 = 65534;
const RLIMIT_NOFILE: u32 = 7;

impl Scene {
    /// The words for it, behind a call.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::NoDescriptors => "with RLIMIT_NOFILE = 0",
            Self::PrivateFile => "on a private mapping of a file",
            Self::BeyondFile => "on a mapping behind the end of its file",
            Self::OtherUser => "as another user",
        }
    }

    /// The first step: the region.
    pub(super) fn map(self) -> Step {
        let name = "before".to_owned();
        match self {
            Self::PrivateFile => Step::MapFile(name),
            Self::BeyondFile => Step::MapBroken(name),
            _ => Step::Map(name),
        }
    }

    /// Right before the call, and right after it.
    pub(super) fn around(self, args: &[Arg]) -> (Vec<Step>, Vec<Step>) {
        match self {
            Self::NoDescriptors => (
                vec![
                    Step::Prepare(args.to_vec()),
                    Step::Limit(RLIMIT_NOFILE, Some(0)),
                ],
                vec![Step::Limit(RLIMIT_NOFILE, None)],
            ),
            Self::OtherUser => (
                vec![Step::Prepare(args.to_vec()), Step::User(NOBODY)],
                Vec::new(),
            ),
            _ => (Vec::new(), Vec::new()),
        }
    }
}

fn any(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}

/// The cases that should bring an error about; none where nobody knows how, or nobody should.
pub(super) fn cases(spec: &Spec, error: &ErrorSpec, plain: &[Arg], first: &Setting) -> Vec<Case> {
    let condition = error.condition.to_lowercase();
    let with = |scene: Scene, setting: Setting, args: Vec<Arg>| Case {
        setting,
        args,
        violates: None,
        broken: false,
        scene,
        aims: Some(error.name.clone()),
    };
    let plainly = |scene| vec![with(scene, first.clone(), plain.to_vec())];
    // The advices that the condition names, each as the argument that takes it.
    let advised = |scene: Scene, setting: &Setting| -> Vec<Case> {
        let words = error
            .condition
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let position = spec
            .params
            .iter()
            .position(|p| ["advice", "behavior"].contains(&p.name.as_str()));
        words
            .filter(|word| word.starts_with("MADV_"))
            .filter_map(|word| Some((position?, consts::lookup(word)?)))
            .map(|(position, number)| {
                let mut args = plain.to_vec();
                if let Some(slot) = args.get_mut(position) {
                    *slot = Arg::Number(number);
                }
                with(scene, setting.clone(), args)
            })
            .collect()
    };
    let child = || -> Vec<Arg> {
        plain
            .iter()
            .map(|arg| match arg {
                Arg::PidfdSelf => Arg::PidfdChild,
                Arg::PidSelf => Arg::PidChild,
                other => other.clone(),
            })
            .collect()
    };
    match error.name.as_str() {
        "EMFILE" if condition.contains("rlimit_nofile") => plainly(Scene::NoDescriptors),
        "EACCES" if condition.contains("not shared") => advised(Scene::PrivateFile, first),
        "EFAULT" if any(&condition, &["sigbus", "sigsegv"]) => advised(Scene::BeyondFile, first),
        // Only without the capability: with it the machine's memory would be damaged. Where it
        // cannot be given up, the process ends before the call.
        "EPERM" if condition.contains("without cap_sys_admin") => {
            let Some(number) = consts::lookup("CAP_SYS_ADMIN").and_then(|n| u32::try_from(n).ok())
            else {
                return Vec::new();
            };
            let without = Setting {
                name: "without CAP_SYS_ADMIN".to_owned(),
                drop: vec![number],
                memlock: None,
            };
            advised(Scene::Plain, &without)
        }
        "EPERM" | "EACCES"
            if any(&condition, &["may not signal", "may not read"])
                && rustix::process::geteuid().is_root() =>
        {
            vec![with(Scene::OtherUser, first.clone(), child())]
        }
        _ => Vec::new(),
    }
}

/// Why a condition is not brought about.
pub(super) fn why_not(condition: &str) -> &'static str {
    let text = condition.to_lowercase();
    if any(
        &text,
        &[
            "no memory",
            "memory for",
            "short for the moment",
            "no page",
            "memory to",
        ],
    ) {
        "the kernel's memory would have to run out, for everybody"
    } else if text.contains("system has as many") {
        "the descriptors of the whole system would have to be used up"
    } else if text.contains("hardware error") {
        "it takes broken memory"
    } else if any(&text, &["without swap", "file system of descriptors"]) {
        "it takes a kernel that is built otherwise"
    } else if any(&text, &["others hold", "would fail"]) {
        "it takes a race, or a disk that fails, at the right moment"
    } else if any(&text, &["may not signal", "may not read"]) {
        "it takes root, to become somebody else"
    } else {
        "the condition is in words that no way to bring it about is known for"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_fit_their_conditions() {
        for (condition, reason) in [
            ("the kernel has no memory for the descriptor", "run out"),
            ("the system has as many files open as it allows", "used up"),
            ("meets a page with a hardware error", "broken memory"),
            ("in a kernel without swap", "built otherwise"),
            ("meets pages that others hold", "race"),
            ("the moon is full", "no way"),
        ] {
            assert!(why_not(condition).contains(reason), "{condition}");
        }
    }
}
