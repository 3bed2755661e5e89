//! Arguments that several commands have.

pub(crate) mod parse;
mod what;
pub(crate) mod who;

pub(crate) use what::{Choice, What};
pub(crate) use who::{Opened, Who};
