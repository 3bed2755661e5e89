//! Room on the stack.
//!
//! A thread may have as little as 16 KiB (PTHREAD_STACK_MIN), and `ulimit -s` makes the first one as small.
//! Buffers for lines of `/proc` alone are half of that.

/// Less than this is too little for anything in this library, unoptimised.
const ENOUGH: usize = 128 << 10;
/// What is taken then, for the time of the call: memory that is not touched costs nothing.
const TAKEN: usize = 1 << 20;

/// Runs `work` on the caller's stack, or on a larger one of its own where that has too little left. It is the
/// same thread either way.
pub fn with_room<T>(work: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(ENOUGH, TAKEN, work)
}
