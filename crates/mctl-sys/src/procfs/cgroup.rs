//! `/proc/PID/cgroup`: the cgroups that a process is in.
//!
//! Source: `cgroups(7)`; `proc_cgroup_show()` in `kernel/cgroup/cgroup.c`.

use super::error::{Malformed, ParseError};
use super::lines::{Lines, split_at_byte};
use super::num::dec_u32;

/// One hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupLine<'a> {
    /// The hierarchy's id; 0 is cgroup v2.
    pub hierarchy: u32,
    /// The controllers, separated by commas, or `name=…`; empty for v2.
    pub controllers: &'a [u8],
    /// The path from the root of the hierarchy as the reader's cgroup namespace shows it, raw. A
    /// group that was removed under a zombie ends in ` (deleted)`; one outside the namespace begins
    /// with `/..`.
    pub path: &'a [u8],
}

impl<'a> CgroupLine<'a> {
    /// Parses one line, without its newline.
    ///
    /// # Errors
    ///
    /// [`Malformed`] names the first field that is not as the kernel writes it.
    pub fn parse(line: &'a [u8]) -> Result<Self, Malformed> {
        let (id, rest) = split_at_byte(line, b':').ok_or(Malformed::Missing("hierarchy"))?;
        // A path may hold colons, a list of controllers may not.
        let (controllers, path) = split_at_byte(rest, b':').ok_or(Malformed::Missing("path"))?;
        Ok(Self {
            hierarchy: dec_u32(id, "hierarchy")?,
            controllers,
            path,
        })
    }

    /// Whether it is the cgroup v2 hierarchy.
    #[must_use]
    pub const fn is_v2(&self) -> bool {
        self.hierarchy == 0 && self.controllers.is_empty()
    }
}

/// The lines of a text.
pub fn lines(text: &[u8]) -> impl Iterator<Item = Result<CgroupLine<'_>, ParseError>> {
    Lines::new(text)
        .map(|(line, bytes)| CgroupLine::parse(bytes).map_err(|kind| ParseError { line, kind }))
}

/// The path in the cgroup v2 hierarchy, or `None` on a host without one.
///
/// # Errors
///
/// [`ParseError`], if a line before it cannot be understood.
pub fn v2_path(text: &[u8]) -> Result<Option<&[u8]>, ParseError> {
    for line in lines(text) {
        let line = line?;
        if line.is_v2() {
            return Ok(Some(line.path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_versions() {
        let text = b"9:name=systemd:/\n4:memory:/jobs/a:b\n2:cpu,cpuacct:/\n0::/user.slice/x y\n";
        let all: Vec<_> = lines(text).map(Result::unwrap).collect();
        assert_eq!(all.len(), 4);
        assert_eq!(
            (all[0].hierarchy, all[0].controllers),
            (9, &b"name=systemd"[..])
        );
        assert_eq!(all[1].path, b"/jobs/a:b");
        assert_eq!(v2_path(text), Ok(Some(&b"/user.slice/x y"[..])));
        assert_eq!(v2_path(b"1:cpu:/\n"), Ok(None));
        let error = ParseError {
            line: 2,
            kind: Malformed::Missing("path"),
        };
        assert_eq!(v2_path(b"1:cpu:/\n0:/\n"), Err(error));
    }

    proptest! {
        #[test]
        fn any_path_is_kept(path in proptest::collection::vec(any::<u8>().prop_filter("newline", |&b| b != b'\n'), 0..64)) {
            let text = [b"0::", &path[..], b"\n"].concat();
            prop_assert_eq!(v2_path(&text), Ok(Some(&path[..])));
        }

        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..128)) {
            lines(&text).for_each(drop);
        }
    }
}
