/* A family in which hardly anybody can be stopped unseen, and which goes on growing: every "every" ms the first one
 * forks a child like itself, asleep in a receive with a timeout and with all signals held back, and one that just
 * pauses. "most" pairs at most. "tell=1": "child PID" for each of the first kind. */
#include "fixture.h"
#include <sys/socket.h>
#include <sys/time.h>

static void sleep_in_recv(int fd, uint64_t ms)
{
	struct timeval t = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };
	char byte;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	ssize_t got = recv(fd, &byte, 1, 0);
	if (got >= 0 || (errno != EAGAIN && errno != EINTR) || (errno == EINTR && !fx_stop))
		fx_violation("result", "recv returned %zd: %s", got, strerror(errno));
}

int main(int argc, char **argv)
{
	sigset_t all;
	int pair[2];

	fx_init(argc, argv, "no_moment");
	uint64_t every = fx_number("every", 400), most = fx_number("most", 300), tell = fx_number("tell", 0);
	FX_NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	sigfillset(&all);
	sigdelset(&all, SIGTERM);
	sigprocmask(SIG_BLOCK, &all, NULL);
	fx_ready(SYS_recvfrom);
	while (!fx_stop) {
		sleep_in_recv(pair[0], every);
		if (fx_iterations >= most || fx_stop)
			continue;
		fx_iterations++;
		pid_t alike = fx_fork();
		if (!alike)
			for (;;)
				sleep_in_recv(pair[0], 1000 * 1000);
		if (tell)
			fx_say("child %d", (int)alike);
		if (!fx_fork())
			for (;;)
				pause();
	}
	return fx_done();
}
