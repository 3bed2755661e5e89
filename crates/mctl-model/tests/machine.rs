//! The machine by itself: what no scenario says.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests stop where a test would"
)]

use mctl_abi::{Action, Errno};
use mctl_model::{
    CloneArgs, CloneKind, HUGE, Knobs, Limits, Madvise, MapArgs, Model, PAGE, Rule, SpawnArgs,
    Target, TaskState, VmFlags,
};

const AT: u64 = 0x10_0000_0000;

fn machine() -> (Model, mctl_model::TaskId) {
    let mut model = Model::new(Knobs::default());
    let task = model.spawn(&SpawnArgs::default()).expect("a PID is free");
    (model, task)
}

fn reap(model: &mut Model, parent: mctl_model::TaskId, child: mctl_model::TaskId) {
    let (pid, _) = model.pid(child).expect("not waited for");
    model.wait(parent, pid).expect("wait");
}

#[test]
fn a_fork_shares_until_one_side_writes() {
    let (mut model, task) = machine();
    model
        .mmap(task, &MapArgs::anon(AT, 4 * PAGE).fixed())
        .expect("mmap");
    model.touch(task, AT, 4 * PAGE, true).expect("touch");
    let child = model
        .clone_task(
            task,
            CloneArgs {
                kind: CloneKind::Fork,
            },
        )
        .expect("fork");
    let frame = |model: &Model, who| {
        let mm = model.mm(who).expect("alive");
        mm.runs(AT, AT + PAGE).next().map(|run| run.frame)
    };
    assert_eq!(frame(&model, task), frame(&model, child));
    model.touch(child, AT, PAGE, true).expect("touch");
    assert_ne!(frame(&model, task), frame(&model, child));
    assert_eq!(model.mm(child).expect("alive").rss(), 4 * PAGE);
    // The parent is alone with its page only once the child has its own.
    model.touch(task, AT + PAGE, PAGE, true).expect("touch");
    model.check().expect("sound");
}

#[test]
fn a_shared_huge_page_is_split_by_the_writer_only() {
    let (mut model, task) = machine();
    model
        .mmap(task, &MapArgs::anon(AT, HUGE).fixed())
        .expect("mmap");
    model
        .madvise(task, AT, HUGE, Madvise::HUGEPAGE)
        .expect("madvise");
    model.touch(task, AT, PAGE, true).expect("touch");
    let child = model
        .clone_task(
            task,
            CloneArgs {
                kind: CloneKind::Fork,
            },
        )
        .expect("fork");
    model.touch(child, AT, PAGE, true).expect("touch");
    assert_eq!(model.mm(child).expect("alive").huge(), 0);
    assert_eq!(model.mm(task).expect("alive").huge(), HUGE);
    model.exit(child).expect("exit");
    model.touch(task, AT, PAGE, true).expect("touch");
    assert_eq!(
        model.mm(task).expect("alive").huge(),
        HUGE,
        "alone again: no copy"
    );
    model.check().expect("sound");
}

#[test]
fn pids_are_used_again_and_identities_are_not() {
    let mut model = Model::new(Knobs {
        pid_max: 4,
        ..Knobs::default()
    });
    let parent = model.spawn(&SpawnArgs::default()).expect("spawn");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..10 {
        let child = model
            .clone_task(
                parent,
                CloneArgs {
                    kind: CloneKind::Fork,
                },
            )
            .expect("fork");
        let (pid, inode) = model.pid(child).expect("alive");
        assert!((1..4).contains(&pid));
        assert!(seen.insert(inode));
        model.exit(child).expect("exit");
        assert_eq!(model.state(child), Some(TaskState::Zombie));
        reap(&mut model, parent, child);
        assert_eq!(model.state(child), None);
    }
    let kinds = CloneArgs {
        kind: CloneKind::Fork,
    };
    model.clone_task(parent, kinds).expect("fork");
    model.clone_task(parent, kinds).expect("fork");
    assert_eq!(model.clone_task(parent, kinds), Err(Errno::EAGAIN));
    model.check().expect("sound");
}

#[test]
fn a_descriptor_never_names_a_successor() {
    let mut model = Model::new(Knobs {
        pid_max: 3,
        ..Knobs::default()
    });
    let parent = model.spawn(&SpawnArgs::default()).expect("spawn");
    let fork = CloneArgs {
        kind: CloneKind::Fork,
    };
    let child = model.clone_task(parent, fork).expect("fork");
    let (pid, inode) = model.pid(child).expect("alive");
    let fd = model
        .pidfd_open(parent, i64::from(pid), 0)
        .expect("pidfd_open");
    model.exit(child).expect("exit");
    reap(&mut model, parent, child);
    let second = model.clone_task(parent, fork).expect("fork");
    assert_eq!(
        model.pid(second).expect("alive").0,
        pid,
        "the number is used again"
    );
    let set = Action::SetNohugepage.number();
    assert_eq!(
        model.mctl(parent, Target::Fd(fd), set, 0, Rule::Admin),
        Err(Errno::ESRCH)
    );
    let named = Target::Pid(pid, Some(inode));
    assert_eq!(
        model.mctl(parent, named, set, 0, Rule::Admin),
        Err(Errno::ESRCH)
    );
    assert_eq!(model.mm(second).expect("alive").policy().mask(), 0);
}

#[test]
fn extreme_arguments_are_answered() {
    let (mut model, task) = machine();
    let extremes = [
        0,
        1,
        PAGE - 1,
        PAGE,
        1 << 47,
        i64::MAX as u64,
        u64::MAX - PAGE,
        u64::MAX,
    ];
    for a in extremes {
        for b in extremes {
            let _ = model.mmap(task, &MapArgs::anon(a, b).fixed());
            let _ = model.mprotect(task, a, b, VmFlags::READ, b == 1);
            for advice in [Madvise::DONTNEED, Madvise::HUGEPAGE, Madvise::COLLAPSE] {
                let _ = model.madvise(task, a, b, advice);
            }
            let _ = model.mlock(task, a, b, true);
            let _ = model.munlock(task, a, b);
            let _ = model.mremap(task, a, b, a, true, Some(b), false);
            let _ = model.mremap(task, b, a, b, true, Some(a), true);
            let _ = model.munmap(task, a, b);
            let _ = model.brk(task, a);
            if let Some(broken) = model.check().err() {
                panic!("{broken} after {a:#x} {b:#x}");
            }
            if model.mm(task).is_none_or(|mm| mm.map_count() == 0) {
                (model, _) = machine();
            }
        }
    }
}

#[test]
fn a_million_mappings_stay_cheap() {
    let mut model = Model::new(Knobs {
        max_map_count: 2_000_000,
        ..Knobs::default()
    });
    let task = model.spawn(&SpawnArgs::default()).expect("spawn");
    let limits = Limits {
        memlock: u64::MAX,
        ..Limits::default()
    };
    model.set_limits(task, limits).expect("alive");
    for at in 0..200_000_u64 {
        let args = MapArgs::anon(AT + at * 2 * PAGE, PAGE).fixed();
        model.mmap(task, &args).expect("mmap");
    }
    // A fork that copied them would take thousands of times longer than these do.
    for _ in 0..2_000 {
        let child = model
            .clone_task(
                task,
                CloneArgs {
                    kind: CloneKind::Fork,
                },
            )
            .expect("fork");
        model.munmap(child, AT, PAGE).expect("munmap");
        model.exit(child).expect("exit");
        reap(&mut model, task, child);
    }
    model.check().expect("sound");
}
