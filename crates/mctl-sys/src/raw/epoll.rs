//! epoll_pwait2(2), as far as it is needed here: whether it is there.

use mctl_abi::Errno;

use super::checked;

const EPOLL_PWAIT2: libc::c_long = 441;

/// Whether epoll_pwait2(2) (Linux 5.11) can be called by us.
pub(crate) fn pwait2_is_there() -> bool {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    let no_time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let no_mask = std::ptr::null::<libc::sigset_t>();
    // SAFETY: room for one event, a valid time, no mask; there is no such descriptor.
    let ret = unsafe {
        libc::syscall(
            EPOLL_PWAIT2,
            -1,
            &raw mut event,
            1,
            &raw const no_time,
            no_mask,
            8,
        )
    };
    checked(ret) == Err(Errno::EBADF)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_answer_is_the_kernels() {
        // Nothing but ENOSYS or a filter says no; without either it is there.
        let again = super::pwait2_is_there();
        assert_eq!(super::pwait2_is_there(), again);
    }
}
