/* A libc of the future: it declares an mctl of its own, with other types, and constants. */
#define MCTL_NO_SHORT_NAMES
enum { MCTL_SET_HUGEPAGE = 1, PMADV_SKIP_ERRORS = 1 };
#define PIDFD_SELF_THREAD		-10000 /* Current thread. */
long mctl(const char *other, long types);
#include <mctl.h>
#include <mctl.h>

#include "check.h"

long mctl(const char *other, long types)
{
    return other[0] + types;
}

int main(void)
{
    CHECK(mctl("a", 1) == 'a' + 1);
    CHECK(mctl_get_policy(PIDFD_SELF) >= 0);
    FAILS(mctl_call(PIDFD_SELF, 0, 0), EINVAL);
    puts("done");
    return 0;
}
