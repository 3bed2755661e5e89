//! Whether a stopped thread's seccomp filters allow a call. Runs in the shield: no allocation.
//!
//! The kernel gives a filter out as it was installed (PTRACE_SECCOMP_GET_FILTER: a stopped tracee, CAP_SYS_ADMIN, no
//! filter on ourselves, CONFIG_CHECKPOINT_RESTORE). It is classic BPF without loops, so it is evaluated here for the
//! one call in question. What is read is used in that stop and not kept: the next moment may bring another filter.

use mctl_abi::Errno;

use super::raw;
use crate::arch::SyscallArgs;
use crate::inject::filtered::may_be_filtered;

/// What the filters of a thread make of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has none, or all of them let it pass.
    Passes,
    /// One of them does something else with it.
    Refused,
    /// It has some, and they cannot be read.
    Unknown,
}

/// `struct sock_filter` (include/uapi/linux/filter.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Insn {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

/// `BPF_MAXINSNS`.
pub(crate) const MOST_INSNS: usize = 4096;
/// The kernel allows 32,768 instructions in all, and counts four more for each filter (`MAX_INSNS_PER_PATH`).
const MOST_FILTERS: u64 = 32_768 / 5;

const RET_ACTION: u32 = 0xffff_0000;
const RET_ALLOW: u32 = 0x7fff_0000;
const RET_LOG: u32 = 0x7ffc_0000;

/// What the filters of a stopped thread would make of this call at this instruction pointer.
pub(crate) fn verdict(tid: i32, call: SyscallArgs, pc: u64) -> Verdict {
    // Without a buffer it only says how long the first filter is.
    match raw::seccomp_filter(tid, 0, None) {
        Ok(_) => read_all(tid, &words(call, pc)),
        // No filter; but a kernel that cannot tell says the same.
        Err(Errno::EINVAL) if raw::can_suspend_seccomp(tid) => Verdict::Passes,
        Err(_) if may_be_filtered(tid) => Verdict::Unknown,
        Err(_) => Verdict::Passes,
    }
}

/// Of its own, so that only a filtered thread costs a stack of this size.
#[inline(never)]
fn read_all(tid: i32, data: &[u32; WORDS]) -> Verdict {
    let mut program = [Insn::default(); MOST_INSNS];
    for index in 0..MOST_FILTERS {
        let len = match raw::seccomp_filter(tid, index, Some(&mut program)) {
            Ok(len) => len,
            Err(Errno::ENOENT) => return Verdict::Passes,
            Err(_) => return Verdict::Unknown,
        };
        let program = program.get(..len).unwrap_or_default();
        match evaluate(program, data).map(|value| value & RET_ACTION) {
            Some(RET_ALLOW | RET_LOG) => {}
            _ => return Verdict::Refused,
        }
    }
    Verdict::Unknown
}

/// `struct seccomp_data` in words of 32 bits.
const WORDS: usize = 16;

fn words(call: SyscallArgs, pc: u64) -> [u32; WORDS] {
    const ARCH: u32 = if cfg!(target_arch = "x86_64") {
        0xc000_003e
    } else {
        0xc000_00b7
    };
    let halves = |value: u64| {
        let [a, b, c, d, e, f, g, h] = value.to_ne_bytes();
        [
            u32::from_ne_bytes([a, b, c, d]),
            u32::from_ne_bytes([e, f, g, h]),
        ]
    };
    let mut words = [0; WORDS];
    let number = u32::try_from(call.number & 0xffff_ffff).unwrap_or(u32::MAX);
    let rest = std::iter::once(pc).chain(call.args).flat_map(halves);
    for (slot, word) in words.iter_mut().zip([number, ARCH].into_iter().chain(rest)) {
        *slot = word;
    }
    words
}

/// What a filter returns. `None`: it holds what the kernel takes from no filter, or does not end.
fn evaluate(program: &[Insn], data: &[u32; WORDS]) -> Option<u32> {
    let (mut a, mut x) = (0u32, 0u32);
    let mut memory = [0u32; 16];
    let mut at = 0usize;
    // No jump goes back: each instruction is met once at most.
    for _ in 0..=program.len() {
        let Insn { code, jt, jf, k } = *program.get(at)?;
        at += 1;
        let cell = usize::try_from(k).ok()?;
        match code & 0x07 {
            LD => {
                a = match code {
                    LD_ABS if k.is_multiple_of(4) => *data.get(cell / 4)?,
                    LD_LEN => DATA_BYTES,
                    LD_IMM => k,
                    LD_MEM => *memory.get(cell)?,
                    _ => return None,
                }
            }
            LDX => {
                x = match code {
                    LDX_LEN => DATA_BYTES,
                    LDX_IMM => k,
                    LDX_MEM => *memory.get(cell)?,
                    _ => return None,
                }
            }
            ST if code == ST => *memory.get_mut(cell)? = a,
            STX if code == STX => *memory.get_mut(cell)? = x,
            ALU => {
                let by = if code & SOURCE_X == 0 { k } else { x };
                a = match code & 0xf0 {
                    0x00 => a.wrapping_add(by),
                    0x10 => a.wrapping_sub(by),
                    0x20 => a.wrapping_mul(by),
                    // Division by nothing ends the filter with 0.
                    0x30 => match a.checked_div(by) {
                        Some(quotient) => quotient,
                        None => return Some(0),
                    },
                    0x40 => a | by,
                    0x50 => a & by,
                    0x60 => a.wrapping_shl(by),
                    0x70 => a.wrapping_shr(by),
                    0x80 => a.wrapping_neg(),
                    0xa0 => a ^ by,
                    _ => return None,
                };
            }
            JMP => {
                let by = if code & SOURCE_X == 0 { k } else { x };
                let holds = match code & 0xf0 {
                    0x00 => {
                        at = at.checked_add(cell)?;
                        continue;
                    }
                    0x10 => a == by,
                    0x20 => a > by,
                    0x30 => a >= by,
                    0x40 => a & by != 0,
                    _ => return None,
                };
                at += usize::from(if holds { jt } else { jf });
            }
            RET => {
                return match code {
                    RET_K => Some(k),
                    RET_A => Some(a),
                    _ => None,
                };
            }
            MISC => match code {
                TAX => x = a,
                TXA => a = x,
                _ => return None,
            },
            _ => return None,
        }
    }
    None
}

const DATA_BYTES: u32 = 64;
const LD: u16 = 0x00;
const LDX: u16 = 0x01;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const ALU: u16 = 0x04;
const JMP: u16 = 0x05;
const RET: u16 = 0x06;
const MISC: u16 = 0x07;
const SOURCE_X: u16 = 0x08;
const LD_ABS: u16 = 0x20;
const LD_LEN: u16 = 0x80;
const LD_IMM: u16 = 0x00;
const LD_MEM: u16 = 0x60;
const LDX_LEN: u16 = 0x81;
const LDX_IMM: u16 = 0x01;
const LDX_MEM: u16 = 0x61;
const RET_K: u16 = 0x06;
const RET_A: u16 = 0x16;
const TAX: u16 = 0x07;
const TXA: u16 = 0x87;

#[cfg(test)]
mod tests {
    use super::*;

    const ERRNO_1: u32 = 0x0005_0001;

    fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
        Insn { code, jt, jf, k }
    }

    fn data() -> [u32; WORDS] {
        let call = SyscallArgs {
            number: 219,
            args: [1, 2 << 32 | 3, 4, 5, 6, 7],
        };
        words(call, 0x7f00_1234_5678)
    }

    fn of(program: &[Insn]) -> Option<u32> {
        evaluate(program, &data())
    }

    #[test]
    fn the_call_as_a_filter_sees_it() {
        let data = data();
        assert_eq!(data[0], 219);
        assert_eq!((data[2], data[3]), (0x1234_5678, 0x7f00));
        assert_eq!((data[6], data[7]), (3, 2), "the second argument");
        assert_eq!((data[14], data[15]), (7, 0));
        for (word, wanted) in data.iter().enumerate() {
            let at = u32::try_from(word * 4).unwrap();
            let program = [insn(LD_ABS, 0, 0, at), insn(RET_A, 0, 0, 0)];
            assert_eq!(of(&program), Some(*wanted));
        }
        for at in [1, 2, 62, 64, u32::MAX - 3] {
            assert_eq!(of(&[insn(LD_ABS, 0, 0, at), insn(RET_A, 0, 0, 0)]), None);
        }
    }

    #[test]
    fn by_number_either_way() {
        let filter = |number| {
            [
                insn(LD_ABS, 0, 0, 0),
                insn(0x15, 0, 1, number),
                insn(RET_K, 0, 0, ERRNO_1),
                insn(RET_K, 0, 0, RET_ALLOW),
            ]
        };
        assert_eq!(of(&filter(219)), Some(ERRNO_1));
        assert_eq!(of(&filter(220)), Some(RET_ALLOW));
    }

    #[test]
    fn each_kind_of_jump() {
        let jump = |code: u16, k: u32| {
            [
                insn(LD_ABS, 0, 0, 0),
                insn(code, 1, 0, k),
                insn(RET_K, 0, 0, 0),
                insn(RET_K, 0, 0, 1),
            ]
        };
        for (code, k, wanted) in [
            (0x15, 219, 1),
            (0x15, 218, 0),
            (0x25, 218, 1),
            (0x25, 219, 0),
            (0x35, 219, 1),
            (0x35, 220, 0),
            (0x45, 1, 1),
            (0x45, 4, 0),
            (0x05, 1, 1),
            (0x05, 0, 0),
        ] {
            assert_eq!(of(&jump(code, k)), Some(wanted), "{code:#x} {k}");
        }
        // X is 0 here.
        assert_eq!(of(&jump(0x1d, 219)), Some(0));
        assert_eq!(of(&jump(0x55, 219)), None, "no such jump");
    }

    #[test]
    fn arithmetic_and_memory() {
        let alu = |code: u16, a: u32, x: u32| {
            of(&[
                insn(LDX_IMM, 0, 0, x),
                insn(STX, 0, 0, 15),
                insn(LD_IMM, 0, 0, a),
                insn(ST, 0, 0, 0),
                insn(LDX_MEM, 0, 0, 0),
                insn(TXA, 0, 0, 0),
                insn(LDX_MEM, 0, 0, 15),
                insn(code | SOURCE_X, 0, 0, 0),
                insn(TAX, 0, 0, 0),
                insn(LD_IMM, 0, 0, 9),
                insn(TXA, 0, 0, 0),
                insn(RET_A, 0, 0, 0),
            ])
        };
        for (code, a, x, wanted) in [
            (0x04, 5, u32::MAX, 4),
            (0x14, 5, 6, u32::MAX),
            (0x24, 1 << 31, 2, 0),
            (0x34, 7, 2, 3),
            (0x34, 7, 0, 0),
            (0x44, 5, 2, 7),
            (0x54, 5, 4, 4),
            (0x64, 1, 33, 2),
            (0x74, 8, 2, 2),
            (0xa4, 5, 4, 1),
            (0x84, 1, 0, u32::MAX),
        ] {
            assert_eq!(alu(code, a, x), Some(wanted), "{code:#x} {a} {x}");
        }
        assert_eq!(alu(0x94, 7, 2), None, "the kernel takes no remainder");
        assert_eq!(of(&[insn(LD_LEN, 0, 0, 0), insn(RET_A, 0, 0, 0)]), Some(64));
        assert_eq!(of(&[insn(ST, 0, 0, 16), insn(RET_K, 0, 0, 1)]), None);
    }

    #[test]
    fn what_has_no_end_has_no_answer() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[insn(LD_IMM, 0, 0, 1)]), None);
        assert_eq!(of(&[insn(0x05, 0, 0, u32::MAX)]), None);
        let mut state = 1u32;
        for _ in 0..20_000 {
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state >> 8
            };
            let program: Vec<Insn> = (0..32)
                .map(|_| {
                    let [code, jt, jf, ..] = next().to_le_bytes();
                    insn(u16::from(code), jt & 7, jf & 7, next() & 0x47)
                })
                .collect();
            of(&program);
        }
    }
}
