/*
 * read from a pipe into a page that another process serves by userfaultfd(2), after "every" ms: the thread sleeps in the
 * fault, within a call that may else be interrupted. A signal that waits there makes it fault at full speed.
 */
#include "fixture.h"
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

int main(int argc, char **argv)
{
	struct uffdio_api api = { .api = UFFD_API };
	char *page;
	int data[2];

	fx_init(argc, argv, "served");
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		fx_skip("no userfaultfd for faults in the kernel: %s", strerror(errno));
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register all = { .range = { (uint64_t)(uintptr_t)page, 4096 }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	FX_NEED(page != MAP_FAILED && ioctl(fd, UFFDIO_REGISTER, &all) == 0 && pipe(data) == 0);
	fx_feeder_pid = fx_fork();
	if (!fx_feeder_pid) {
		static char content[4096] __attribute__((aligned(4096)));

		for (;;) {
			struct uffd_msg msg;

			if (read(fd, &msg, sizeof(msg)) != sizeof(msg))
				continue;
			fx_shared->posted++;
			fx_sleep_ms(fx_every_ms);
			struct uffdio_copy copy = { .dst = (uint64_t)(uintptr_t)page, .src = (uint64_t)(uintptr_t)content, .len = 4096 };
			if (ioctl(fd, UFFDIO_COPY, &copy))
				fx_shared->count[0]++;
		}
	}
	fx_ready(SYS_read);
	for (uint64_t seq = 1; !fx_stop; seq++) {
		struct rusage before, after;

		FX_NEED(write(data[1], &seq, sizeof(seq)) == sizeof(seq));
		getrusage(RUSAGE_SELF, &before);
		long r = FX_CALL(SYS_read, data[0], page, sizeof(seq));
		getrusage(RUSAGE_SELF, &after);
		atomic_fetch_add(&fx_iterations, 1);
		if (r != sizeof(seq) && !fx_stop)
			fx_violation("result", "read returned %ld", r);
		else if (memcmp(page, &seq, sizeof(seq)))
			fx_violation("data", "not what was written");
		uint64_t ran = (uint64_t)(after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000 +
			       (uint64_t)(after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1000;
		if (ran > fx_every_ms / 2 + 10 && !fx_stop)
			fx_violation("spins", "%" PRIu64 " ms of processor in one read", ran);
		FX_NEED(madvise(page, 4096, MADV_DONTNEED) == 0);
	}
	if (fx_shared->count[0])
		fx_violation("served twice", "%" PRIu64 " times", (uint64_t)fx_shared->count[0]);
	return fx_done();
}
