// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * What mctl() costs and what it brings, on a kernel that has it. For a guest of our own only: the
 * host's THP knob is turned. Times in a guest are emulated; only their ratios mean something.
 *
 *   cost     SET and CLEAR of every O(1) policy at 40, 1,000 and 60,000 VMAs, beside madvise(2)
 *   always   random access over 1 GiB on a `madvise` host, without a policy and under Always
 *   never    resident memory of 64 threads with an arena each on an `always` host, and under Never
 *   fade DIR a survivor's refaults and time after a job has died, and the job's own when it is rerun
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SELF (-10001)
#define HUGE (2ul << 20)
enum { SET_HUGEPAGE = 1, CLEAR_HUGEPAGE, SET_NOHUGEPAGE, CLEAR_NOHUGEPAGE, SET_FADE, CLEAR_FADE };

static long nr;

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static void policy(int action)
{
	if (syscall(nr, SELF, action, 0) < 0)
		fail("mctl");
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		fail(path);
	close(fd);
}

static bool read_key(const char *path, const char *key, unsigned long *value)
{
	char line[256];
	size_t len = strlen(key);
	FILE *f = fopen(path, "r");
	bool found = false;

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, len) && (line[len] == ' ' || line[len] == ':')) {
			*value = strtoul(line + len + 1, NULL, 10);
			found = true;
			break;
		}
	if (f)
		fclose(f);
	return found;
}

static unsigned long need_key(const char *path, const char *key)
{
	unsigned long value = 0;

	if (!read_key(path, key, &value)) {
		errno = ENOENT;
		fail(key);
	}
	return value;
}

static void host(const char *word)
{
	write_file("/sys/kernel/mm/transparent_hugepage/enabled", word);
}

/* Neighbours of different protection do not merge. */
static char *vmas(size_t count)
{
	char *p = mmap(NULL, count * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		fail("mmap");
	for (size_t i = 0; i < count; i += 2)
		if (mprotect(p + i * 4096, 4096, PROT_READ))
			fail("mprotect");
	return p;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median_pair(int set, int clear, int rounds)
{
	double *times = calloc((size_t)rounds, sizeof(*times));

	for (int i = 0; i < rounds; i++) {
		double begun = now();

		policy(set);
		policy(clear);
		times[i] = (now() - begun) / 2;
	}
	qsort(times, (size_t)rounds, sizeof(*times), by_value);
	double median = times[rounds / 2];
	free(times);
	return median;
}

static void cost(void)
{
	static const size_t counts[] = { 40, 1000, 60000 };

	printf("vmas\tSET/CLEAR never us\talways us\tfade us\tmadvise over all us\tratio\n");
	for (size_t i = 0; i < 3; i++) {
		size_t n = counts[i];
		char *p = vmas(n);
		double never = median_pair(SET_NOHUGEPAGE, CLEAR_NOHUGEPAGE, 301);
		double always = median_pair(SET_HUGEPAGE, CLEAR_HUGEPAGE, 301);
		double fade = median_pair(SET_FADE, CLEAR_FADE, 301);
		double begun = now();
		int rounds = n > 10000 ? 3 : 31;

		for (int k = 0; k < rounds; k++)
			if (madvise(p, n * 4096, k % 2 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
				fail("madvise");
		double all = (now() - begun) / rounds;
		double worst = never > always ? never : always;

		worst = worst > fade ? worst : fade;
		printf("%zu\t%.2f\t%.2f\t%.2f\t%.1f\t%.0f\n", n, never * 1e6, always * 1e6, fade * 1e6, all * 1e6, all / worst);
		munmap(p, n * 4096);
	}
}

static void random_access(const char *label)
{
	size_t size = 1ul << 30;
	uint64_t x = 88172645463325252ull, sum = 0;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		fail("mmap");
	double begun = now();
	for (size_t i = 0; i < size; i += 4096)
		p[i] = 1;
	double filled = now();
	for (long i = 0; i < 20000000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		sum += (uint8_t)p[x & (size - 1)]++;
	}
	double done = now();
	printf("%s\tfilled in %.2f s\t20 M accesses in %.2f s\thuge %lu MiB\t(%lu)\n", label, filled - begun, done - filled,
	       need_key("/proc/self/smaps_rollup", "AnonHugePages") >> 10, (unsigned long)(sum & 1));
	munmap(p, size);
}

static void always(void)
{
	host("madvise");
	random_access("no policy");
	policy(SET_HUGEPAGE);
	random_access("Always");
	policy(CLEAR_HUGEPAGE);
}

static void *arena(void *barrier)
{
	char *p = mmap(NULL, 4 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		fail("mmap");
	for (size_t i = 0; i < 4; i++)
		memset(p + i * HUGE, 1, 32 << 10);
	pthread_barrier_wait(barrier);
	pthread_barrier_wait(barrier);
	munmap(p, 4 * HUGE);
	return NULL;
}

static void threads(const char *label)
{
	pthread_t t[64];
	pthread_barrier_t barrier;

	pthread_barrier_init(&barrier, NULL, 65);
	for (int i = 0; i < 64; i++)
		if (pthread_create(&t[i], NULL, arena, &barrier))
			fail("pthread_create");
	pthread_barrier_wait(&barrier);
	printf("%s\t64 threads, 4 x 32 KiB each in arenas of 8 MiB\tRSS %lu MiB\n", label,
	       need_key("/proc/self/status", "VmRSS") >> 10);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < 64; i++)
		pthread_join(t[i], NULL);
}

static void never(void)
{
	host("always");
	threads("no policy");
	policy(SET_NOHUGEPAGE);
	threads("Never");
	policy(CLEAR_NOHUGEPAGE);
	host("madvise");
}

#define GROUP "/sys/fs/cgroup/mctl-measure"

static void make_file(const char *path, size_t size)
{
	static char block[1 << 20];
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	for (size_t done = 0; done < size; done += sizeof(block)) {
		memset(block, (int)(done >> 20), sizeof(block));
		if (fd < 0 || write(fd, block, sizeof(block)) != sizeof(block))
			fail(path);
	}
	if (fsync(fd) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
		fail(path);
	close(fd);
}

static uint64_t touch_file(const char *path, size_t size, int rounds)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	volatile const char *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	uint64_t sum = 0;

	if (fd < 0 || p == MAP_FAILED)
		fail(path);
	for (int r = 0; r < rounds; r++)
		for (size_t i = 0; i < size; i += 4096)
			sum += (uint8_t)p[i];
	close(fd);
	return sum;
}

/* A child of the group that does something; its time, and the group's refaults meanwhile. */
static void timed(const char *label, bool fade, const char *path, size_t size, int rounds)
{
	unsigned long before = need_key(GROUP "/memory.stat", "workingset_refault_file");
	double begun = now();
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		write_file(GROUP "/cgroup.procs", "0");
		if (fade)
			policy(SET_FADE);
		touch_file(path, size, rounds);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		fail("a child of the group");
	printf("  %-28s %.2f s, %lu refaults\n", label, now() - begun,
	       need_key(GROUP "/memory.stat", "workingset_refault_file") - before);
}

/* One history from an empty group: who comes back last, the survivor or the job itself. */
static void history(const char *dir, bool with, bool rerun)
{
	char ours[256], jobs[256], next[256];
	size_t small = 96ul << 20, large = 160ul << 20;

	snprintf(ours, sizeof(ours), "%s/survivor", dir);
	snprintf(jobs, sizeof(jobs), "%s/job", dir);
	snprintf(next, sizeof(next), "%s/next", dir);
	make_file(ours, small);
	make_file(jobs, large);
	make_file(next, small);
	if (mkdir(GROUP, 0755) && errno != EEXIST)
		fail(GROUP);
	/* Room for both files together, but not for a third. */
	write_file(GROUP "/memory.max", "285212672");
	printf("%s, %s\n", with ? "with fade on death" : "without", rerun ? "the job is run again" : "the survivor goes on");
	timed("survivor, first", false, ours, small, 2);
	timed("job over a large file, twice", with, jobs, large, 2);
	timed("a newcomer needs room", false, next, small, 2);
	if (rerun)
		timed("the job, rerun", with, jobs, large, 1);
	else
		timed("survivor again", false, ours, small, 1);
	for (int i = 0; rmdir(GROUP) && i < 100; i++)
		usleep(50000);
	unlink(ours);
	unlink(jobs);
	unlink(next);
}

static void fade(const char *dir)
{
	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	for (int rerun = 0; rerun < 2; rerun++)
		for (int with = 0; with < 2; with++)
			history(dir, with, rerun);
}

int main(int argc, char **argv)
{
	char line[4096] = "";
	FILE *f = fopen("/proc/cmdline", "r");

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!f || !fgets(line, sizeof(line), f) || !strstr(line, "mctl.guest=1")) {
		fprintf(stderr, "this turns the host's knobs: it runs only in a guest of ours\n");
		return 2;
	}
	fclose(f);
	f = fopen("/sys/kernel/mm/mctl/nr", "r");
	if (!f || fscanf(f, "%ld", &nr) != 1 || nr <= 0) {
		fprintf(stderr, "this kernel does not announce mctl()\n");
		return 4;
	}
	fclose(f);
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "cost"))
		cost();
	else if (!strcmp(what, "always"))
		always();
	else if (!strcmp(what, "never"))
		never();
	else if (!strcmp(what, "fade") && argc > 2)
		fade(argv[2]);
	else {
		fprintf(stderr, "usage: native-measure cost|always|never|fade DIR\n");
		return 2;
	}
	return 0;
}
