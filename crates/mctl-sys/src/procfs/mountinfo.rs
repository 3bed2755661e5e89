//! `/proc/PID/mountinfo`: which devices are tmpfs, and so which mappings are shmem.
//!
//! Source: `proc_pid_mountinfo(5)`; `show_mountinfo()` in `fs/proc_namespace.c`.
//!
//! Not all shmem is here: memfd, System V shared memory and `MAP_SHARED | MAP_ANONYMOUS` live on a
//! mount inside the kernel that no list shows. Their mappings are known by name (`/memfd:…`,
//! `/SYSV…`, `/dev/zero (deleted)`).

use std::borrow::Cow;

use super::error::{Malformed, ParseError};
use super::lines::{Lines, split_at_byte};
use super::maps::Dev;
use super::num::dec_u32;

/// One mount. Texts are raw: a space, a tab, a newline and a backslash are written in octal, as
/// `\040`; see [`unescape`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountLine<'a> {
    /// The mount's id.
    pub id: u32,
    /// The parent mount's id.
    pub parent: u32,
    /// The device, as in `maps`.
    pub dev: Dev,
    /// The directory of the file system that is the mount's root.
    pub root: &'a [u8],
    /// Where it is mounted.
    pub mount_point: &'a [u8],
    /// The mount's own options.
    pub options: &'a [u8],
    /// The optional fields, such as `shared:1 master:2`; often empty.
    pub optional: &'a [u8],
    /// The file system's type.
    pub fs_type: &'a [u8],
    /// The source, such as a block device.
    pub source: &'a [u8],
    /// The file system's options. For tmpfs `huge=…` is among them where it is not `never`.
    pub super_options: &'a [u8],
}

impl<'a> MountLine<'a> {
    /// Parses one line, without its newline.
    ///
    /// # Errors
    ///
    /// [`Malformed`] names the first field that is not as the kernel writes it.
    pub fn parse(line: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = line;
        let mut next = |what| -> Result<&'a [u8], Malformed> {
            let (word, tail) = split_at_byte(rest, b' ').ok_or(Malformed::Missing(what))?;
            rest = tail;
            Ok(word)
        };
        let id = dec_u32(next("mount id")?, "mount id")?;
        let parent = dec_u32(next("parent id")?, "parent id")?;
        let dev = next("device")?;
        let (major, minor) =
            split_at_byte(dev, b':').ok_or(Malformed::Separator("device major"))?;
        // Decimal here, hexadecimal in maps.
        let major = dec_u32(major, "device major")?;
        let minor = dec_u32(minor, "device minor")?;
        let root = next("root")?;
        let mount_point = next("mount point")?;
        let options = next("options")?;
        // The optional fields end at a lone dash, which may follow at once.
        let (optional, tail) = match rest.strip_prefix(b"- ") {
            Some(tail) => (&[][..], tail),
            None => {
                let dash = memchr::memmem::find(rest, b" - ").ok_or(Malformed::Missing("dash"))?;
                let (optional, tail) = rest.split_at_checked(dash).unwrap_or_default();
                (optional, tail.get(3..).unwrap_or_default())
            }
        };
        let (fs_type, tail) = split_at_byte(tail, b' ').ok_or(Malformed::Missing("type"))?;
        let (source, super_options) =
            split_at_byte(tail, b' ').ok_or(Malformed::Missing("source"))?;
        Ok(Self {
            id,
            parent,
            dev: Dev { major, minor },
            root,
            mount_point,
            options,
            optional,
            fs_type,
            source,
            super_options,
        })
    }

    /// Whether mappings of its files are shmem.
    #[must_use]
    pub fn is_tmpfs(&self) -> bool {
        // devtmpfs is a tmpfs wherever CONFIG_TMPFS is set.
        matches!(self.fs_type, b"tmpfs" | b"devtmpfs")
    }

    /// The word after `huge=` in the file system's options. tmpfs writes none for `never`.
    #[must_use]
    pub fn huge(&self) -> Option<&'a [u8]> {
        self.super_options
            .split(|&byte| byte == b',')
            .find_map(|option| option.strip_prefix(b"huge="))
    }
}

/// The mounts of a text, one `Result` per line.
#[derive(Clone, Debug)]
pub struct MountLines<'a>(Lines<'a>);

impl<'a> MountLines<'a> {
    /// Starts at the first line.
    #[must_use]
    pub fn new(text: &'a [u8]) -> Self {
        Self(Lines::new(text))
    }
}

impl<'a> Iterator for MountLines<'a> {
    type Item = Result<MountLine<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (line, bytes) = self.0.next()?;
        Some(MountLine::parse(bytes).map_err(|kind| ParseError { line, kind }))
    }
}

/// The tmpfs mounts of a text; a device may come more than once. Lines that cannot be understood
/// are errors, since a mount that is overlooked would make shmem look like a file.
pub fn tmpfs_mounts(text: &[u8]) -> impl Iterator<Item = Result<MountLine<'_>, ParseError>> {
    MountLines::new(text).filter(|mount| !matches!(mount, Ok(mount) if !mount.is_tmpfs()))
}

/// Undoes the octal escapes of a path. Allocates only if there is one.
#[must_use]
pub fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return Cow::Owned(plain),
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                tail @ ..,
            ] => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                tail
            }
            [byte, tail @ ..] => {
                plain.push(*byte);
                tail
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_data::MOUNTINFO;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn captured_lines() {
        let mounts: Vec<_> = MountLines::new(MOUNTINFO).map(Result::unwrap).collect();
        assert_eq!(mounts.len(), 6);
        assert_eq!(
            (mounts[0].id, mounts[0].parent, mounts[0].fs_type),
            (22, 27, &b"proc"[..])
        );
        let tmpfs: Vec<_> = tmpfs_mounts(MOUNTINFO).map(Result::unwrap).collect();
        assert_eq!(tmpfs.len(), 3);
        assert_eq!(
            tmpfs[1].dev,
            Dev {
                major: 0,
                minor: 23
            }
        );
        assert_eq!(
            (tmpfs[1].mount_point, tmpfs[1].huge()),
            (&b"/dev/shm"[..], None)
        );
        assert_eq!(tmpfs[2].huge(), Some(&b"within_size"[..]));
        assert_eq!(tmpfs[2].optional, b"shared:12 master:3");
        assert_eq!(&*unescape(tmpfs[2].mount_point), b"/mnt/two words");
    }

    #[test]
    fn a_bad_line_is_not_passed_over() {
        let text = b"22 27 0:21 / /proc rw - proc proc rw\nrubbish\n";
        let errors: Vec<_> = tmpfs_mounts(text).map(Result::unwrap_err).collect();
        assert_eq!(
            errors,
            [ParseError {
                line: 2,
                kind: Malformed::Missing("mount id")
            }]
        );
    }

    #[test]
    fn escapes() {
        assert_eq!(&*unescape(br"a\040b\134c\12\999"), br"a b\c\12\999");
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..256)) {
            MountLines::new(&text).for_each(drop);
            let _ = unescape(&text);
        }

        #[test]
        fn never_panics_on_a_cut_text(length in 0..MOUNTINFO.len()) {
            MountLines::new(&MOUNTINFO[..length]).for_each(drop);
        }

        #[test]
        fn escapes_round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let escaped: Vec<u8> = bytes
                .iter()
                .flat_map(|&byte| match byte {
                    b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
                    byte => vec![byte],
                })
                .collect();
            prop_assert_eq!(&*unescape(&escaped), &bytes[..]);
        }
    }
}
