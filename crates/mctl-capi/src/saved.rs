//! `mctl_save()` and `mctl_restore()`.

use std::ffi::{c_char, c_int, c_uint, c_void};

use ::mctl::{Error, Look, Saved, Target};

use crate::calls::invalid;
use crate::constants::MCTL_READ_IN_TARGET;
use crate::guard::{self, Uncancelled};
use crate::outcome::{FIRST_SIZE, RawOutcome};
use crate::user::{self, Room};

/// The switches of one process at one time, and enough to know the process again. It may be copied
/// and kept, as bytes.
///
/// It may grow at its end. Set `size` to sizeof(struct mctl_saved) before the call; afterwards it
/// says how many bytes this library filled in, and what is beyond is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawSaved {
    /// In: the size of the structure. Out: how much of it was filled in.
    pub size: u32,
    /// The process number.
    pub pid: i32,
    /// The inode of its pidfd; 0 where the kernel has none (before Linux 6.9).
    pub inode: u64,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
    /// PR_GET_THP_DISABLE; -1 where it was not known.
    pub thp_disable: i32,
    /// PR_GET_MEMORY_MERGE; -1 where it was not known.
    pub mergeable: i32,
    /// The mask of MCTL_GET_POLICY; -1 on a kernel that keeps none.
    pub record: i32,
    /// 0.
    pub flags: u32,
    /// What governs huge pages, in a word; empty where nothing was known.
    pub thp: [c_char; 32],
    /// Its command name, for people.
    pub name: [c_char; 32],
}

const SIZE: usize = size_of::<RawSaved>();
const TEXT: usize = 32;

fn bytes(saved: &Saved) -> Vec<u8> {
    let number = |value: Option<i64>| value.and_then(|v| i32::try_from(v).ok()).unwrap_or(-1);
    let mut bytes = vec![0; 4];
    bytes.extend(saved.pid.to_ne_bytes());
    bytes.extend(saved.inode.unwrap_or(0).to_ne_bytes());
    bytes.extend(saved.start_time.to_ne_bytes());
    bytes.extend(number(saved.thp_disable).to_ne_bytes());
    bytes.extend(number(saved.mergeable.map(i64::from)).to_ne_bytes());
    bytes.extend(number(saved.record.map(i64::from)).to_ne_bytes());
    bytes.extend([0; 4]);
    for text in [saved.thp.as_deref().unwrap_or_default(), &saved.name] {
        let mut field = [0; TEXT];
        // The last one stays 0.
        let room = field.iter_mut().take(TEXT - 1);
        room.zip(text.bytes()).for_each(|(to, from)| *to = from);
        bytes.extend(field);
    }
    bytes
}

/// The reverse of [`bytes`].
fn saved(bytes: &[u8; SIZE]) -> Result<Saved, Error> {
    let word = |at: usize| {
        let mut word = [0; 4];
        let from = bytes.iter().skip(at);
        word.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        i32::from_ne_bytes(word)
    };
    let long = |at: usize| {
        let mut long = [0; 8];
        let from = bytes.iter().skip(at);
        long.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        u64::from_ne_bytes(long)
    };
    let text = |at: usize| -> String {
        let field = bytes.iter().skip(at).take(TEXT);
        let field: Vec<u8> = field.copied().take_while(|byte| *byte != 0).collect();
        String::from_utf8_lossy(&field).into_owned()
    };
    let mergeable = match word(28) {
        -1 => None,
        0 => Some(false),
        1 => Some(true),
        other => return Err(invalid(format!("mergeable is {other}: no saved state"))),
    };
    let record = word(32);
    let thp = text(40);
    Ok(Saved {
        pid: word(4),
        inode: Some(long(8)).filter(|inode| *inode != 0),
        start_time: long(16),
        name: text(40 + TEXT),
        thp_disable: Some(i64::from(word(24))).filter(|switch| *switch != -1),
        thp: Some(thp).filter(|word| !word.is_empty()),
        mergeable,
        record: u32::try_from(record).ok(),
    })
}

/// Saves the switches of a process, for mctl_restore().
///
/// `pidfd` is as for mctl_call(). `options` is 0, and the process is left alone: what /proc does
/// not tell is -1, and stays as it is when the state is restored. With MCTL_READ_IN_TARGET it is
/// read by a call in the process, one thread of which is stopped for it; EBUSY where that is not
/// possible.
///
/// Returns 0; -1 with errno: EBADF, ESRCH, EPERM, EFAULT a bad `out`, EINVAL its size or unknown
/// options.
///
/// # Safety
/// `out` is the caller's to be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mctl_save(pidfd: c_int, options: c_uint, out: *mut RawSaved) -> c_int {
    guard::enter(-1, |_| {
        let look = match options {
            0 => Look::Proc,
            MCTL_READ_IN_TARGET => Look::Exact,
            other => return Err(invalid(format!("mctl_save() does not take {other:#x}"))),
        };
        let _uncancelled = Uncancelled::new();
        // SAFETY: what the caller gave for us to use.
        let room = unsafe { Room::open(out.cast::<c_void>(), SIZE, "struct mctl_saved") }?;
        let state = Saved::of(&Target::from_raw(pidfd)?, look)?;
        // SAFETY: as above.
        unsafe { room.fill(&bytes(&state)) }?;
        Ok(0)
    })
}

/// Puts the switches of a process back to what mctl_save() found. `out` is NULL, or says what was
/// done, as after mctl_outcome().
///
/// Returns 0; -1 with errno: ESRCH the process has ended, also where another has its number now;
/// EOPNOTSUPP a state that cannot be set, or one of which was not known what it was, where that
/// makes a difference; EPERM, EBUSY, EFAULT, EINVAL no saved state. Nothing was changed then.
///
/// # Safety
/// `state` is the caller's to be read and `out` to be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mctl_restore(state: *const RawSaved, out: *mut RawOutcome) -> c_int {
    guard::enter(-1, |detail| {
        let _uncancelled = Uncancelled::new();
        let from = state.cast::<c_void>();
        // SAFETY: what the caller gave for us to read.
        unsafe { user::size_of_structure(from, SIZE, "struct mctl_saved") }?;
        let mut kept = [0; SIZE];
        // SAFETY: as above.
        unsafe { user::copy_in(from, &mut kept, "struct mctl_saved") }?;
        let state = saved(&kept)?;
        let room = if out.is_null() {
            None
        } else {
            // SAFETY: what the caller gave for us to use.
            Some(unsafe { Room::open(out.cast::<c_void>(), FIRST_SIZE, "struct mctl_outcome") }?)
        };
        let outcome = state.restore()?;
        if let Some(room) = room {
            // SAFETY: as above.
            unsafe { room.fill(&RawOutcome::new(&outcome).to_bytes()) }?;
        }
        let notes: Vec<String> = outcome.notes.iter().map(ToString::to_string).collect();
        detail.keep(format_args!("{}", notes.join("; ")));
        Ok(0)
    })
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(SIZE, 104);
        assert_eq!(offset_of!(RawSaved, thp_disable), 24);
        assert_eq!(offset_of!(RawSaved, record), 32);
        assert_eq!(
            (offset_of!(RawSaved, thp), offset_of!(RawSaved, name)),
            (40, 72)
        );
        let known = Saved {
            pid: 7,
            inode: Some(99),
            start_time: 5,
            name: "x".to_owned(),
            thp_disable: Some(3),
            thp: Some("inherit-or-advised".to_owned()),
            mergeable: Some(true),
            record: Some(0x202),
        };
        let unknown = Saved {
            inode: None,
            thp_disable: None,
            thp: None,
            mergeable: None,
            record: None,
            ..known.clone()
        };
        for state in [known, unknown] {
            let bytes: [u8; SIZE] = bytes(&state).try_into().unwrap();
            assert_eq!(saved(&bytes).unwrap(), state);
        }
        let mut bad = [0; SIZE];
        bad[28] = 9;
        assert!(saved(&bad).is_err());
    }
}
