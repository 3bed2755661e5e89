//! Advice, as `mctl advise`, `pageout`, `cold` and `collapse` give it.

mod bounds;
mod job;
mod json;
mod passed_over;
mod tell;

pub(crate) use job::{How, Job, Style};
