/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0 */
/*
 * The macro dialect of kernel API specifications, for compilers.
 *
 * Makes ELF objects with a section .kapi_specs, in user space and without kernel headers. Two
 * layouts: an array of pointers to constant records (the default), and whole packed records with
 * the texts inside (define KAPI_INLINE). Both can be read with `kapi list --source FILE.o`.
 */
#ifndef KAPI_H
#define KAPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;

#ifndef KAPI_MAX_PARAMS
#define KAPI_MAX_PARAMS 16
#endif
#define KAPI_MAX_ERRORS 32
#define KAPI_MAX_SIGNALS 32
#define KAPI_MAX_CAPABILITIES 8
#define KAPI_MAX_STRUCT_SPECS 8
#define KAPI_MAX_STATE_TRANS 8

#ifdef KAPI_INLINE
#define KAPI_MAX_LOCKS 16
#define KAPI_MAX_CONSTRAINTS 16
#define KAPI_MAX_SIDE_EFFECTS 16
#define KAPI_TEXT(name, size) char name[size]
#define KAPI_RECORD __attribute__((packed))
#define KAPI_MAGIC(name)
#else
#define KAPI_MAX_LOCKS 16
#define KAPI_MAX_CONSTRAINTS 32
#define KAPI_MAX_SIDE_EFFECTS 32
#define KAPI_TEXT(name, size) const char *name
#define KAPI_RECORD
#define KAPI_MAGIC(name) u32 name;
#endif

enum kapi_param_type {
	KAPI_TYPE_VOID, KAPI_TYPE_INT, KAPI_TYPE_UINT, KAPI_TYPE_PTR, KAPI_TYPE_STRUCT, KAPI_TYPE_UNION,
	KAPI_TYPE_ENUM, KAPI_TYPE_FUNC_PTR, KAPI_TYPE_ARRAY, KAPI_TYPE_FD, KAPI_TYPE_USER_PTR, KAPI_TYPE_PATH,
	KAPI_TYPE_CUSTOM,
};
enum kapi_constraint_type {
	KAPI_CONSTRAINT_NONE, KAPI_CONSTRAINT_RANGE, KAPI_CONSTRAINT_MASK, KAPI_CONSTRAINT_ENUM,
#ifndef KAPI_INLINE
	KAPI_CONSTRAINT_ALIGNMENT, KAPI_CONSTRAINT_POWER_OF_TWO, KAPI_CONSTRAINT_PAGE_ALIGNED, KAPI_CONSTRAINT_NONZERO,
	KAPI_CONSTRAINT_USER_STRING, KAPI_CONSTRAINT_USER_PATH, KAPI_CONSTRAINT_USER_PTR, KAPI_CONSTRAINT_BUFFER,
#endif
	KAPI_CONSTRAINT_CUSTOM,
};
enum kapi_return_check_type {
	KAPI_RETURN_EXACT, KAPI_RETURN_RANGE, KAPI_RETURN_ERROR_CHECK, KAPI_RETURN_FD, KAPI_RETURN_CUSTOM,
	KAPI_RETURN_NO_RETURN,
};
enum kapi_lock_type {
	KAPI_LOCK_NONE, KAPI_LOCK_MUTEX, KAPI_LOCK_SPINLOCK, KAPI_LOCK_RWLOCK, KAPI_LOCK_SEQLOCK, KAPI_LOCK_RCU,
	KAPI_LOCK_SEMAPHORE, KAPI_LOCK_CUSTOM,
};
enum kapi_lock_scope { KAPI_LOCK_INTERNAL, KAPI_LOCK_ACQUIRES, KAPI_LOCK_RELEASES, KAPI_LOCK_CALLER_HELD };
enum kapi_signal_action {
	KAPI_SIGNAL_ACTION_DEFAULT, KAPI_SIGNAL_ACTION_TERMINATE, KAPI_SIGNAL_ACTION_COREDUMP, KAPI_SIGNAL_ACTION_STOP,
	KAPI_SIGNAL_ACTION_CONTINUE, KAPI_SIGNAL_ACTION_CUSTOM, KAPI_SIGNAL_ACTION_RETURN, KAPI_SIGNAL_ACTION_RESTART,
	KAPI_SIGNAL_ACTION_QUEUE, KAPI_SIGNAL_ACTION_DISCARD, KAPI_SIGNAL_ACTION_TRANSFORM,
};
enum kapi_capability_action {
	KAPI_CAP_BYPASS_CHECK, KAPI_CAP_INCREASE_LIMIT, KAPI_CAP_OVERRIDE_RESTRICTION, KAPI_CAP_GRANT_PERMISSION,
	KAPI_CAP_MODIFY_BEHAVIOR, KAPI_CAP_ACCESS_RESOURCE, KAPI_CAP_PERFORM_OPERATION,
};

#define KAPI_PARAM_IN (1u << 0)
#define KAPI_PARAM_OUT (1u << 1)
#define KAPI_PARAM_INOUT (1u << 2)
#define KAPI_PARAM_OPTIONAL (1u << 3)
#define KAPI_PARAM_CONST (1u << 4)
#define KAPI_PARAM_VOLATILE (1u << 5)
#define KAPI_PARAM_USER (1u << 6)
#define KAPI_PARAM_DMA (1u << 7)
#define KAPI_PARAM_ALIGNED (1u << 8)
#define KAPI_CTX_PROCESS (1u << 0)
#define KAPI_CTX_SOFTIRQ (1u << 1)
#define KAPI_CTX_HARDIRQ (1u << 2)
#define KAPI_CTX_NMI (1u << 3)
#define KAPI_CTX_ATOMIC (1u << 4)
#define KAPI_CTX_SLEEPABLE (1u << 5)
#define KAPI_CTX_PREEMPT_DISABLED (1u << 6)
#define KAPI_CTX_IRQ_DISABLED (1u << 7)
#define KAPI_SIGNAL_RECEIVE (1u << 0)
#define KAPI_SIGNAL_SEND (1u << 1)
#define KAPI_SIGNAL_HANDLE (1u << 2)
#define KAPI_SIGNAL_BLOCK (1u << 3)
#define KAPI_SIGNAL_IGNORE (1u << 4)
#define KAPI_EFFECT_ALLOC_MEMORY (1u << 0)
#define KAPI_EFFECT_FREE_MEMORY (1u << 1)
#define KAPI_EFFECT_MODIFY_STATE (1u << 2)
#define KAPI_EFFECT_SIGNAL_SEND (1u << 3)
#define KAPI_EFFECT_FILE_POSITION (1u << 4)
#define KAPI_EFFECT_LOCK_ACQUIRE (1u << 5)
#define KAPI_EFFECT_LOCK_RELEASE (1u << 6)
#define KAPI_EFFECT_RESOURCE_CREATE (1u << 7)
#define KAPI_EFFECT_RESOURCE_DESTROY (1u << 8)
#define KAPI_EFFECT_SCHEDULE (1u << 9)
#define KAPI_EFFECT_HARDWARE (1u << 10)
#define KAPI_EFFECT_NETWORK (1u << 11)
#define KAPI_EFFECT_FILESYSTEM (1u << 12)
#define KAPI_EFFECT_PROCESS_STATE (1u << 13)
#define KAPI_EFFECT_IRREVERSIBLE (1u << 14)

struct kapi_param_spec {
	KAPI_TEXT(name, 128);
	KAPI_TEXT(type_name, 128);
	enum kapi_param_type type;
	u32 flags;
	size_t size;
	size_t alignment;
	s64 min_value;
	s64 max_value;
	u64 valid_mask;
	const s64 *enum_values;
	u32 enum_count;
	enum kapi_constraint_type constraint_type;
	bool (*validate)(s64);
	KAPI_TEXT(description, 512);
	KAPI_TEXT(constraints, 512);
	int size_param_idx;
	size_t size_multiplier;
} KAPI_RECORD;

struct kapi_error_spec {
	int error_code;
	KAPI_TEXT(name, 128);
	KAPI_TEXT(condition, 512);
	KAPI_TEXT(description, 512);
} KAPI_RECORD;

struct kapi_return_spec {
	KAPI_TEXT(type_name, 128);
	enum kapi_param_type type;
	enum kapi_return_check_type check_type;
	s64 success_value;
	s64 success_min;
	s64 success_max;
	const s64 *error_values;
	u32 error_count;
	bool (*is_success)(s64);
	KAPI_TEXT(description, 512);
} KAPI_RECORD;

struct kapi_lock_spec {
	KAPI_TEXT(lock_name, 128);
	enum kapi_lock_type lock_type;
#ifdef KAPI_INLINE
	bool acquired;
	bool released;
	bool held_on_entry;
	bool held_on_exit;
#else
	enum kapi_lock_scope scope;
#endif
	KAPI_TEXT(description, 512);
} KAPI_RECORD;

struct kapi_constraint_spec {
	KAPI_TEXT(name, 128);
	KAPI_TEXT(description, 512);
	KAPI_TEXT(expression, 512);
} KAPI_RECORD;

struct kapi_signal_spec {
	int signal_num;
	KAPI_TEXT(signal_name, 32);
	u32 direction;
	enum kapi_signal_action action;
	KAPI_TEXT(target, 512);
	KAPI_TEXT(condition, 512);
	KAPI_TEXT(description, 512);
	bool restartable;
	u32 sa_flags_required;
	u32 sa_flags_forbidden;
	int error_on_signal;
	int transform_to;
	KAPI_TEXT(timing, 32);
	u8 priority;
	bool interruptible;
	KAPI_TEXT(queue_behavior, 128);
	u32 state_required;
	u32 state_forbidden;
} KAPI_RECORD;

struct kapi_signal_mask_spec {
	KAPI_TEXT(mask_name, 128);
	int signals[KAPI_MAX_SIGNALS];
	u32 signal_count;
	KAPI_TEXT(description, 512);
} KAPI_RECORD;

struct kapi_struct_field {
	KAPI_TEXT(name, 128);
	enum kapi_param_type type;
	KAPI_TEXT(type_name, 128);
	size_t offset;
	size_t size;
	u32 flags;
	enum kapi_constraint_type constraint_type;
	s64 min_value;
	s64 max_value;
	u64 valid_mask;
#ifndef KAPI_INLINE
	const char *enum_values;
#endif
	KAPI_TEXT(description, 512);
} KAPI_RECORD;

struct kapi_struct_spec {
	KAPI_TEXT(name, 128);
	size_t size;
	size_t alignment;
	u32 field_count;
	struct kapi_struct_field fields[16];
	KAPI_TEXT(description, 512);
} KAPI_RECORD;

struct kapi_capability_spec {
	int capability;
	KAPI_TEXT(cap_name, 128);
	enum kapi_capability_action action;
	KAPI_TEXT(allows, 512);
	KAPI_TEXT(without_cap, 512);
	KAPI_TEXT(check_condition, 512);
	u8 priority;
	int alternative[KAPI_MAX_CAPABILITIES];
	u32 alternative_count;
} KAPI_RECORD;

struct kapi_side_effect {
	u32 type;
	KAPI_TEXT(target, 128);
	KAPI_TEXT(condition, 512);
	KAPI_TEXT(description, 512);
	bool reversible;
#ifdef KAPI_EFFECT_RULES
	KAPI_TEXT(expression, 256);
#endif
} KAPI_RECORD;

struct kapi_state_transition {
	KAPI_TEXT(from_state, 128);
	KAPI_TEXT(to_state, 128);
	KAPI_TEXT(condition, 512);
	KAPI_TEXT(object, 128);
	KAPI_TEXT(description, 512);
} KAPI_RECORD;

struct kernel_api_spec {
	KAPI_TEXT(name, 128);
	u32 version;
	KAPI_TEXT(description, 512);
	KAPI_TEXT(long_description, 2048);
	u32 context_flags;
	KAPI_MAGIC(param_magic)
	u32 param_count;
	struct kapi_param_spec params[KAPI_MAX_PARAMS];
	KAPI_MAGIC(return_magic)
	struct kapi_return_spec return_spec;
	KAPI_MAGIC(error_magic)
	u32 error_count;
	struct kapi_error_spec errors[KAPI_MAX_ERRORS];
	KAPI_MAGIC(lock_magic)
	u32 lock_count;
	struct kapi_lock_spec locks[KAPI_MAX_LOCKS];
	KAPI_MAGIC(constraint_magic)
	u32 constraint_count;
	struct kapi_constraint_spec constraints[KAPI_MAX_CONSTRAINTS];
	KAPI_MAGIC(info_magic)
	KAPI_TEXT(examples, 1024);
	KAPI_TEXT(notes, 1024);
#ifdef KAPI_INLINE
	char since_version[32];
	bool deprecated;
	char replacement[128];
#endif
	KAPI_MAGIC(signal_magic)
	u32 signal_count;
	struct kapi_signal_spec signals[KAPI_MAX_SIGNALS];
	KAPI_MAGIC(sigmask_magic)
	u32 signal_mask_count;
	struct kapi_signal_mask_spec signal_masks[KAPI_MAX_SIGNALS];
	KAPI_MAGIC(struct_magic)
	u32 struct_spec_count;
	struct kapi_struct_spec struct_specs[KAPI_MAX_STRUCT_SPECS];
	KAPI_MAGIC(effect_magic)
	u32 side_effect_count;
	struct kapi_side_effect side_effects[KAPI_MAX_SIDE_EFFECTS];
	KAPI_MAGIC(trans_magic)
	u32 state_trans_count;
	struct kapi_state_transition state_transitions[KAPI_MAX_STATE_TRANS];
	KAPI_MAGIC(cap_magic)
	u32 capability_count;
	struct kapi_capability_spec capabilities[KAPI_MAX_CAPABILITIES];
} KAPI_RECORD;

#ifdef KAPI_INLINE
#define DEFINE_KERNEL_API_SPEC(fn) \
	static struct kernel_api_spec __kapi_spec_##fn __attribute__((used, section(".kapi_specs"))) = { \
		.name = #fn, .version = 1,
#define KAPI_SINCE_VERSION(x) .since_version = x,
#define KAPI_DEPRECATED .deprecated = true,
#define KAPI_REPLACEMENT(x) .replacement = x,
#define KAPI_LOCK_ACQUIRED .acquired = true,
#define KAPI_LOCK_RELEASED .released = true,
#define KAPI_LOCK_HELD_ENTRY .held_on_entry = true,
#define KAPI_LOCK_HELD_EXIT .held_on_exit = true,
#define KAPI_NO_SIZE_PARAM .size_param_idx = -1,
#else
#define DEFINE_KERNEL_API_SPEC(fn) \
	extern const struct kernel_api_spec __kapi_spec_##fn; \
	static const struct kernel_api_spec *const __kapi_spec_ptr_##fn \
		__attribute__((used, section(".kapi_specs"))) = &__kapi_spec_##fn; \
	const struct kernel_api_spec __kapi_spec_##fn = { .name = #fn, .version = 1,
#define KAPI_SINCE_VERSION(x)
#define KAPI_DEPRECATED
#define KAPI_REPLACEMENT(x)
/* Taken and given back is the default scope; the macros say it in words only. */
#define KAPI_LOCK_ACQUIRED
#define KAPI_LOCK_RELEASED
#define KAPI_LOCK_HELD_ENTRY .scope = KAPI_LOCK_CALLER_HELD,
#define KAPI_LOCK_HELD_EXIT
#define KAPI_NO_SIZE_PARAM
#endif
#define KAPI_END_SPEC }

#define KAPI_DESCRIPTION(x) .description = x,
#define KAPI_LONG_DESC(x) .long_description = x,
#define KAPI_CONTEXT(x) .context_flags = x,
#define KAPI_EXAMPLES(x) .examples = x,
#define KAPI_NOTES(x) .notes = x,

#define KAPI_PARAM(i, n, t, d) .params[i] = { .name = n, .type_name = t, .description = d, KAPI_NO_SIZE_PARAM
#define KAPI_PARAM_TYPE(x) .type = x,
#define KAPI_PARAM_FLAGS(x) .flags = x,
#define KAPI_PARAM_SIZE(x) .size = x,
#define KAPI_PARAM_RANGE(a, b) .min_value = a, .max_value = b,
#define KAPI_PARAM_VALID_MASK(x) .valid_mask = x,
#define KAPI_PARAM_CONSTRAINT_TYPE(x) .constraint_type = x,
#define KAPI_PARAM_CONSTRAINT(x) .constraints = x,
#define KAPI_PARAM_END },

#define KAPI_RETURN(t, d) .return_spec = { .type_name = t, .description = d,
#define KAPI_RETURN_TYPE(x) .type = x,
#define KAPI_RETURN_CHECK_TYPE(x) .check_type = x,
#define KAPI_RETURN_SUCCESS(x) .success_value = x,
#define KAPI_RETURN_SUCCESS_RANGE(a, b) .success_min = a, .success_max = b,
#define KAPI_RETURN_END },

#define KAPI_ERROR(i, c, n, s, d) .errors[i] = { .error_code = c, .name = n, .condition = s, .description = d },

#define KAPI_LOCK(i, n, t) .locks[i] = { .lock_name = n, .lock_type = t,
#define KAPI_LOCK_DESC(x) .description = x,
#define KAPI_LOCK_END },

#define KAPI_SIGNAL(i, num, n, d, a) .signals[i] = { .signal_num = num, .signal_name = n, .direction = d, .action = a,
#define KAPI_SIGNAL_TARGET(x) .target = x,
#define KAPI_SIGNAL_CONDITION(x) .condition = x,
#define KAPI_SIGNAL_DESC(x) .description = x,
#define KAPI_SIGNAL_RESTARTABLE .restartable = true,
#define KAPI_SIGNAL_SA_FLAGS_REQ(x) .sa_flags_required = x,
#define KAPI_SIGNAL_SA_FLAGS_FORBID(x) .sa_flags_forbidden = x,
#define KAPI_SIGNAL_ERROR(x) .error_on_signal = x,
#define KAPI_SIGNAL_TRANSFORM(x) .transform_to = x,
#define KAPI_SIGNAL_TIMING(x) .timing = x,
#define KAPI_SIGNAL_PRIORITY(x) .priority = x,
#define KAPI_SIGNAL_INTERRUPTIBLE .interruptible = true,
#define KAPI_SIGNAL_QUEUE(x) .queue_behavior = x,
#define KAPI_SIGNAL_STATE_REQ(x) .state_required = x,
#define KAPI_SIGNAL_STATE_FORBID(x) .state_forbidden = x,
#define KAPI_SIGNAL_END },
#define KAPI_SIGNAL_MASK(i, n, d) .signal_masks[i] = { .mask_name = n, .description = d,
#define KAPI_SIGNAL_MASK_END },

#define KAPI_SIDE_EFFECT(i, t, o, d) .side_effects[i] = { .type = t, .target = o, .description = d,
#define KAPI_EFFECT_REVERSIBLE .reversible = true,
#define KAPI_EFFECT_CONDITION(x) .condition = x,
#ifdef KAPI_EFFECT_RULES
#define KAPI_EFFECT_EXPR(x) .expression = x,
#else
#define KAPI_EFFECT_EXPR(x)
#endif
#define KAPI_SIDE_EFFECT_END },
#define KAPI_STATE_TRANS(i, o, f, t, d) .state_transitions[i] = { .object = o, .from_state = f, .to_state = t, .description = d,
#define KAPI_STATE_TRANS_COND(x) .condition = x,
#define KAPI_STATE_TRANS_END },
#define KAPI_CAPABILITY(i, c, n, a) .capabilities[i] = { .capability = c, .cap_name = n, .action = a,
#define KAPI_CAP_ALLOWS(x) .allows = x,
#define KAPI_CAP_WITHOUT(x) .without_cap = x,
#define KAPI_CAP_CONDITION(x) .check_condition = x,
#define KAPI_CAP_PRIORITY(x) .priority = x,
#define KAPI_CAPABILITY_END },
#define KAPI_CONSTRAINT(i, n, d) .constraints[i] = { .name = n, .description = d,
#define KAPI_CONSTRAINT_EXPR(x) .expression = x,
#define KAPI_CONSTRAINT_END },

#define KAPI_PARAM_COUNT(n) .param_count = n,
#define KAPI_ERROR_COUNT(n) .error_count = n,
#define KAPI_LOCK_COUNT(n) .lock_count = n,
#define KAPI_CONSTRAINT_COUNT(n) .constraint_count = n,
#define KAPI_SIGNAL_COUNT(n) .signal_count = n,
#define KAPI_SIGNAL_MASK_COUNT(n) .signal_mask_count = n,
#define KAPI_SIDE_EFFECT_COUNT(n) .side_effect_count = n,
#define KAPI_STATE_TRANS_COUNT(n) .state_trans_count = n,
#define KAPI_CAPABILITY_COUNT(n) .capability_count = n,

#endif
