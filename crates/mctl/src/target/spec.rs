//! The words that name a process.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How a person names a process: `PID`, or `PID:INODE` with the inode of its pidfd, which is
/// never used again (as util-linux 2.42 does).
///
/// ```
/// use mctl::ProcessSpec;
///
/// let spec: ProcessSpec = "1234:5678".parse()?;
/// assert_eq!((spec.pid, spec.inode), (1234, Some(5678)));
/// assert!("0".parse::<ProcessSpec>().is_err());
/// # Ok::<(), mctl::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// The process number.
    pub pid: i32,
    /// The inode of its pidfd, where given.
    pub inode: Option<u64>,
}

impl FromStr for ProcessSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<ProcessSpec> {
        let bad = |why| Error::BadTarget {
            text: text.to_owned(),
            why,
        };
        let (pid, inode) = match text.split_once(':') {
            Some((pid, inode)) => (pid, Some(inode)),
            None => (text, None),
        };
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(pid) {
            return Err(bad("give a process number, or PID:INODE"));
        }
        let pid: i32 = pid.parse().map_err(|_| bad("the number is too large"))?;
        if pid == 0 {
            return Err(bad("process numbers begin at 1"));
        }
        let inode = match inode {
            None => None,
            Some(inode) if digits(inode) => {
                Some(inode.parse().map_err(|_| bad("the inode is too large"))?)
            }
            Some(_) => return Err(bad("the inode after ':' is not a number")),
        };
        Ok(ProcessSpec { pid, inode })
    }
}

impl fmt::Display for ProcessSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inode {
            Some(inode) => write!(f, "{}:{inode}", self.pid),
            None => write!(f, "{}", self.pid),
        }
    }
}

#[cfg(test)]
mod tests {
    use mctl_abi::Errno;

    use super::*;

    #[test]
    fn words_that_name_no_process() {
        for text in [
            "",
            "0",
            "-1",
            "+1",
            " 1",
            "1 ",
            "abc",
            "1:",
            ":1",
            "1:x",
            "1:-1",
            "0x10",
            "1:2:3",
            "99999999999",
            "2147483648",
            "1:18446744073709551616",
            "１",
        ] {
            let error = text.parse::<ProcessSpec>().unwrap_err();
            assert_eq!(error.errno(), Errno::EINVAL, "{text:?}");
        }
    }

    #[test]
    fn words_that_do() {
        for (text, pid, inode) in [
            ("1", 1, None),
            ("2147483647", i32::MAX, None),
            ("7:0", 7, Some(0)),
        ] {
            let spec: ProcessSpec = text.parse().unwrap();
            assert_eq!(spec, ProcessSpec { pid, inode });
            assert_eq!(spec.to_string(), text);
        }
    }
}
