/*
 * Never in the kernel: every general and vector register, the flags, the red zone, the segment
 * bases, mxcsr and the x87 stack hold patterns while the program spins, and are verified after.
 * (x86-64; wide vectors where the CPU has them.) "ready any", and never blocked.
 */
#include "fixture.h"

#if !defined(__x86_64__)
int main(int argc, char **argv)
{
	fx_init(argc, argv, "spin");
	fx_skip("written for x86-64 only");
}
#else
#include <asm/prctl.h>
#include <cpuid.h>

/* Used from the assembly, by their names. */
uint64_t spin_turns, spin_flags, spin_rsp, spin_want[16], spin_got[16], spin_red[16];
uint8_t spin_vec[32][64] __attribute__((aligned(64))), spin_out[32][64] __attribute__((aligned(64)));
uint64_t spin_mask[8], spin_mask_out[8];
void spin_raw(void), spin_load_avx(void), spin_store_avx(void), spin_load_512(void), spin_store_512(void);

/* rsp is kept in memory: it is the one register that cannot hold a pattern. */
__asm__(".pushsection .text\n"
	"spin_load_avx:\n"
	"	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n	vmovdqu spin_vec+64*\\n(%rip), %ymm\\n\n	.endr\n	ret\n"
	"spin_store_avx:\n"
	"	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n	vmovdqu %ymm\\n, spin_out+64*\\n(%rip)\n	.endr\n	vzeroupper\n	ret\n"
	"spin_load_512:\n"
	"	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
	"	vmovdqu64 spin_vec+64*\\n(%rip), %zmm\\n\n	.endr\n"
	"	.irp n, 1,2,3,4,5,6,7\n	kmovw spin_mask+8*\\n(%rip), %k\\n\n	.endr\n	ret\n"
	"spin_store_512:\n"
	"	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
	"	vmovdqu64 %zmm\\n, spin_out+64*\\n(%rip)\n	.endr\n"
	"	.irp n, 1,2,3,4,5,6,7\n	kmovw %k\\n, spin_mask_out+8*\\n(%rip)\n	.endr\n	vzeroupper\n	ret\n"
	"spin_raw:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n"
	"	mov %rsp, spin_rsp(%rip)\n"
	"	mov spin_want(%rip), %rax\n"
	"	.set i, 1\n	.rept 16\n	mov %rax, -8*i(%rsp)\n	.set i, i+1\n	.endr\n"
	"	.set i, 0\n"
	"	.irp r, rax,rbx,rcx,rdx,rsi,rdi,rbp,r8,r9,r10,r11,r12,r13,r14,r15\n"
	"	mov spin_want+8*i(%rip), %\\r\n	.set i, i+1\n	.endr\n"
	"	std\n	stc\n" /* dec leaves both alone */
	"1:	decq spin_turns(%rip)\n	jnz 1b\n"
	"	mov %rax, spin_got(%rip)\n"
	"	.set i, 1\n"
	"	.irp r, rbx,rcx,rdx,rsi,rdi,rbp,r8,r9,r10,r11,r12,r13,r14,r15\n"
	"	mov %\\r, spin_got+8*i(%rip)\n	.set i, i+1\n	.endr\n"
	"	mov %rsp, spin_got+120(%rip)\n"
	"	.set i, 1\n	.rept 16\n	mov -8*i(%rsp), %rax\n	mov %rax, spin_red+8*(i-1)(%rip)\n	.set i, i+1\n	.endr\n"
	"	pushfq\n	popq spin_flags(%rip)\n"
	"	cld\n"
	"	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n	pop %rbx\n"
	"	ret\n"
	".popsection\n");

static unsigned long base(int which)
{
	unsigned long value = 0;

	syscall(SYS_arch_prctl, which, &value);
	return value;
}

static bool spin_has_512(void)
{
	return __builtin_cpu_supports("avx512f");
}

int main(int argc, char **argv)
{
	static const uint16_t control = 0x0f7f; /* round towards zero, no exceptions */
	uint32_t mxcsr = 0x7f80, now;           /* the same for SSE */
	bool avx = __builtin_cpu_supports("avx"), wide = spin_has_512();
	size_t width = wide ? 64 : avx ? 32 : 0, count = wide ? 32 : avx ? 16 : 0;

	fx_init(argc, argv, "spin");
	uint64_t turns = fx_number("turns", 2000000);
	FX_NEED(syscall(SYS_arch_prctl, ARCH_SET_GS, 0x123456789000ul) == 0);
	unsigned long fs = base(ARCH_GET_FS);

	fx_ready(-1);
	while (!fx_stop) {
		double pi = 0;
		uint16_t word = 0;

		for (int i = 0; i < 15; i++)
			spin_want[i] = 0x0123456789abcdefull * (uint64_t)(i + 1) + fx_iterations;
		for (int i = 0; i < 32; i++)
			memset(spin_vec[i], 0x40 + i + (int)(fx_iterations & 63), 64);
		for (int i = 0; i < 8; i++)
			spin_mask[i] = (0x1234u * (unsigned)(i + 1) + fx_iterations) & 0xffff;
		spin_turns = turns;
		__asm__ volatile("fninit; fldcw %0; fldpi; ldmxcsr %1" ::"m"(control), "m"(mxcsr));
		if (wide)
			spin_load_512();
		else if (avx)
			spin_load_avx();
		spin_raw();
		if (wide)
			spin_store_512();
		else if (avx)
			spin_store_avx();
		__asm__ volatile("fstpl %0; fnstcw %1; stmxcsr %2" : "=m"(pi), "=m"(word), "=m"(now));
		__asm__ volatile("fninit");
		fx_iterations++;
		spin_want[15] = spin_rsp;
		for (int i = 0; i < 16; i++) {
			fx_same("general register", i, spin_want[i], spin_got[i]);
			fx_same("red zone", i, spin_want[0], spin_red[i]);
		}
		for (size_t i = 0; i < count; i++)
			if (memcmp(spin_vec[i], spin_out[i], width))
				fx_violation("register", "vector register %zu", i);
		for (int i = 1; wide && i < 8; i++)
			fx_same("mask register", i, spin_mask[i], spin_mask_out[i]);
		/* carry and direction as set; zero from the last dec */
		fx_same("flags", 0, 0x441, spin_flags & 0x441);
		fx_same("mxcsr", 0, mxcsr, now & ~0x3fu);
		fx_same("x87 control word", 0, control, word);
		if (pi < 3.14159 || pi > 3.1416)
			fx_violation("register", "x87 stack top %f", pi);
		fx_same("fs base", 0, fs, base(ARCH_GET_FS));
		fx_same("gs base", 0, 0x123456789000ul, base(ARCH_GET_GS));
	}
	return fx_done();
}
#endif
