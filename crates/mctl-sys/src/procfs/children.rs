//! `/proc/PID/task/TID/children`: the processes that a thread has started, separated by spaces.
//!
//! Source: `proc_tid_children(5)`; `children_seq_show()` in `fs/proc/array.c`. Needs
//! CONFIG_PROC_CHILDREN. The list is exact only while the children are stopped or frozen: if one
//! exits during the read, others may be missing. Each *thread* has its own list.

use super::error::Malformed;
use super::lines::words;
use super::num::dec_u32;

/// The children's process ids. Also reads `cgroup.procs`, which has one on each line.
pub fn pids(text: &[u8]) -> impl Iterator<Item = Result<u32, Malformed>> {
    words(text).map(|word| dec_u32(word, "process id"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists() {
        assert_eq!(pids(b"").count(), 0);
        assert_eq!(
            pids(b"12 345 \n").collect::<Result<Vec<_>, _>>(),
            Ok(vec![12, 345])
        );
        assert_eq!(
            pids(b"1\n2\n").collect::<Result<Vec<_>, _>>(),
            Ok(vec![1, 2])
        );
        let mixed: Vec<_> = pids(b"1 x -2 4294967296").collect();
        let not_a_number = Err(Malformed::NotANumber("process id"));
        assert_eq!(
            mixed,
            [
                Ok(1),
                not_a_number,
                not_a_number,
                Err(Malformed::TooLarge("process id"))
            ]
        );
    }

    proptest! {
        #[test]
        fn round_trip(list in proptest::collection::vec(any::<u32>(), 0..64)) {
            let text: String = list.iter().map(|pid| format!("{pid} ")).collect();
            prop_assert_eq!(pids(text.as_bytes()).collect::<Result<Vec<_>, _>>(), Ok(list));
        }

        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..128)) {
            pids(&text).for_each(drop);
        }
    }
}
