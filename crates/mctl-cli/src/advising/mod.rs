//! What the commands that give advice have in common.

pub(crate) mod bar;
mod bounds;
mod job;
mod json;
pub(crate) mod parse;
mod passed_over;
mod tell;
mod what;
mod who;

pub(crate) use job::{How, Job, Style, carry_out};
pub(crate) use tell::time;
pub(crate) use what::{Choice, What};
pub(crate) use who::{Opened, Who};
