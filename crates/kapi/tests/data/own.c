// SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0
/* A specification in macro form that has something of everything; our own words. */
DEFINE_KERNEL_API_SPEC(sys_mlockall)
	KAPI_DESCRIPTION("Pin the whole address space")
	KAPI_LONG_DESC("Pins what is mapped now, what will be mapped later, or both. "
		"A third bit puts the work off to the first touch.")
	KAPI_CONTEXT(KAPI_CTX_PROCESS | KAPI_CTX_SLEEPABLE)

	/* The only argument */
	KAPI_PARAM(0, "flags", "int", "What to pin")
		KAPI_PARAM_FLAGS(KAPI_PARAM_IN)
		KAPI_PARAM_TYPE(KAPI_TYPE_INT)
		KAPI_PARAM_CONSTRAINT_TYPE(KAPI_CONSTRAINT_MASK)
		.valid_mask = MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT,
		KAPI_PARAM_CONSTRAINT("MCL_ONFAULT needs company; it isn't of use alone")
	KAPI_PARAM_END

	KAPI_RETURN("long", "Zero, or an error")
		.type = KAPI_TYPE_INT,
		.check_type = KAPI_RETURN_ERROR_CHECK,
		.success_value = 0,
	KAPI_RETURN_END

	KAPI_ERROR(0, -EINVAL, "EINVAL", "Odd bits", "No bit, a bit without a meaning, or MCL_ONFAULT and nothing else.")
	KAPI_ERROR(1, -EPERM, "EPERM", "No allowance", "The limit is 0 and there is no CAP_IPC_LOCK.")
	KAPI_ERROR(2, -EAGAIN, "EAGAIN", "Try later", "Says \"later\" (once; or twice), with a + and a, comma.")

	KAPI_SIGNAL(0, 0, "ANY_DEADLY", KAPI_SIGNAL_RECEIVE, KAPI_SIGNAL_ACTION_RETURN)
		KAPI_SIGNAL_CONDITION("The wait for mmap_lock is cut short")
		KAPI_SIGNAL_DESC("A deadly signal ends the wait")
		KAPI_SIGNAL_RESTARTABLE
	KAPI_SIGNAL_END

	KAPI_SIGNAL(1, SIGBUS, "SIGBUS", KAPI_SIGNAL_SEND, KAPI_SIGNAL_ACTION_DEFAULT)
		KAPI_SIGNAL_TARGET("The toucher")
		KAPI_SIGNAL_CONDITION("The file became shorter")
		KAPI_SIGNAL_DESC("A page past the end of its file has nothing to be filled with")
	KAPI_SIGNAL_END

	KAPI_SIDE_EFFECT(0, KAPI_EFFECT_MODIFY_STATE | KAPI_EFFECT_ALLOC_MEMORY,
			 "every mapping",
			 "Pins the pages")
		KAPI_EFFECT_REVERSIBLE
		KAPI_EFFECT_CONDITION("with MCL_CURRENT")
	KAPI_SIDE_EFFECT_END

	KAPI_SIDE_EFFECT(1, KAPI_EFFECT_ALLOC_MEMORY,
			 "page tables",
			 "Fills in entries that were empty")
	KAPI_SIDE_EFFECT_END

	KAPI_STATE_TRANS(0, "a page", "may leave", "must stay", "It is not given up any more")
		KAPI_STATE_TRANS_COND("with MCL_CURRENT")
	KAPI_STATE_TRANS_END

	KAPI_LOCK(0, "mmap_lock", KAPI_LOCK_RWLOCK)
		KAPI_LOCK_ACQUIRED
		KAPI_LOCK_RELEASED
		KAPI_LOCK_DESC("Keeps the list of mappings as it is")
	KAPI_LOCK_END

	KAPI_ERROR_COUNT(3)
	KAPI_PARAM_COUNT(1)
	KAPI_SINCE_VERSION("2.0")
	KAPI_SIGNAL_COUNT(2)
	KAPI_SIDE_EFFECT_COUNT(2)
	KAPI_STATE_TRANS_COUNT(1)
	KAPI_LOCK_COUNT(1)

	KAPI_CAPABILITY(0, CAP_IPC_LOCK, "CAP_IPC_LOCK", KAPI_CAP_BYPASS_CHECK)
		KAPI_CAP_ALLOWS("Any amount")
		KAPI_CAP_WITHOUT("As much as RLIMIT_MEMLOCK says")
		KAPI_CAP_CONDITION("Looked at when the limit is in the way")
		KAPI_CAP_PRIORITY(0)
	KAPI_CAPABILITY_END
	KAPI_CAPABILITY_COUNT(1)

	KAPI_EXAMPLES("mlockall(MCL_FUTURE); // from now on\n"
		      "mlockall(MCL_CURRENT | MCL_ONFAULT); // when touched")
	KAPI_NOTES("The sum is not known in advance. "
		   "Programs that must not wait for a disk use this; "
		   "so do those that hold secrets.")

	KAPI_CONSTRAINT(0, "Room for all",
			"Everything that is mapped has to fit, "
			"used or not.")
		KAPI_CONSTRAINT_EXPR("(flags & MCL_CURRENT) => total_vm <= RLIMIT_MEMLOCK || CAP_IPC_LOCK")
	KAPI_CONSTRAINT_END
	KAPI_CONSTRAINT(1, "No surprise", "Stacks grow, too.")
	KAPI_CONSTRAINT_END
	KAPI_CONSTRAINT_COUNT(2)

KAPI_END_SPEC;

SYSCALL_DEFINE1(mlockall, int, flags)
{
	return 0;
}
