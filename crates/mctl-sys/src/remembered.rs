//! What is found out once and kept, without ever waiting for another thread. A fork(2) of a program with several threads
//! takes one of them along; a lock that another one held at that moment is held for ever in the child, and a `OnceLock`
//! that another one was filling is filled by nobody.

use std::sync::Mutex;

/// Such a thing. It may be found out more than once, and each time is as good as the others.
#[derive(Debug)]
pub struct Remembered<T>(Mutex<Option<T>>);

impl<T: Clone> Remembered<T> {
    /// Nothing yet.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "for statics")]
    pub const fn new() -> Remembered<T> {
        Remembered(Mutex::new(None))
    }

    /// What is kept, if it can be had at once.
    #[must_use]
    pub fn get(&self) -> Option<T> {
        self.0.try_lock().ok().and_then(|kept| kept.clone())
    }

    /// Keeps it, if that can be done at once.
    pub fn set(&self, found: T) {
        if let Ok(mut kept) = self.0.try_lock() {
            *kept = Some(found);
        }
    }

    /// What is kept, or what is found now.
    pub fn get_or_find(&self, find: impl FnOnce() -> T) -> T {
        self.get().unwrap_or_else(|| {
            let found = find();
            self.set(found.clone());
            found
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_once_and_never_waited_for() {
        let what = Remembered::new();
        assert_eq!(what.get_or_find(|| 1), 1);
        assert_eq!(what.get_or_find(|| 2), 1);
        // As in the child of a fork, where the thread that has it is not.
        let held = what.0.lock().unwrap();
        assert_eq!(what.get(), None);
        assert_eq!(what.get_or_find(|| 3), 3);
        drop(held);
        assert_eq!(what.get(), Some(1));
    }
}
