/* A blocking read from a pipe. */
#include "fixture.h"

int main(int argc, char **argv)
{
	int fd;

	fx_init(argc, argv, "read_pipe");
	fd = fx_feed_pipe(0);
	fx_ready(SYS_read);
	while (!fx_stop) {
		struct fx_stamp s = { 0, 0 };

		if (fx_judge(FX_CALL(SYS_read, fd, &s, sizeof(s)), sizeof(s), 0) == FX_EVENT)
			fx_check_stamp(s);
	}
	return fx_done();
}
