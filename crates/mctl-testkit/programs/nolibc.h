/* The little that a program without a C library needs: output, numbers, SIGTERM. */
#ifndef NOLIBC_H
#define NOLIBC_H

typedef unsigned long word;

static volatile int stop;
static unsigned long long iterations, violations;

static word put(char *out, const char *text)
{
	word n = 0;

	while (text[n]) {
		out[n] = text[n];
		n++;
	}
	return n;
}

static word put_number(char *out, word value)
{
	char digits[24];
	word n = 0, len;

	do
		digits[n++] = (char)('0' + value % 10);
	while (value /= 10);
	len = n;
	while (n)
		*out++ = digits[--n];
	return len;
}

static word put_address(char *out, const void *at)
{
	word n = 0;

	for (int shift = (int)sizeof(at) * 8 - 4; shift >= 0; shift -= 4)
		out[n++] = "0123456789abcdef"[((word)at >> shift) & 15];
	return n;
}

/* Where the counters are, see fixture.h. */
static word counts(char *out)
{
	word n = put(out, "counts ");

	n += put_address(out + n, &iterations);
	n += put(out + n, " ");
	n += put_address(out + n, &violations);
	n += put(out + n, "\n");
	return n;
}

static word verdict(char *out, const char *name)
{
	word n = put(out, "{\"program\":\"");

	n += put(out + n, name);
	n += put(out + n, "\",\"iterations\":");
	n += put_number(out + n, (word)iterations);
	n += put(out + n, ",\"total\":");
	n += put_number(out + n, (word)violations);
	/* Kinds are not kept apart here: only EINTR without a signal and a wrong time are looked for. */
	n += put(out + n, violations ? ",\"violations\":[{\"what\":\"spurious EINTR\",\"detail\":\"nanosleep failed or was short\"}]}\n"
				     : ",\"violations\":[]}\n");
	return n;
}

#endif
