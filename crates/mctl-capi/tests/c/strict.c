/* The header alone, without any feature macro. */
#include <mctl.h>

int main(void)
{
    struct mctl_outcome outcome = { sizeof(struct mctl_outcome), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
    int (*call)(int, int, unsigned int) = mctl;
    ssize_t (*advise)(int, unsigned int, const struct iovec *, size_t, int, unsigned int) =
        mctl_process_madvise;

    if (sizeof(outcome) != 128 || advise == 0)
        return 1;
    return call(PIDFD_SELF, MCTL_GET_POLICY, 0) < 0;
}
