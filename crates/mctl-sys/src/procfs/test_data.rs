//! Texts captured from Linux 6.18 on x86-64. Some lines were added by hand for what that machine
//! did not have: protection keys, unknown names, numbers wider than their column.

pub(super) const MAPS: &[u8] = include_bytes!("test_data/maps");
pub(super) const SMAPS: &[u8] = include_bytes!("test_data/smaps");
pub(super) const ROLLUP: &[u8] = include_bytes!("test_data/smaps_rollup");
pub(super) const STATUS: &[u8] = include_bytes!("test_data/status");
pub(super) const STAT: &[u8] = include_bytes!("test_data/stat");
pub(super) const MOUNTINFO: &[u8] = include_bytes!("test_data/mountinfo");
