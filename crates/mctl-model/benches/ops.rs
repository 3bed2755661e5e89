//! How fast the model is: simple operations in an address space of 1,000 and of 1,000,000
//! mappings, and the cost of a fork of the larger one.

#![allow(
    clippy::expect_used,
    missing_docs,
    reason = "a bench that cannot run has to stop; its entry point is generated"
)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mctl_model::{
    CloneArgs, CloneKind, Knobs, Madvise, MapArgs, Model, PAGE, SpawnArgs, TaskId, VmFlags,
};

const BASE: u64 = 0x10_0000_0000;
const STEPS: u64 = 1000;

/// A process with `count` mappings of four pages, each beside a gap.
fn machine(count: u64) -> (Model, TaskId) {
    let mut model = Model::new(Knobs {
        max_map_count: 4_000_000,
        ..Knobs::default()
    });
    let task = model.spawn(&SpawnArgs::default()).expect("spawn");
    for at in 0..count {
        let args = MapArgs::anon(BASE + at * 8 * PAGE, 4 * PAGE).fixed();
        model.mmap(task, &args).expect("mmap");
    }
    (model, task)
}

fn reap(model: &mut Model, parent: TaskId, child: TaskId) {
    let (pid, _) = model.pid(child).expect("not waited for");
    model.wait(parent, pid).expect("wait");
}

/// A thousand simple calls spread over the address space.
fn thousand(model: &mut Model, task: TaskId, count: u64, seed: &mut u64) {
    for step in 0..STEPS {
        *seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let at = BASE + (*seed >> 33) % count * 8 * PAGE;
        match step % 4 {
            0 => model
                .madvise(task, at, 4 * PAGE, Madvise::HUGEPAGE)
                .expect("madvise"),
            1 => model
                .mprotect(task, at, 4 * PAGE, VmFlags::READ, false)
                .expect("mprotect"),
            2 => {
                model.munmap(task, at, 4 * PAGE).expect("munmap");
                model
                    .mmap(task, &MapArgs::anon(at, 4 * PAGE).fixed())
                    .map(|_| ())
                    .expect("mmap");
            }
            _ => model
                .madvise(task, at, 4 * PAGE, Madvise::NOHUGEPAGE)
                .expect("madvise"),
        }
    }
}

fn ops(c: &mut Criterion) {
    for count in [1_000, 1_000_000] {
        let (mut model, task) = machine(count);
        let mut seed = 1;
        let mut group = c.benchmark_group("simple calls");
        // Every fourth step makes two calls.
        group.throughput(Throughput::Elements(STEPS + STEPS / 4));
        group.bench_function(format!("{count} mappings"), |b| {
            b.iter(|| thousand(&mut model, task, count, &mut seed));
        });
        group.finish();
        c.bench_function(
            &format!("fork, one madvise, exit at {count} mappings"),
            |b| {
                b.iter(|| {
                    let child = model
                        .clone_task(
                            task,
                            CloneArgs {
                                kind: CloneKind::Fork,
                            },
                        )
                        .expect("fork");
                    model
                        .madvise(child, BASE, 4 * PAGE, Madvise::DONTFORK)
                        .expect("madvise");
                    model.exit(child).expect("exit");
                    reap(&mut model, task, child);
                });
            },
        );
    }
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_secs(1))
        .measurement_time(std::time::Duration::from_secs(3))
}

criterion_group! {
    name = benches;
    config = config();
    targets = ops
}
criterion_main!(benches);
