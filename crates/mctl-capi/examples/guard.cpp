// No huge pages while a latency-critical section runs: the policy as a C++17 scope.
#include <cerrno>
#include <iostream>
#include <system_error>

#include <mctl.h>

class NoHugePages {
public:
    NoHugePages()
    {
        struct mctl_outcome outcome = {};
        outcome.size = sizeof outcome;
        if (::mctl_outcome(PIDFD_SELF, MCTL_SET_NOHUGEPAGE, 0, MCTL_BEST_EFFORT, &outcome) != 0)
            throw std::system_error(errno, std::generic_category(), mctl_last_detail());
    }
    NoHugePages(const NoHugePages &) = delete;
    NoHugePages &operator=(const NoHugePages &) = delete;
    ~NoHugePages() { mctl(PIDFD_SELF, MCTL_CLEAR_NOHUGEPAGE, 0); }
};

int main()
{
    try {
        {
            NoHugePages scope;
            if (!(mctl_get_policy(PIDFD_SELF) & MCTL_POLICY_NOHUGEPAGE))
                return 1;
        }
        if (mctl_get_policy(PIDFD_SELF) & MCTL_POLICY_NOHUGEPAGE)
            return 1;
    } catch (const std::system_error &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
    std::cout << "done\n";
    return 0;
}
