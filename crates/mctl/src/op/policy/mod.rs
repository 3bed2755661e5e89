//! Policies for an entire address space: what is asked for, the checks of the contract, and the plan.

pub(crate) mod check;
pub(crate) mod plan;
pub(crate) mod request;
