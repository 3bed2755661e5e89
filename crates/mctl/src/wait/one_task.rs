//! Looks at many processes by one task: starting a task for each takes longer than most looks.

use mctl_sys::bounded;

/// The work on each item, in their order. What is done about this program itself (`alone`) is done here: the task is
/// another process. So is, once more, what the kernel did not answer about: the caller then hears of it as ever.
pub(crate) fn map<T, R>(
    items: &[T],
    alone: impl Fn(&T) -> bool,
    mut work: impl FnMut(&T) -> R,
) -> Vec<R> {
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    let others: Vec<usize> = items
        .iter()
        .enumerate()
        .filter(|(_, item)| !alone(item))
        .map(|(index, _)| index)
        .collect();
    // (Interrupted, the rest answers so by itself.)
    let _ = bounded::each(&others, |index| {
        if let (Some(item), Some(result)) = (items.get(index), results.get_mut(index)) {
            *result = Some(work(item));
        }
    });
    items
        .iter()
        .zip(results)
        .map(|(item, result)| result.unwrap_or_else(|| work(item)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_task_for_all_but_ourselves() {
        let own = std::process::id();
        let seen = map(
            &[1, 2, 3, 4],
            |item| *item == 3,
            |item| (*item, std::process::id()),
        );
        let items: Vec<i32> = seen.iter().map(|(item, _)| *item).collect();
        assert_eq!(items, [1, 2, 3, 4]);
        let tasks: Vec<u32> = seen.iter().map(|(_, task)| *task).collect();
        assert_eq!(tasks[2], own);
        assert!(tasks[0] != own && tasks[0] == tasks[1] && tasks[1] == tasks[3]);
    }
}
