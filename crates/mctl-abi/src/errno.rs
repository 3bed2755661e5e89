// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only

//! Error numbers as a newtype: a value nobody knows is kept, never mapped to another.

use core::fmt;

/// A Linux error number, positive, as in `errno(3)`.
///
/// Any value can be held. [`Errno::name`] knows the asm-generic numbers, which x86-64 and
/// aarch64 use; others print as a bare number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(i32);

macro_rules! errnos {
    ($($name:ident = $number:literal;)*) => {
        impl Errno {
            $(
                #[doc = concat!("`", stringify!($name), "`, ", stringify!($number), ".")]
                pub const $name: Errno = Errno($number);
            )*

            /// The symbol, for example `"EPERM"`; `None` for a number without one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    EPERM = 1; ENOENT = 2; ESRCH = 3; EINTR = 4; EIO = 5; ENXIO = 6; E2BIG = 7; ENOEXEC = 8;
    EBADF = 9; ECHILD = 10; EAGAIN = 11; ENOMEM = 12; EACCES = 13; EFAULT = 14; ENOTBLK = 15;
    EBUSY = 16; EEXIST = 17; EXDEV = 18; ENODEV = 19; ENOTDIR = 20; EISDIR = 21; EINVAL = 22;
    ENFILE = 23; EMFILE = 24; ENOTTY = 25; ETXTBSY = 26; EFBIG = 27; ENOSPC = 28; ESPIPE = 29;
    EROFS = 30; EMLINK = 31; EPIPE = 32; EDOM = 33; ERANGE = 34; EDEADLK = 35; ENAMETOOLONG = 36;
    ENOLCK = 37; ENOSYS = 38; ENOTEMPTY = 39; ELOOP = 40; ENOMSG = 42; EIDRM = 43; ENODATA = 61;
    ETIME = 62; EREMOTE = 66; EPROTO = 71; EBADMSG = 74; EOVERFLOW = 75; EILSEQ = 84;
    EUSERS = 87; ENOTSOCK = 88; EMSGSIZE = 90; EPROTONOSUPPORT = 93; EOPNOTSUPP = 95;
    EAFNOSUPPORT = 97; EADDRINUSE = 98; ENETDOWN = 100; ECONNABORTED = 103; ECONNRESET = 104;
    ENOBUFS = 105; EISCONN = 106; ENOTCONN = 107; ETIMEDOUT = 110; ECONNREFUSED = 111;
    EALREADY = 114; EINPROGRESS = 115; ESTALE = 116; EDQUOT = 122; ECANCELED = 125;
    ENOKEY = 126; EKEYEXPIRED = 127; EOWNERDEAD = 130; ENOTRECOVERABLE = 131; ERFKILL = 132;
    EHWPOISON = 133;
}

impl Errno {
    /// Wraps a positive error number. The value is kept whatever it is.
    #[must_use]
    pub const fn from_raw(number: i32) -> Self {
        Errno(number)
    }

    /// The number, positive.
    #[must_use]
    pub const fn raw(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name}({})", self.0),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

impl core::error::Error for Errno {}
