/* A small threaded HTTP server for a static musl binary, with timers that check themselves.
 * The paths are those of server.py; /asked maps memory and advises MADV_HUGEPAGE itself. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static atomic_long timers, early, late_us, wrong;
static char *old_memory;
static atomic_size_t old_at;

static long now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static void saw(long asked, long took)
{
	long late = took - asked, seen = late_us;
	timers++;
	if (took < asked)
		early++;
	while (late > seen && !atomic_compare_exchange_weak(&late_us, &seen, late))
		;
}

static void *sleeper(void *unused)
{
	for (;;) {
		struct timespec t = { 0, 11000000 };
		long start = now_us();
		if (nanosleep(&t, NULL))
			wrong++;
		saw(11000, now_us() - start);
	}
	return unused;
}

static void *poller(void *unused)
{
	for (;;) {
		long start = now_us();
		if (poll(NULL, 0, 13))
			wrong++;
		saw(13000, now_us() - start);
	}
	return unused;
}

static void *epoller(void *unused)
{
	int fd = epoll_create1(0);
	struct epoll_event e;
	for (;;) {
		long start = now_us();
		if (epoll_wait(fd, &e, 1, 17))
			wrong++;
		saw(17000, now_us() - start);
	}
	return unused;
}

static void *condition(void *unused)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t c;
	pthread_condattr_t a;
	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(&c, &a);
	pthread_mutex_lock(&m);
	for (;;) {
		struct timespec t;
		long start = now_us();
		t.tv_sec = (start + 19000) / 1000000;
		t.tv_nsec = (start + 19000) % 1000000 * 1000;
		if (pthread_cond_timedwait(&c, &m, &t) != ETIMEDOUT)
			wrong++;
		saw(19000, now_us() - start);
	}
	return unused;
}

static void touch(char *at, size_t length)
{
	for (size_t i = 0; i < length; i += 4096)
		at[i] = 1;
}

static void answer(const char *path, char *body, size_t size)
{
	const char *word = strchr(path + 1, '/');
	size_t bytes;
	word = word ? word + 1 : "";
	bytes = (size_t)atol(word) << 20;
	snprintf(body, size, "ok");
	if (!strncmp(path, "/echo/", 6)) {
		snprintf(body, size, "%s%s%s", word, word, word);
	} else if (!strncmp(path, "/asked/", 7)) {
		char *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (block == MAP_FAILED || madvise(block, bytes, MADV_HUGEPAGE))
			wrong++;
		else
			touch(block, bytes);
	} else if (!strncmp(path, "/old/", 5)) {
		touch(old_memory + atomic_fetch_add(&old_at, bytes), bytes);
	} else if (!strncmp(path, "/stats", 6)) {
		snprintf(body, size, "{\"timers\": %ld, \"early\": %ld, \"late_us\": %ld, \"wrong\": %ld}",
			 timers, early, atomic_exchange(&late_us, 0), wrong);
	}
}

static void *serve(void *argument)
{
	int fd = (int)(long)argument;
	char head[4096], body[4096], out[8192], path[1024];
	size_t have = 0;
	for (;;) {
		char *end;
		ssize_t n = recv(fd, head + have, sizeof(head) - 1 - have, 0);
		if (n < 0 && errno == EINTR)
			wrong++;
		if (n <= 0)
			break;
		have += n;
		head[have] = 0;
		while ((end = strstr(head, "\r\n\r\n"))) {
			int length;
			end += 4;
			if (sscanf(head, "GET %1023s", path) != 1)
				wrong++;
			answer(path, body, sizeof(body));
			length = snprintf(out, sizeof(out), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
			if (send(fd, out, length, MSG_NOSIGNAL) != length)
				wrong++;
			have -= end - head;
			memmove(head, end, have + 1);
		}
	}
	close(fd);
	return NULL;
}

int main(int argc, char **argv)
{
	void *(*check[])(void *) = { sleeper, poller, epoller, condition };
	struct sockaddr_in where = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
	pthread_t thread;
	if (argc != 2)
		return 2;
	where.sin_port = htons(atoi(argv[1]));
	old_memory = mmap(NULL, 512UL << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&where, sizeof(where)) || listen(listener, 512))
		return 1;
	for (size_t i = 0; i < sizeof(check) / sizeof(*check); i++)
		pthread_create(&thread, NULL, check[i], NULL);
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		if (fd < 0) {
			wrong++;
			continue;
		}
		pthread_create(&thread, NULL, serve, (void *)(long)fd);
		pthread_detach(thread);
	}
}
