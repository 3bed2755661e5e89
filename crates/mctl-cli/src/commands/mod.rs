//! One file a subcommand.

pub(crate) mod advise;
pub(crate) mod clear;
pub(crate) mod cold;
pub(crate) mod collapse;
pub(crate) mod completions;
pub(crate) mod explain;
pub(crate) mod get;
pub(crate) mod lock;
pub(crate) mod man;
pub(crate) mod map;
pub(crate) mod pageout;
pub(crate) mod probe;
pub(crate) mod restore;
pub(crate) mod run;
pub(crate) mod set;
pub(crate) mod split;
pub(crate) mod unlock;
