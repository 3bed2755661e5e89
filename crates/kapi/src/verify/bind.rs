//! The values that a rule's names had when a call was made.

use crate::consts;
use crate::expr::Bindings;
use crate::ir::Spec;

use super::scene::Scene;
use super::script::{Arg, View};
use super::tried::Tried;

/// A call that was made, as the place where names get values.
pub(super) struct Made<'a> {
    pub(super) spec: &'a Spec,
    pub(super) tried: &'a Tried,
}

/// A register as the C type sees it.
pub(crate) fn as_type(kind: &str, register: u64) -> i128 {
    c_type(kind).value(register)
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

impl Made<'_> {
    fn view(&self) -> Option<&View> {
        self.tried.log.views.get("a")
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
            .find(|(n, p)| self.register(*n).map(|r| as_type(&p.type_name, r)) == Some(value))
            .and_then(|(n, _)| self.tried.case.args.get(n))
    }

    /// Whether `start..start+length`, to whole pages, lies inside the mapped region.
    fn mapped(&self, start: i128, length: i128) -> Option<bool> {
        let region = self.view()?.regions.get("before")?;
        let (from, size) = (i128::from(region.start), 65_536);
        let end = (start + length + 4095) / 4096 * 4096;
        let begin = start / 4096 * 4096;
        if begin >= from && end <= from + size {
            return Some(true);
        }
        // Right behind the region is a hole of its size.
        let hole = from + size..from + 2 * size;
        if length > 0 && (hole.contains(&begin) || hole.contains(&(end - 1))) {
            return Some(false);
        }
        None
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
            return self.register(index).map(|r| as_type(kind, r));
        }
        let view = self.view()?;
        if name.starts_with("CAP_") {
            let bit = u32::try_from(consts::lookup(name)?).ok()?;
            return Some(i128::from(view.capabilities >> bit & 1));
        }
        let kb = |field: &str| view.status.get(field).map(|n| i128::from(*n) * 1024);
        match name {
            "RLIMIT_MEMLOCK" => view.limits.get(&8).map(|n| i128::from(*n)),
            "total_vm" | "mm->total_vm" => kb("VmSize"),
            "locked_vm" | "mm->locked_vm" => kb("VmLck"),
            "page_size" => Some(4096),
            "ret" => self.tried.outcome().map(|o| {
                o.value
                    .map_or_else(|| -i128::from(o.errno.unwrap_or(0)), i128::from)
            }),
            _ => None,
        }
    }

    fn call(&self, name: &str, args: &[i128]) -> Option<i128> {
        let truth = match (name, args) {
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
            // Throw-away processes stay in the group of their starter.
            ("leads_group", [id]) => match self.arg_of(*id)? {
                Arg::PidfdSelf | Arg::PidfdChild | Arg::PidfdDead => false,
                _ => return None,
            },
            ("is_leader", [id]) => matches!(self.arg_of(*id)?, Arg::PidSelf | Arg::PidChild),
            ("readable" | "writable", [address, _]) => match self.arg_of(*address)? {
                Arg::Buffer | Arg::Iovec | Arg::IovecUnmapped | Arg::Mapped(_) => true,
                Arg::BadPointer => false,
                _ => return None,
            },
            ("may_ptrace" | "may_signal", [_]) => self.tried.case.scene != Scene::OtherUser,
            ("file_backed" | "sealed", [..]) => false,
            _ => return None,
        };
        Some(i128::from(truth))
    }

    fn arch(&self) -> &str {
        std::env::consts::ARCH
    }
}
