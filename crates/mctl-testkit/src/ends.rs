use std::sync::atomic::{AtomicBool, Ordering};

/// Sets a flag when it goes: what threads of a [`std::thread::scope`] look at to come to their end. A scope waits
/// for its threads also after a panic, so a test that sets the flag in its last line hangs where it should fail.
#[derive(Debug)]
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
