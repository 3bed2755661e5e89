//! Values for a parameter: some that its limits allow, and some that they do not. Where the limits
//! do not say what it is, its name helps to find something worth passing; that decides what is
//! tried, never what is concluded.

use crate::consts;
use crate::ir::vocab::{ConstraintKind, ParamFlag, TypeKind};
use crate::ir::{Param, Spec};

use super::script::Arg;

/// What a parameter means to the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Pidfd,
    Descriptor,
    Pid,
    Address,
    Length,
    Mask(i128),
    Choice(Vec<i128>),
    Iovec,
    Count,
    Buffer,
    Pointer,
    Range(i128, i128),
    Truth,
    Zero,
}

/// Advice that damages the machine, not just the process.
const NEVER: [&str; 2] = ["MADV_HWPOISON", "MADV_SOFT_OFFLINE"];

pub(super) fn never(spec: &Spec, number: i128) -> bool {
    spec.call_name().contains("madvise") && NEVER.iter().any(|n| consts::lookup(n) == Some(number))
}

pub(super) fn meaning(spec: &Spec, param: &Param) -> Meaning {
    let l = &param.limits;
    let name = param.name.as_str();
    if let Some(mask) = l
        .valid_mask
        .as_ref()
        .and_then(|m| m.on(std::env::consts::ARCH))
    {
        return Meaning::Mask(mask);
    }
    let values: Vec<i128> = l
        .enum_values
        .iter()
        .filter_map(|v| v.on(std::env::consts::ARCH))
        .filter(|n| !never(spec, *n))
        .collect();
    if !values.is_empty() {
        return Meaning::Choice(values);
    }
    if param.kind == Some(TypeKind::Fd) {
        return if name.contains("pid") {
            Meaning::Pidfd
        } else {
            Meaning::Descriptor
        };
    }
    if let Some(range) = &l.range
        && let (Some(min), Some(max)) = (range.min.number, range.max.number)
        && !matches!(name, "pid" | "len" | "length" | "vlen")
    {
        return Meaning::Range(min, max);
    }
    match name {
        _ if param.kind == Some(TypeKind::Bool) => Meaning::Truth,
        "pid" | "upid" => Meaning::Pid,
        "start" | "addr" | "address" => Meaning::Address,
        "len" | "length" | "len_in" => Meaning::Length,
        "vlen" => Meaning::Count,
        _ if param.type_name.contains("iovec") => Meaning::Iovec,
        _ if param.flags.has(&ParamFlag::Optional) => Meaning::Pointer,
        _ if param.type_name.contains('*') && param.flags.has(&ParamFlag::Out) => Meaning::Buffer,
        _ if matches!(param.kind, Some(TypeKind::UserPtr | TypeKind::Ptr)) => Meaning::Pointer,
        _ if l.kind == Some(ConstraintKind::PageAligned) => Meaning::Address,
        _ => Meaning::Zero,
    }
}

/// Every set of some bits: all of them where they are few, else none, each, each pair, all.
fn sets(mask: i128) -> Vec<i128> {
    let bits: Vec<i128> = (0..64)
        .map(|b| 1i128 << b)
        .filter(|b| mask & b != 0)
        .collect();
    let mut all: Vec<i128> = if bits.len() <= 5 {
        (0..1u32 << bits.len())
            .map(|pick| {
                bits.iter()
                    .enumerate()
                    .filter(|(n, _)| pick >> n & 1 == 1)
                    .fold(0, |sum, (_, bit)| sum | bit)
            })
            .collect()
    } else {
        let few: Vec<i128> = bits.iter().take(16).copied().collect();
        let pairs = few.iter().flat_map(|a| few.iter().map(move |b| a | b));
        [0, mask].into_iter().chain(pairs).collect()
    };
    // One bit first: 0 is often no choice.
    all.sort_by_key(|n| (n.count_ones() != 1, n.count_ones(), *n));
    all.dedup();
    all
}

/// Values that the specification allows; the first one is the plainest.
pub(super) fn good(meaning: &Meaning, param: &Param) -> Vec<Arg> {
    let bounds = || {
        let range = param.limits.range.as_ref();
        let ends = range.and_then(|r| r.min.number.zip(r.max.number));
        ends.map_or_else(Vec::new, |(min, max)| vec![min, max])
    };
    let mut all = match meaning {
        Meaning::Pidfd => vec![Arg::PidfdSelf, Arg::PidfdChild],
        Meaning::Descriptor => vec![Arg::File],
        Meaning::Pid => vec![Arg::PidSelf, Arg::PidChild],
        Meaning::Address => vec![Arg::Mapped(0)],
        Meaning::Length => vec![Arg::Length(0), Arg::Number(0)],
        Meaning::Mask(mask) => return sets(*mask).into_iter().map(Arg::Number).collect(),
        Meaning::Choice(values) => return values.iter().map(|n| Arg::Number(*n)).collect(),
        Meaning::Truth => vec![Arg::Number(1), Arg::Number(0)],
        Meaning::Iovec => vec![Arg::Iovec],
        Meaning::Count => vec![Arg::Number(1)],
        Meaning::Buffer => vec![Arg::Buffer],
        Meaning::Range(..) => Vec::new(),
        Meaning::Pointer | Meaning::Zero => vec![Arg::Number(0)],
    };
    for bound in bounds().into_iter().filter(|n| fits(*n)) {
        if !all.contains(&Arg::Number(bound)) {
            all.push(Arg::Number(bound));
        }
    }
    if all.is_empty() {
        all.push(Arg::Number(0));
    }
    all
}

/// Whether a register can hold it.
pub(super) fn fits(n: i128) -> bool {
    u64::try_from(n).is_ok() || i64::try_from(n).is_ok()
}

/// Values that are out of the ordinary, or out of the limits.
pub(super) fn odd(spec: &Spec, meaning: &Meaning, param: &Param, known: bool) -> Vec<Arg> {
    let number = |n: i128| Arg::Number(n);
    let mut all = match meaning {
        Meaning::Pidfd => vec![Arg::Closed, Arg::File, Arg::PidfdDead, number(-1)],
        Meaning::Descriptor => vec![Arg::Closed, number(-1)],
        Meaning::Pid => vec![Arg::PidDead, number(0), number(-1)],
        Meaning::Address => vec![Arg::Mapped(1), Arg::Unmapped, Arg::BeforeHole],
        Meaning::Length => vec![
            number(0),
            number(1),
            number(-1),
            number(-4095),
            number(-4096),
            number(-8192),
            Arg::Length(-1),
            Arg::Length(1),
            Arg::Length(65536),
        ],
        Meaning::Mask(mask) => {
            // Each bit alone, and beside those that are allowed: alone it may fail for another
            // reason.
            let lowest = mask & -mask;
            let outside = (0..32).map(|b| 1i128 << b).filter(|b| mask & b == 0);
            let mut all: Vec<Arg> = outside
                .flat_map(|b| [b, b | lowest, b | mask])
                .map(Arg::Number)
                .collect();
            all.push(number(i128::from(u32::MAX) & !mask));
            all.dedup();
            all
        }
        Meaning::Choice(values) => others(spec, values, known)
            .into_iter()
            .map(number)
            .collect(),
        Meaning::Iovec => vec![Arg::BadPointer, Arg::IovecUnmapped],
        Meaning::Count => vec![number(1025), number(-1), number(0)],
        Meaning::Buffer | Meaning::Pointer => vec![Arg::BadPointer],
        Meaning::Truth => vec![number(2)],
        Meaning::Range(min, max) => vec![number(min - 1), number(max + 1), number(max + 4096)],
        Meaning::Zero => Vec::new(),
    };
    if let Some((min, max)) = param
        .limits
        .range
        .as_ref()
        .and_then(|r| r.min.number.zip(r.max.number))
    {
        all.extend([number(min - 1), number(max + 1)]);
    }
    all.retain(|arg| !matches!(arg, Arg::Number(n) if !fits(*n)));
    let mut distinct = Vec::new();
    for arg in all {
        if !distinct.contains(&arg) {
            distinct.push(arg);
        }
    }
    distinct
}

/// Values beside those of an enumeration: all small ones where nothing can come of it.
fn others(spec: &Spec, values: &[i128], known: bool) -> Vec<i128> {
    // Other options of a multiplexer are other calls.
    let multiplexer = spec.call_name().starts_with("prctl_");
    let few = [0x7fff_0000, -1];
    let small: Vec<i128> = if multiplexer {
        return vec![0x7fff_0000];
    } else if known {
        (0..128).collect()
    } else {
        (0..).find(|n| !values.contains(n)).into_iter().collect()
    };
    small
        .into_iter()
        .chain(few)
        .filter(|n| !values.contains(n) && !never(spec, *n))
        .collect()
}
