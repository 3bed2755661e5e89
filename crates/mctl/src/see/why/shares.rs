//! Bytes by reason.

use serde::{Serialize, Serializer};

use super::Reason;
use crate::see::coverage::Bytes;

/// The bytes that one reason accounts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// The reason.
    pub reason: Reason,
    /// How much.
    pub bytes: Bytes,
}

/// Bytes by reason. In JSON a list of those that are not zero, the largest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shares([Bytes; Reason::ALL.len()]);

impl Shares {
    /// What a reason accounts for.
    #[must_use]
    pub fn of(&self, reason: Reason) -> Bytes {
        self.0.get(reason as usize).copied().unwrap_or_default()
    }

    /// All of it. Sums saturate.
    #[must_use]
    pub fn total(&self) -> Bytes {
        self.0.iter().copied().sum()
    }

    /// The reasons that account for something, the largest share first.
    #[must_use]
    pub fn list(&self) -> Vec<Share> {
        let mut shares: Vec<Share> = self.iter().collect();
        shares.sort_by_key(|share| std::cmp::Reverse(share.bytes));
        shares
    }

    /// The reason that accounts for most.
    #[must_use]
    pub fn dominant(&self) -> Option<Share> {
        // Of equal ones max_by_key takes the last; the first is wanted.
        self.iter()
            .max_by_key(|share| (share.bytes, std::cmp::Reverse(share.reason)))
    }

    /// Adds another mapping's shares.
    pub fn add(&mut self, other: &Shares) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    pub(super) fn put(&mut self, reason: Reason, bytes: Bytes) {
        if let Some(share) = self.0.get_mut(reason as usize) {
            *share += bytes;
        }
    }

    fn iter(&self) -> impl Iterator<Item = Share> + '_ {
        Reason::ALL
            .iter()
            .zip(self.0)
            .filter(|(_, bytes)| !bytes.is_zero())
            .map(|(&reason, bytes)| Share { reason, bytes })
    }
}

impl Serialize for Shares {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.list())
    }
}
