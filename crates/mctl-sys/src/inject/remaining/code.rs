//! Whether a program can tell that a call came back with other values in r8 and r10.
//!
//! Both hold arguments of a system call, and the kernel gives them back as they were. A compiler knows that where it
//! writes the call inline, and may keep a value there for the next round of a loop. But where the C library's own
//! function made the call, its code up to the return is all that could still read them: for its callers these
//! registers hold nothing after a call (System V ABI, AMD64, 3.2.1). That code is read here, and only if each of its
//! instructions is one of a few that cannot name r8 to r15 at all is there an answer.

/// More than the few instructions from a system call to the end of the function that made it.
pub(super) const WINDOW: usize = 256;
const MOST_STEPS: usize = 64;

/// Whether, on every path from the beginning of `code` to a return, no instruction reads r8 or r10.
pub(super) fn returns_without_them(code: &[u8]) -> bool {
    // Where paths begin that are not gone yet, and the instructions that were.
    let mut begun = [0usize; MOST_STEPS];
    let mut open = 1usize;
    let mut seen = [false; WINDOW];
    for _ in 0..MOST_STEPS {
        let Some(last) = open.checked_sub(1) else {
            return true;
        };
        open = last;
        let Some(at) = begun.get(last).copied() else {
            return false;
        };
        match seen.get_mut(at) {
            Some(true) => continue,
            Some(slot) => *slot = true,
            None => return false,
        }
        let Some(step) = code.get(at..).and_then(step) else {
            return false;
        };
        let (first, second) = match step {
            Step::Return => continue,
            Step::On(len) => (Some(at + len), None),
            Step::Jump(len, by) => (to(at + len, by), None),
            Step::Branch(len, by) => (Some(at + len), Some(to(at + len, by))),
        };
        for target in [Some(first), second].into_iter().flatten() {
            // Out of what was read.
            let (Some(target), Some(slot)) = (target, begun.get_mut(open)) else {
                return false;
            };
            *slot = target;
            open += 1;
        }
    }
    false
}

fn to(from: usize, by: i32) -> Option<usize> {
    from.checked_add_signed(isize::try_from(by).ok()?)
        .filter(|at| *at < WINDOW)
}

/// What an instruction does, with its length.
enum Step {
    On(usize),
    Jump(usize, i32),
    Branch(usize, i32),
    Return,
}

/// The first instruction, if it is one of those that cannot name r8 to r15: they have no prefix but REX.W, or FS.
fn step(code: &[u8]) -> Option<Step> {
    let byte = |at: usize| code.get(at).copied();
    let rel8 = |at: usize| byte(at).map(|b| i32::from(b.cast_signed()));
    let rel32 = |at: usize| Some(i32::from_le_bytes(code.get(at..at + 4)?.try_into().ok()?));
    match byte(0)? {
        0xc3 => return Some(Step::Return),
        0xeb => return Some(Step::Jump(2, rel8(1)?)),
        0xe9 => return Some(Step::Jump(5, rel32(1)?)),
        0x70..=0x7f => return Some(Step::Branch(2, rel8(1)?)),
        0x0f if matches!(byte(1)?, 0x80..=0x8f) => return Some(Step::Branch(6, rel32(2)?)),
        _ => {}
    }
    // REX.W widens the operands and names no register; FS is where a thread keeps its errno.
    let prefix = usize::from(matches!(byte(0)?, 0x48 | 0x64));
    let len = match byte(prefix)? {
        // pop, mov $imm32
        0x58..=0x5f if prefix == 0 => 1,
        0xb8..=0xbf if prefix == 0 => 5,
        // cmp $imm32, %eax
        0x3d => 5,
        // mov, xor, test between registers and memory
        0x89 | 0x8b | 0x31 | 0x33 | 0x85 => 1 + operand(code.get(prefix + 1..)?)?,
        // add, or, and, sub, xor, cmp $imm8
        0x83 => 2 + operand(code.get(prefix + 1..)?)?,
        // mov $imm32; neg, not
        0xc7 if byte(prefix + 1)? & 0x38 == 0 => 5 + operand(code.get(prefix + 1..)?)?,
        0xf7 if matches!(byte(prefix + 1)? & 0x38, 0x10 | 0x18) => {
            1 + operand(code.get(prefix + 1..)?)?
        }
        _ => return None,
    };
    Some(Step::On(prefix + len))
}

/// The length of ModRM, SIB and displacement.
fn operand(code: &[u8]) -> Option<usize> {
    let modrm = *code.first()?;
    let (mode, base) = (modrm >> 6, modrm & 7);
    let sib = usize::from(mode != 3 && base == 4);
    let displacement = match mode {
        0 if base == 5 => 4,
        0 if base == 4 && *code.get(1)? & 7 == 5 => 4,
        1 => 1,
        2 => 4,
        _ => 0,
    };
    Some(1 + sib + displacement)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What follows the system call in epoll_wait() of glibc 2.36 where one thread has no other.
    const ALONE: &[u8] = &[
        0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff, // cmp $-4096, %rax
        0x77, 0x08, // ja
        0xc3, // ret
        0x0f, 0x1f, 0x40, 0x00, 0x0f, 0x1f, 0x00, // nop
        0x48, 0x8b, 0x15, 0x81, 0x9e, 0x0c, 0x00, // mov 0xc9e81(%rip), %rdx
        0xf7, 0xd8, // neg %eax
        0x64, 0x89, 0x02, // mov %eax, %fs:(%rdx)
        0xb8, 0xff, 0xff, 0xff, 0xff, // mov $-1, %eax
        0xc3, // ret
    ];

    #[test]
    fn the_c_librarys_own_end_reads_neither() {
        assert!(returns_without_them(ALONE));
        for end in 0..ALONE.len() {
            assert!(!returns_without_them(&ALONE[..end]), "cut at {end}");
        }
    }

    #[test]
    fn a_read_of_either_is_seen_wherever_it_stands() {
        for read in [
            &[0x44, 0x89, 0xc7][..], // mov %r8d, %edi
            &[0x4c, 0x89, 0xd0],     // mov %r10, %rax
            &[0x4d, 0x89, 0x02],     // mov %r8, (%r10)
            &[0x41, 0xff, 0xd2],     // call *%r10
            &[0xe8, 0, 0, 0, 0],     // call
            &[0x0f, 0x05],           // syscall
            &[0xff, 0xe0],           // jmp *%rax
        ] {
            let with = |at: usize| [&ALONE[..at], read, &ALONE[at..]].concat();
            // Before the comparison, between it and the branch, before either return.
            for at in [0, 6, ALONE.len() - 1] {
                assert!(!returns_without_them(&with(at)), "{read:x?} at {at}");
            }
        }
    }

    #[test]
    fn a_loop_of_inlined_calls_has_no_answer() {
        // syscall's end, cmp (%rbx), a jump back to before the call
        assert!(!returns_without_them(&[0x83, 0x3b, 0x00, 0x74, 0xf0, 0xc3]));
        // Ends in the middle of nothing.
        assert!(!returns_without_them(&[]));
        assert!(!returns_without_them(&[0xeb, 0x7f]));
        // A loop of its own comes to no return; that is as good as none.
        assert!(returns_without_them(&[0x74, 0xfe, 0xc3]));
    }

    #[test]
    fn any_bytes_have_an_end() {
        let mut state = 1u32;
        for _ in 0..20_000 {
            let code: Vec<u8> = (0..64)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    state.to_be_bytes()[0]
                })
                .collect();
            returns_without_them(&code);
        }
    }
}
