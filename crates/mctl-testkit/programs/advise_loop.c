/*
 * A tool, no fixture: what a careful C programmer would write by hand. PID ADVICE FROM TO: advises every
 * mapping of the process between two addresses by process_madvise in maximal batches (1,024 entries, and as
 * many bytes as a call carries out); a mapping that fails is passed over. Prints "select NS give NS bytes N
 * calls N wall NS": the processor time to read the mappings and that of the calls, and the wall time of both.
 */
#include "fixture.h"
#include <sys/uio.h>

#define MOST 0x7ffff000ul

static uint64_t cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static struct iovec *list;
static size_t count, room;

static void add(unsigned long from, unsigned long to)
{
	while (from < to) {
		unsigned long len = to - from < MOST ? to - from : MOST;

		if (count == room) {
			room = room ? 2 * room : 4096;
			list = realloc(list, room * sizeof(*list));
			FX_NEED(list);
		}
		list[count++] = (struct iovec){ (void *)from, len };
		from += len;
	}
}

static void read_maps(const char *pid, unsigned long from, unsigned long to)
{
	char path[64], line[512];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/maps", pid);
	f = fopen(path, "r");
	FX_NEED(f);
	while (fgets(line, sizeof(line), f)) {
		char *rest;
		unsigned long a = strtoul(line, &rest, 16), b = strtoul(rest + 1, NULL, 16);

		a = a < from ? from : a;
		b = b > to ? to : b;
		if (a < b)
			add(a, b);
	}
	fclose(f);
}

int main(int argc, char **argv)
{
	unsigned long bytes = 0, calls = 0;
	uint64_t t0, t1, t2, wall;
	int fd;

	FX_NEED(argc == 5);
	fd = (int)syscall(434 /* pidfd_open */, atoi(argv[1]), 0);
	FX_NEED(fd >= 0);
	wall = fx_now();
	t0 = cpu();
	read_maps(argv[1], strtoul(argv[3], NULL, 0), strtoul(argv[4], NULL, 0));
	t1 = cpu();
	for (size_t i = 0; i < count;) {
		size_t n = 0, sum = 0;

		while (i + n < count && n < 1024 && (!n || sum + list[i + n].iov_len <= MOST))
			sum += list[i + n++].iov_len;
		long done = syscall(440 /* process_madvise */, fd, list + i, n, atoi(argv[2]), 0);

		calls++;
		if (done < 0) {
			i++; /* the first one failed */
			continue;
		}
		bytes += (unsigned long)done;
		for (unsigned long left = (unsigned long)done; left && i < count; i++)
			left -= list[i].iov_len;
	}
	t2 = cpu();
	wall = fx_now() - wall;
	printf("select %" PRIu64 " give %" PRIu64 " bytes %lu calls %lu wall %" PRIu64 "\n", t1 - t0, t2 - t1, bytes, calls, wall);
	return 0;
}
