//! Preconditions that specifications state in words, brought about where that harms nobody. The
//! words decide what is tried, never what is concluded.

use crate::consts;
use crate::ir::{ErrorSpec, Spec};

use super::plan::{Case, PLAIN, Privileges, Setting};
use super::script::{Arg, Step};
use super::values::never;

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

    /// Before the first look, right before the call, and right after it.
    pub(super) fn around(self, args: &[Arg]) -> (Vec<Step>, Vec<Step>, Vec<Step>) {
        match self {
            Self::NoDescriptors => (
                Vec::new(),
                vec![
                    Step::Prepare(args.to_vec()),
                    Step::Limit(RLIMIT_NOFILE, Some(0)),
                ],
                vec![Step::Limit(RLIMIT_NOFILE, None)],
            ),
            Self::OtherUser => (
                vec![Step::Prepare(args.to_vec()), Step::User(NOBODY)],
                Vec::new(),
                Vec::new(),
            ),
            _ => (Vec::new(), Vec::new(), Vec::new()),
        }
    }
}

/// The cases that should bring an error about; none where nobody knows how, or nobody should.
pub(super) fn cases(spec: &Spec, error: &ErrorSpec, plain: &[Arg]) -> Vec<Case> {
    let with = |scene: Scene, setting: Setting, args: Vec<Arg>| Case {
        setting,
        args,
        odd: Vec::new(),
        scene,
        aims: Some(error.name.clone()),
        first: None,
    };
    // The advice that the condition names, each as the argument that takes it.
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
            // With the privilege the machine's memory would be damaged. Where it cannot be given
            // up, the process ends before the call.
            .filter(|(_, number)| !never(spec, *number) || setting.privileges == Privileges::None)
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
    let mut all = Vec::new();
    match error.name.as_str() {
        "EMFILE" => all.push(with(Scene::NoDescriptors, PLAIN, plain.to_vec())),
        "EACCES" => all.extend(advised(Scene::PrivateFile, &PLAIN)),
        "EFAULT" => all.extend(advised(Scene::BeyondFile, &PLAIN)),
        "EPERM" => all.extend(advised(
            Scene::Plain,
            &Setting {
                privileges: Privileges::None,
                ..PLAIN
            },
        )),
        _ => {}
    }
    let others = child();
    if matches!(error.name.as_str(), "EPERM" | "EACCES")
        && others != plain
        && rustix::process::geteuid().is_root()
    {
        all.push(with(Scene::OtherUser, PLAIN, others));
    }
    all
}
