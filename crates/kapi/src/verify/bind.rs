//! The values that a rule's names had when a call was made, and after it.

use crate::consts;
use crate::expr::{BinaryOp, Bindings};
use crate::ir::Spec;

use super::effects::Tails;
use super::scene::Scene;
use super::script::{Arg, View};
use super::state;
use super::tried::Tried;

/// The size of the mapped region, and of the hole behind it.
const REGION: i128 = 65_536;
/// A page.
const PAGE: i128 = 4096;

/// The moment that bare state names are read at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Before,
    After,
}

/// A call that was made, as the place where names get values.
pub(super) struct Made<'a> {
    pub(super) spec: &'a Spec,
    pub(super) tried: &'a Tried,
    pub(super) tails: Option<&'a Tails>,
    pub(super) moment: Moment,
}

/// A register as the C type sees it.
pub(crate) fn as_type(kind: &str, register: u64) -> i128 {
    c_type(kind).value(register)
}

/// What a register holds for a parameter of this type; none where the type is not known and would
/// make a difference.
pub(super) fn value(kind: &str, register: u64) -> Option<i128> {
    const SIGNED_32: [&str; 6] = ["int", "signed int", "pid_t", "key_t", "clockid_t", "s32"];
    match c_type(kind) {
        CType::Signed32 if !SIGNED_32.contains(&kind.trim_start_matches("__").trim()) => {
            i32::try_from(register).ok().map(i128::from)
        }
        known => Some(known.value(register)),
    }
}

/// How a C type reads a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CType {
    /// Pointers, sizes and other unsigned words.
    Unsigned64,
    /// Signed words.
    Signed64,
    /// `unsigned int`.
    Unsigned32,
    /// `int` and what is not known.
    Signed32,
}

/// How this C type, as written, reads a register.
pub(crate) fn c_type(name: &str) -> CType {
    let has = |part: &str| name.contains(part);
    if has("*") || has("size_t") && !has("ssize_t") || has("unsigned long") || has("u64") {
        CType::Unsigned64
    } else if has("long") || has("ssize") || has("off_t") {
        CType::Signed64
    } else if has("unsigned") || has("u32") {
        CType::Unsigned32
    } else {
        CType::Signed32
    }
}

impl CType {
    /// The value that a register holds.
    pub(crate) fn value(self, register: u64) -> i128 {
        match self {
            Self::Unsigned64 => i128::from(register),
            Self::Signed64 => i128::from(register.cast_signed()),
            Self::Unsigned32 => i128::from(register & 0xffff_ffff),
            Self::Signed32 => i128::from((register << 32).cast_signed() >> 32),
        }
    }
}

/// The length of a range in whole pages, wrapped to 64 bits as the kernel's rounding is.
pub(crate) fn rounded(start: i128, length: i128) -> i128 {
    let end = length + start.rem_euclid(PAGE) + PAGE - 1;
    (end - end.rem_euclid(PAGE)).rem_euclid(1 << 64)
}

impl<'a> Made<'a> {
    pub(super) fn before(spec: &'a Spec, tried: &'a Tried) -> Self {
        Self {
            spec,
            tried,
            tails: None,
            moment: Moment::Before,
        }
    }

    fn state(&self, moment: Moment, name: &str) -> Option<i128> {
        match moment {
            Moment::Before => state::read(name, self.tried.log.views.get("a")?, "def"),
            // A new mapping changes other state, so it is made and looked at last.
            Moment::After if name == "mm->def_flags" => {
                state::read(name, self.tried.log.views.get("later")?, "after")
            }
            Moment::After => state::read(name, self.tried.log.views.get("b")?, "after"),
        }
    }

    fn register(&self, index: usize) -> Option<u64> {
        self.tried.outcome()?.args.get(index).copied()
    }

    /// The argument whose value this is.
    fn arg_of(&self, value: i128) -> Option<&Arg> {
        self.spec
            .params
            .iter()
            .enumerate()
            .find(|(n, p)| {
                self.register(*n).and_then(|r| self::value(&p.type_name, r)) == Some(value)
            })
            .and_then(|(n, _)| self.tried.case.args.get(n))
    }

    /// Whether the whole pages of `start..start+length` lie inside the mapped region.
    fn mapped(&self, start: i128, length: i128) -> Option<bool> {
        let region = self.tried.log.views.get("a")?.regions.get("before")?;
        let from = i128::from(region.start);
        let begin = start - start.rem_euclid(PAGE);
        let end = begin + rounded(start, length);
        if begin == end || begin >= from && end <= from + REGION {
            return Some(true);
        }
        // Right behind the region is a hole of its size, and nobody's memory goes round the end.
        let hole = from + REGION..from + 2 * REGION;
        let in_hole = hole.contains(&begin) || hole.contains(&(end - 1));
        let over_hole = begin < hole.start && end > hole.end;
        (in_hole || over_hole || end > 1 << 64).then_some(false)
    }

    fn view(&self) -> Option<&View> {
        self.tried.log.views.get("a")
    }
}

impl Bindings for Made<'_> {
    fn name(&self, name: &str) -> Option<i128> {
        if let Some(index) = self.spec.params.iter().position(|p| p.name == name) {
            let kind = self
                .spec
                .params
                .get(index)
                .map_or("", |p| p.type_name.as_str());
            return self.register(index).and_then(|r| value(kind, r));
        }
        if name.starts_with("CAP_") {
            let bit = u32::try_from(consts::lookup(name)?).ok()?;
            return Some(i128::from(self.view()?.capabilities >> bit & 1));
        }
        let outcome = self.tried.outcome()?;
        match name {
            "RLIMIT_MEMLOCK" => Some(i128::from(outcome.memlock)),
            "total_vm" | "mm->total_vm" if self.moment == Moment::Before => {
                outcome.total_vm.map(i128::from)
            }
            "page_size" => Some(PAGE),
            "ret" => Some(
                outcome
                    .value
                    .map_or_else(|| -i128::from(outcome.errno.unwrap_or(0)), i128::from),
            ),
            _ if name.starts_with("VM_") => state::flag(name),
            _ => self.state(self.moment, name),
        }
    }

    fn at(&self, moment: &str, name: &str) -> Option<i128> {
        match moment {
            "old" => self.state(Moment::Before, name),
            "fork" => state::read(name, self.tails?.fork.as_ref()?.views.get("fork")?, "after"),
            "exec" => state::read(name, self.tails?.exec.as_ref()?.views.get("exec")?, "after"),
            _ => None,
        }
    }

    fn established(&self, target: &str, op: Option<BinaryOp>, value: i128) -> Option<bool> {
        let now = self.state(self.moment, target)?;
        let grown = now - self.state(Moment::Before, target)?;
        match op {
            None => Some(now == value),
            Some(BinaryOp::BitOr) => Some(now & value == value),
            Some(BinaryOp::BitAnd) => Some(now & !value == 0),
            Some(BinaryOp::Add) => Some(grown == value),
            Some(BinaryOp::Sub) => Some(-grown == value),
            Some(_) => None,
        }
    }

    fn call(&self, name: &str, args: &[i128]) -> Option<i128> {
        let truth = match (name, args) {
            ("rounded", [start, length]) => return Some(rounded(*start, *length)),
            ("mapped", [start, length]) => self.mapped(*start, *length)?,
            ("unmapped", [start, length]) => !self.mapped(*start, *length)?,
            ("is_pidfd", [fd]) => match self.arg_of(*fd)? {
                Arg::PidfdSelf | Arg::PidfdChild | Arg::PidfdDead => true,
                Arg::File | Arg::Closed => false,
                Arg::Number(n) if *n < 0 => *n == -10_000 || *n == -10_001,
                _ => return None,
            },
            ("open_fd", [fd]) => match self.arg_of(*fd)? {
                Arg::PidfdSelf | Arg::PidfdChild | Arg::PidfdDead | Arg::File => true,
                Arg::Closed => false,
                Arg::Number(n) if *n < 0 => false,
                _ => return None,
            },
            ("alive" | "pid_exists", [id]) => match self.arg_of(*id)? {
                Arg::PidfdSelf | Arg::PidfdChild | Arg::PidSelf | Arg::PidChild => true,
                Arg::PidfdDead | Arg::PidDead => false,
                _ => return None,
            },
            ("own", [id]) => match self.arg_of(*id)? {
                Arg::PidfdSelf | Arg::PidSelf => true,
                Arg::PidfdChild | Arg::PidChild | Arg::PidfdDead | Arg::PidDead => false,
                _ => return None,
            },
            // A throw-away process leads a group of its own; its child is in it.
            ("leads_group", [id]) => match self.arg_of(*id)? {
                Arg::PidfdSelf => true,
                Arg::PidfdChild | Arg::PidfdDead => false,
                _ => return None,
            },
            ("is_leader", [id]) => matches!(self.arg_of(*id)?, Arg::PidSelf | Arg::PidChild),
            // Nothing to read or write.
            ("readable" | "writable", [_, 0]) => true,
            ("readable" | "writable", [address, _]) => match self.arg_of(*address)? {
                Arg::Buffer | Arg::Iovec | Arg::IovecUnmapped | Arg::Mapped(_) => true,
                Arg::BadPointer => false,
                _ => return None,
            },
            // Only what another user may not do is known for sure, and what one may do to oneself.
            ("may_ptrace" | "may_signal", [id]) => match (self.tried.case.scene, self.arg_of(*id)?)
            {
                (Scene::OtherUser, Arg::PidfdChild | Arg::PidChild) => false,
                (_, Arg::PidfdSelf | Arg::PidSelf) => true,
                (Scene::Plain, Arg::PidfdChild | Arg::PidChild) if self.tried.case.is_whole() => {
                    true
                }
                _ => return None,
            },
            ("file_backed" | "sealed", [..]) => false,
            _ => return None,
        };
        Some(i128::from(truth))
    }

    fn arch(&self) -> &str {
        std::env::consts::ARCH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_rounded_as_the_kernel_does() {
        assert_eq!(rounded(0x1000, 1), 4096);
        assert_eq!(rounded(0x1001, 4096), 8192);
        assert_eq!(rounded(0x1000, 0), 0);
        assert_eq!(rounded(0x1000, i128::from(u64::MAX)), 0);
        assert_eq!(
            rounded(0x1000, i128::from(u64::MAX - 4095)),
            i128::from(u64::MAX - 4095)
        );
    }
}
