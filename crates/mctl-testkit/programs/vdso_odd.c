/*
 * A program whose vDSO is not as the kernel mapped it (kind=…):
 *   not-executable  it may only be read; there is a SIGSEGV handler, which must stay and never run
 *   gone            unmapped
 *   moved           at another address
 *   patched         with other code in it
 *   unserved        unmapped, and in its place memory that nobody will ever serve (userfaultfd): whoever reads that
 *                   waits for ever
 * It sleeps in read(2), entered by an instruction of its C library. It cannot use the vDSO's clock.
 */
#include "fixture.h"
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

static _Atomic int handled;

static void on_signal(int sig)
{
	(void)sig;
	handled++;
}

static void find(unsigned long *lo, unsigned long *hi)
{
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");

	*lo = *hi = 0;
	while (maps && fgets(line, sizeof(line), maps))
		if (strstr(line, "[vdso]"))
			sscanf(line, "%lx-%lx", lo, hi);
	if (maps)
		fclose(maps);
	if (!*lo)
		fx_skip("no vDSO");
}

static void unserved(void *at, size_t size)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register all = { .range = { (uintptr_t)at, size }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	long fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (fd < 0)
		fx_skip("no userfaultfd: %s", strerror(errno));
	FX_NEED(mmap(at, size, PROT_READ | PROT_WRITE | PROT_EXEC, flags, -1, 0) == at);
	FX_NEED(ioctl((int)fd, UFFDIO_API, &api) == 0);
	FX_NEED(ioctl((int)fd, UFFDIO_REGISTER, &all) == 0);
}

int main(int argc, char **argv)
{
	unsigned long lo, hi;
	int ends[2];
	char byte;

	fx_init(argc, argv, "vdso_odd");
	const char *kind = fx_word("kind", "not-executable");
	find(&lo, &hi);
	void *at = (void *)lo;
	size_t size = hi - lo;

	FX_NEED(pipe(ends) == 0);
	fx_handle(SIGSEGV, on_signal);
	if (!strcmp(kind, "not-executable"))
		FX_NEED(mprotect(at, size, PROT_READ) == 0);
	if (!strcmp(kind, "gone") || !strcmp(kind, "unserved"))
		FX_NEED(munmap(at, size) == 0);
	if (!strcmp(kind, "unserved"))
		unserved(at, size);
	if (!strcmp(kind, "moved")) {
		void *there = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		FX_NEED(there != MAP_FAILED);
		FX_NEED(mremap(at, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, there) == there);
	}
	if (!strcmp(kind, "patched")) {
		if (mprotect(at, size, PROT_READ | PROT_WRITE | PROT_EXEC))
			fx_skip("the vDSO cannot be made writable: %s", strerror(errno));
		/* Padding, so that its functions work on. */
		for (uint8_t *p = (uint8_t *)at + size - 8; p > (uint8_t *)at; p--)
			if (*p == 0x90 || *p == 0xcc) {
				*p ^= 0x90 ^ 0xcc;
				break;
			}
	}
	fx_say("ready %d", SYS_read);
	while (!fx_stop) {
		ssize_t r = read(ends[0], &byte, 1);

		if (r != -1 || errno != EINTR || !fx_stop)
			fx_violation("result", "returned %zd", r);
	}
	fx_iterations++;
	struct sigaction now;

	sigaction(SIGSEGV, NULL, &now);
	if (now.sa_handler != on_signal || handled)
		fx_violation("handler", "lost, or run %d times", handled);
	return fx_done();
}
