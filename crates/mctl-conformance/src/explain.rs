//! Why a mapping may become huge, or may not: what the kernel looks at, and the sentence of the contract.

use std::fmt::Write as _;

use mctl_abi::thp::{Advice, Host, ThpDisable, effective, may_be_huge, may_collapse};
use mctl_abi::{Policy, Thp};
use mctl_model::{HUGE, VmFlags};

use crate::backend::{Backend, Trouble};
use crate::call::{Addr, Call, Prctl, TaskIx};
use crate::lang::policy_text;
use crate::view::{Scope, Span};

/// In words, with links into docs/CONTRACT.md.
///
/// # Errors
/// Where the backend cannot look.
pub fn explain(backend: &mut dyn Backend, task: TaskIx, at: Addr) -> Result<String, Trouble> {
    let scope = Scope {
        status: false,
        everywhere: true,
    };
    let view = backend.observe(task, scope)?;
    let address = backend.places().resolve(at);
    let Some(span) = view.at(address) else {
        return Ok("nothing is mapped there\n".to_owned());
    };
    let mask = backend.policy(task)?;
    let policy = Policy::from_mask(mask).map_or(Thp::Inherit, Policy::thp);
    let got = backend.call(task, &Call::Prctl(Prctl::GetThpDisable, [0; 4]))?;
    let disable = got
        .ok()
        .and_then(ThpDisable::from_getter)
        .unwrap_or_default();
    let (anonymous, shared) = backend.thp_knobs();
    let host = if span.anon { Some(anonymous) } else { shared };
    let advice = if span.flags.has(VmFlags::NOHUGEPAGE) {
        Advice::Nohugepage
    } else if span.flags.has(VmFlags::HUGEPAGE) {
        Advice::Hugepage
    } else {
        Advice::None
    };
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} memory, advice {}; policy {}; PR_SET_THP_DISABLE {}; host {}",
        if span.anon {
            "private anonymous"
        } else {
            "shared or file"
        },
        match advice {
            Advice::None => "none",
            Advice::Hugepage => "HUGEPAGE",
            Advice::Nohugepage => "NOHUGEPAGE",
        },
        policy_text(mask),
        match disable {
            ThpDisable::Off => "off",
            ThpDisable::Full => "on",
            ThpDisable::ExceptAdvised => "on but for advised memory",
        },
        match host {
            Some(Host::Always) => "always",
            Some(Host::Madvise) => "madvise",
            Some(Host::Never) => "never",
            None => "something that no table has",
        }
    );
    if let Some(host) = host {
        let huge = may_be_huge(host, policy, disable, advice);
        let _ = writeln!(
            out,
            "by the table {}: docs/CONTRACT.md#{}",
            if huge {
                "it may become huge"
            } else {
                "it stays small"
            },
            anchor(policy, disable, advice)
        );
        if huge && !holds_block(span) {
            out.push_str("but it holds no aligned block of 2 MiB\n");
        }
    }
    let _ = writeln!(
        out,
        "the kernel says THPeligible {}",
        u8::from(span.eligible)
    );
    if span.anon {
        let collapse = may_collapse(policy, disable, advice);
        let _ = writeln!(
            out,
            "MADV_COLLAPSE {}: docs/CONTRACT.md#collapse-is-an-ask",
            if collapse.is_ok() {
                "is allowed"
            } else {
                "is EINVAL"
            }
        );
    } else {
        out.push_str("ordinary files are outside of it: docs/CONTRACT.md#thp-files\n");
    }
    Ok(out)
}

/// The sentence that decides.
fn anchor(policy: Thp, disable: ThpDisable, advice: Advice) -> &'static str {
    if disable == ThpDisable::Full && policy != Thp::Never {
        return "thp-disable-is-stricter";
    }
    if advice == Advice::Nohugepage && effective(policy, disable) != Thp::Never {
        return "nohugepage-stands";
    }
    match effective(policy, disable) {
        Thp::Inherit => "thp-inherit",
        Thp::Always => "thp-always",
        Thp::Advised => "thp-advised",
        Thp::Never => "thp-never",
    }
}

fn holds_block(span: &Span) -> bool {
    span.start
        .checked_next_multiple_of(HUGE)
        .and_then(|block| block.checked_add(HUGE))
        .is_some_and(|end| end <= span.end)
}
