/* A blocking read from userfaultfd. Another process owns the memory, faults on one fresh page after
 * the other and passes us the descriptor; we fill the page in, it checks what it got. */
#include "fixture.h"
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define PAGES 64
#define PAGE 4096ul

static int faulter(int link)
{
	struct uffdio_api api = { .api = UFFD_API };
	char *mem = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register reg = { .range = { (uint64_t)mem, PAGES * PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	/* User mode faults only: that needs no privilege. */
	int fd = (int)syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */);
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	char ok = fd >= 0;
	struct iovec iov = { &ok, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (ok) {
		FX_NEED(ioctl(fd, UFFDIO_API, &api) == 0 && ioctl(fd, UFFDIO_REGISTER, &reg) == 0);
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
		control.h = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(&control.h), &fd, sizeof(fd));
	}
	FX_NEED(sendmsg(link, &m, 0) == 1);
	for (uint64_t seq = 1; ok; seq++) {
		volatile uint64_t *page = (void *)(mem + seq % PAGES * PAGE);

		fx_sleep_ms(fx_every_ms ? fx_every_ms : 3600000);
		FX_NEED(madvise((void *)page, PAGE, MADV_DONTNEED) == 0);
		fx_shared->ns = fx_now();
		fx_shared->posted = seq;
		if (*page != seq)
			fx_shared->count[0]++;
	}
	return 0;
}

int main(int argc, char **argv)
{
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	static uint64_t fill[PAGE / 8] __attribute__((aligned(4096)));
	char ok = 0;
	struct iovec iov = { &ok, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	int link[2], fd;

	fx_init(argc, argv, "read_userfaultfd");
	FX_NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, link) == 0);
	fx_feeder_pid = fx_fork();
	if (!fx_feeder_pid)
		_exit(faulter(link[1]));
	FX_NEED(recvmsg(link[0], &m, 0) == 1);
	if (!ok)
		fx_skip("no userfaultfd here");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	fx_ready(SYS_read);
	while (!fx_stop) {
		struct uffd_msg msg;
		struct uffdio_copy copy;

		memset(&msg, 0, sizeof(msg));
		if (fx_judge(FX_CALL(SYS_read, fd, &msg, sizeof(msg)), sizeof(msg), 0) != FX_EVENT)
			continue;
		if (msg.event != UFFD_EVENT_PAGEFAULT)
			fx_violation("data", "event %u", msg.event);
		fx_check_posted();
		fill[0] = fx_shared->posted;
		copy = (struct uffdio_copy){ .dst = msg.arg.pagefault.address & ~(PAGE - 1), .src = (uint64_t)fill, .len = PAGE };
		if (ioctl(fd, UFFDIO_COPY, &copy) != 0 && !fx_stop)
			fx_violation("data", "UFFDIO_COPY: %s", strerror(errno));
	}
	if (fx_shared->count[0])
		fx_violation("data", "%" PRIu64 " pages had other contents", (uint64_t)fx_shared->count[0]);
	return fx_done();
}
