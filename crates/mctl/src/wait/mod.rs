//! How much may be waited, and on what: the time for harmless moments that many share, one bounded task for many
//! looks, and room on the stack.

pub(crate) mod one_task;
pub(crate) mod patience;
pub(crate) mod stack;
