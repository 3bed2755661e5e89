/* seccomp's strict mode: only read, write, _exit and sigreturn. It blocks in read on stdin and ends
 * at end of file. Anything else that runs in it kills it. */
#include "fixture.h"
#include <linux/seccomp.h>

int main(int argc, char **argv)
{
	static const char verdict[] = "{\"program\":\"seccomp_strict\",\"iterations\":1,\"total\":0,\"violations\":[]}\n";
	char c;

	fx_init(argc, argv, "seccomp_strict");
	fx_check_mask = false;
	fx_ready(SYS_read);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		syscall(SYS_exit, 70);
	/* SIGTERM's handler may run; the end of file ends it. */
	while (syscall(SYS_read, 0, &c, 1) != 0)
		if (!fx_stop && c != '\n')
			syscall(SYS_exit, 3);
	if (syscall(SYS_write, 1, verdict, sizeof(verdict) - 1) < 0)
		syscall(SYS_exit, 4);
	syscall(SYS_exit, 0);
	return 5;
}
