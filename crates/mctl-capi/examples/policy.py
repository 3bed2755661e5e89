"""The huge-page policy of this very process, through ctypes: policy.py [LIBRARY]"""

import ctypes
import os
import sys

MCTL_SET_NOHUGEPAGE, MCTL_CLEAR_NOHUGEPAGE = 3, 4
MCTL_SET_DEFAULT_EXEC = 1
MCTL_POLICY_NOHUGEPAGE = 2
PIDFD_SELF = -10000

library = ctypes.CDLL(sys.argv[1] if len(sys.argv) > 1 else "libmctl.so.0", use_errno=True)
library.mctl.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_uint]
library.mctl_last_detail.restype = ctypes.c_char_p


def mctl(pidfd, action, flags=0):
    """mctl(2)-style call; raises OSError with the reason in words."""
    value = library.mctl(pidfd, action, flags)
    if value < 0:
        raise OSError(ctypes.get_errno(), library.mctl_last_detail().decode())
    return value


try:
    mctl(PIDFD_SELF, 0)
except OSError as error:
    print(error)
if os.geteuid() == 0:
    mctl(PIDFD_SELF, MCTL_SET_NOHUGEPAGE, MCTL_SET_DEFAULT_EXEC)
    assert library.mctl_get_policy(PIDFD_SELF) & MCTL_POLICY_NOHUGEPAGE
    mctl(PIDFD_SELF, MCTL_CLEAR_NOHUGEPAGE)
assert not library.mctl_get_policy(PIDFD_SELF) & MCTL_POLICY_NOHUGEPAGE
print("done")
