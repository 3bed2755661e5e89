//! What is asked for.

use mctl_abi::{Action, Errno, Flags, PolicyKind, Thp, Verb};

use crate::error::{Error, Result};
use crate::see::mappings::Override;

/// Who may act on whom (see [`mctl_abi::permission`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rule {
    /// What the kernel's own mechanism asks of the caller: a user may manage the user's own
    /// processes.
    #[default]
    Owner,
    /// `CAP_SYS_ADMIN` for another process and for policies that survive exec.
    Admin,
}

/// What to do where the kernel cannot do exactly what was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Exactness {
    /// As much as can be done; the outcome says what is missing.
    #[default]
    BestEffort,
    /// `EOPNOTSUPP` before anything is touched.
    Strict,
}

/// Whether a policy is also the default across exec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AcrossExec {
    /// It ends at exec.
    #[default]
    Ends,
    /// It is the default across exec (`MCTL_SET_DEFAULT_EXEC`).
    Inherit,
}

/// A set of policy changes for one address space, applied all together or not at all.
///
/// ```
/// use mctl::{AcrossExec, PolicyKind, Request};
///
/// let request = Request::set(&[PolicyKind::Nohugepage], AcrossExec::Inherit)?;
/// assert_eq!(request.calls().len(), 1);
/// // Two THP policies at once make no sense.
/// let both = [PolicyKind::Nohugepage, PolicyKind::Hugepage];
/// assert!(Request::set(&both, AcrossExec::Ends).is_err());
/// # Ok::<(), mctl::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    calls: Vec<mctl_abi::Request>,
    /// Who may.
    pub rule: Rule,
    /// Exactly or as well as possible.
    pub exactness: Exactness,
    /// NOHUGEPAGE mappings.
    pub override_advice: Override,
}

impl Request {
    /// Puts policies in force.
    ///
    /// # Errors
    /// `EINVAL`: none or one twice; more than one THP policy; fade-on-death across exec.
    pub fn set(kinds: &[PolicyKind], across: AcrossExec) -> Result<Request> {
        let flags = match across {
            AcrossExec::Ends => Flags::NONE,
            AcrossExec::Inherit => Flags::DEFAULT_EXEC,
        };
        Request::build(Verb::Set, kinds, flags)
    }

    /// Takes policies back.
    ///
    /// # Errors
    /// `EINVAL`: none, or one twice.
    pub fn clear(kinds: &[PolicyKind]) -> Result<Request> {
        Request::build(Verb::Clear, kinds, Flags::NONE)
    }

    /// One call of the C ABI, with the admin rule and exactness that it has.
    ///
    /// # Errors
    /// `EINVAL` for `MCTL_GET_POLICY`, which changes nothing.
    pub fn from_call(call: mctl_abi::Request) -> Result<Request> {
        if call.action() == Action::GetPolicy {
            return Err(invalid("reading the policy is not a change"));
        }
        Ok(Request {
            calls: vec![call],
            rule: Rule::Admin,
            exactness: Exactness::Strict,
            override_advice: Override::Respect,
        })
    }

    fn build(verb: Verb, kinds: &[PolicyKind], flags: Flags) -> Result<Request> {
        if kinds.is_empty() {
            return Err(invalid("no policy was named"));
        }
        let mut calls = Vec::new();
        for (index, kind) in kinds.iter().enumerate() {
            if kinds.iter().skip(index + 1).any(|other| other == kind) {
                return Err(invalid(format!("'{kind}' was named twice")));
            }
            let action = Action::of(verb, *kind);
            let call = mctl_abi::Request::new(action, flags).map_err(|_| {
                invalid(format!(
                    "'{kind}' cannot be inherited across exec: it ends with its process"
                ))
            })?;
            calls.push(call);
        }
        let thp = kinds.iter().filter(|kind| kind.is_thp()).count();
        if verb == Verb::Set && thp > 1 {
            let words: Vec<&str> = kinds
                .iter()
                .filter(|kind| kind.is_thp())
                .map(|kind| kind.word())
                .collect();
            return Err(invalid(format!(
                "{} exclude one another",
                words.join(" and ")
            )));
        }
        Ok(Request {
            calls,
            rule: Rule::default(),
            exactness: Exactness::default(),
            override_advice: Override::default(),
        })
    }

    /// The calls, one a policy.
    #[must_use]
    pub fn calls(&self) -> &[mctl_abi::Request] {
        &self.calls
    }

    /// The policies concerned.
    #[must_use]
    pub fn kinds(&self) -> Vec<PolicyKind> {
        self.calls
            .iter()
            .filter_map(|call| call.action().info().effect.map(|(_, kind)| kind))
            .collect()
    }

    /// Whether the plan depends on what the target has mapped.
    #[must_use]
    pub fn needs_mappings(&self) -> bool {
        self.kinds().contains(&PolicyKind::Hugepage)
    }

    /// The THP value that is to be in force afterwards, if one is set.
    #[must_use]
    pub fn sets_thp(&self) -> Option<Thp> {
        self.calls
            .iter()
            .find_map(|call| match call.action().info().effect {
                Some((Verb::Set, kind)) => Thp::of(kind),
                _ => None,
            })
    }

    /// In words, for messages: `set nohugepage`.
    #[must_use]
    pub fn words(&self) -> String {
        let verb = self
            .calls
            .first()
            .and_then(|call| call.action().info().effect);
        let verb = match verb {
            Some((Verb::Clear, _)) => "clear",
            _ => "set",
        };
        let kinds: Vec<&str> = self.kinds().iter().map(|kind| kind.word()).collect();
        format!("{verb} {}", kinds.join(" "))
    }
}

fn invalid(why: impl Into<String>) -> Error {
    let error = Error::Invalid { why: why.into() };
    debug_assert_eq!(error.errno(), Errno::EINVAL);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_requests_are_refused() {
        use PolicyKind::{FadeOnDeath, Hugepage, HugepageAdvised, Mergeable, Nohugepage};
        for kinds in [
            &[][..],
            &[Nohugepage, Nohugepage],
            &[Hugepage, Nohugepage],
            &[Hugepage, Mergeable, HugepageAdvised],
        ] {
            let error = Request::set(kinds, AcrossExec::Ends).unwrap_err();
            assert_eq!(error.errno(), Errno::EINVAL, "{kinds:?}");
        }
        assert!(Request::set(&[FadeOnDeath], AcrossExec::Inherit).is_err());
        assert!(Request::set(&[Mergeable, Nohugepage], AcrossExec::Inherit).is_ok());
        assert!(
            Request::clear(&[Hugepage, Nohugepage]).is_ok(),
            "clearing excludes nothing"
        );
    }

    #[test]
    fn words() {
        let request = Request::clear(&[PolicyKind::Mergeable, PolicyKind::Nohugepage]).unwrap();
        assert_eq!(request.words(), "clear mergeable nohugepage");
    }
}
