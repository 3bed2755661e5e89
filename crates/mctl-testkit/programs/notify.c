/*
 * mkdir under a seccomp filter whose listener answers in our place, after "every" ms, by making the folder itself. Asked
 * twice for one call, it finds the folder there: the second answer is EEXIST. The listener is a process that shares our
 * descriptors, so that nobody else of this process can be stopped.
 */
#include "fixture.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

static void supervise(int fd)
{
	uint64_t asked = 0;

	for (;;) {
		struct seccomp_notif n = { 0 };
		struct seccomp_notif_resp r = { 0 };

		if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n))
			continue;
		fx_shared->posted = ++asked;
		fx_sleep_ms(fx_every_ms);
		if (!asked || mkdir("supervised", 0700))
			r.error = -errno;
		r.id = n.id;
		ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &r);
	}
}

int main(int argc, char **argv)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdirat, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { 4, code };
	uint64_t calls = 0;

	fx_init(argc, argv, "notify");
	FX_NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	int to[2];
	FX_NEED(pipe(to) == 0);
	/* With our descriptors, those made later too. */
	fx_feeder_pid = (pid_t)syscall(SYS_clone, 0x400 /* CLONE_FILES */ | SIGCHLD, 0, 0, 0, 0);
	FX_NEED(fx_feeder_pid >= 0);
	if (!fx_feeder_pid) {
		int fd = -1;

		FX_PR_SET_PDEATHSIG_KILL();
		signal(SIGTERM, SIG_DFL);
		FX_NEED(read(to[0], &fd, sizeof(fd)) == sizeof(fd));
		supervise(fd);
	}
	int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog);
	if (fd < 0)
		fx_skip("no listener: %s", strerror(errno));
	FX_NEED(write(to[1], &fd, sizeof(fd)) == sizeof(fd));
	fx_ready(SYS_mkdirat);
	while (!fx_stop) {
		long r = FX_CALL(SYS_mkdirat, AT_FDCWD, "supervised", 0700);

		atomic_fetch_add(&fx_iterations, 1);
		calls++;
		if (r && !fx_stop)
			fx_violation("twice", "mkdir returned %ld (%s)", r, strerror((int)-r));
		if (fx_shared->posted != calls && !fx_stop)
			fx_violation("twice", "asked %" PRIu64 " times for %" PRIu64 " calls", (uint64_t)fx_shared->posted, calls);
		rmdir("supervised");
	}
	rmdir("supervised");
	return fx_done();
}
