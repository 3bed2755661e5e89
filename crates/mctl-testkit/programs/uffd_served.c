/* Memory whose missing pages the program itself serves by userfaultfd, as a garbage collector or a
 * virtual machine does. "memory ADDR LEN" says where it is.
 *   size  MiB of it (default 8)
 *   mode  0  the first thread serves
 *         1  another thread serves, the first one sleeps
 *         2  another thread serves, the first one works
 *         3  nobody serves */
#include "fixture.h"
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>

#define PAGE 4096ul

static int fd;

static void *serve(void *arg)
{
	static char fill[PAGE] __attribute__((aligned(4096)));

	(void)arg;
	memset(fill, 7, sizeof(fill));
	while (!fx_stop) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		struct uffdio_copy copy;
		struct uffd_msg msg;

		if (poll(&p, 1, -1) != 1) {
			if (!fx_stop)
				fx_violation("poll", "%s", strerror(errno));
			continue;
		}
		if (read(fd, &msg, sizeof(msg)) != sizeof(msg) || msg.event != UFFD_EVENT_PAGEFAULT)
			continue;
		copy = (struct uffdio_copy){ .dst = msg.arg.pagefault.address & ~(PAGE - 1), .src = (uint64_t)fill, .len = PAGE };
		if (ioctl(fd, UFFDIO_COPY, &copy) != 0 && errno != EEXIST)
			fx_violation("serve", "%s", strerror(errno));
		fx_iterations++;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct uffdio_api api = { .api = UFFD_API };
	volatile uint64_t work = 0;
	pthread_t t;

	fx_init(argc, argv, "uffd_served");
	size_t len = fx_number("size", 8) << 20;
	uint64_t mode = fx_number("mode", 0);
	/* Faults of the kernel too: that takes a privilege, or a knob. */
	fd = (int)syscall(SYS_userfaultfd, O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) != 0)
		fx_skip("no userfaultfd here: %s", strerror(errno));
	char *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register reg = { .range = { (uint64_t)mem, len }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	FX_NEED(mem != MAP_FAILED && ioctl(fd, UFFDIO_REGISTER, &reg) == 0);
	if (mode == 1 || mode == 2)
		FX_NEED(pthread_create(&t, NULL, serve, NULL) == 0);
	fx_iterations = 1;
	fx_say("memory %#lx %zu", (unsigned long)mem, len);
	fx_ready(-1);
	if (mode == 0)
		serve(NULL);
	while (!fx_stop) {
		if (mode != 2)
			fx_sleep_ms(100);
		else if (!(++work & 0xffffff))
			sched_yield();
	}
	return fx_done();
}
