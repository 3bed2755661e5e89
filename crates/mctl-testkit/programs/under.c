/*
 * A tool, not a fixture: becomes another program under a seccomp filter that refuses some calls.
 *
 *   under [refuse=NR[/ARG0]:ERRNO]... [kill=NR[/ARG0]]... -- PROGRAM [ARGUMENT]...
 *
 * NR is a system call of this architecture; with ARG0 it is refused, or the process killed, only where that is its
 * first argument.
 */
#include "fixture.h"
#include <linux/filter.h>
#include <linux/seccomp.h>

#define MOST 32

int main(int argc, char **argv)
{
	static struct sock_filter code[MOST * 6 + 2];
	struct sock_fprog program = { .filter = code };
	unsigned short n = 0;
	int i;

	for (i = 1; i < argc && strcmp(argv[i], "--"); i++) {
		long nr, arg = -1;
		int err = 0, at = 0;

		bool kills = !strncmp(argv[i], "kill=", 5);

		if (i > MOST || sscanf(argv[i], kills ? "kill=%ld%n" : "refuse=%ld%n", &nr, &at) != 1)
			return 64;
		if (argv[i][at] == '/') {
			int more = 0;

			if (sscanf(argv[i] + at, "/%ld%n", &arg, &more) != 1)
				return 64;
			at += more;
		}
		if (kills ? argv[i][at] != 0 : sscanf(argv[i] + at, ":%d", &err) != 1)
			return 64;
		code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, arg < 0 ? 1 : 3);
		if (arg >= 0) {
			code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
								 offsetof(struct seccomp_data, args[0]));
			code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, arg, 0, 1);
		}
		code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, kills ? SECCOMP_RET_KILL_PROCESS
								      : SECCOMP_RET_ERRNO | err);
	}
	if (i + 1 >= argc)
		return 64;
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	program.len = n;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0)) {
		perror("under: seccomp");
		return FX_EXIT_SKIP;
	}
	execvp(argv[i + 1], argv + i + 1);
	perror("under: exec");
	return 127;
}
