use super::cgroup::find;
use super::sparse::{Rule, without};
use super::*;

const MIB: u64 = 1 << 20;

fn range(start: u64, len: u64) -> Range {
    Range { start, len }
}

fn room(host: u64, cgroup: Option<(u64, u64)>) -> Room {
    Room {
        host: Level::new(None, 1 << 34, host),
        cgroups: cgroup
            .map(|(limit, available)| Level::new(Some("/a/b".to_owned()), limit, available))
            .into_iter()
            .collect(),
    }
}

#[test]
fn what_fits_is_allowed_and_what_does_not_is_refused_with_the_figures() {
    let cost = |bytes, room| Cost {
        bytes: Bytes(bytes),
        shared: Bytes::ZERO,
        room,
    };
    let check = |cost: Cost, growth| cost.check(7, Purpose::Lock, growth);
    // 16 GiB: 5 % of them are kept, 819 MiB.
    let host = || room(2000 * MIB, None);
    assert!(check(cost(1000 * MIB, host()), Growth::Sparing).is_ok());
    assert!(check(cost(1182 * MIB, host()), Growth::Sparing).is_err());
    let cgroup = || room(2000 * MIB, Some((150 * MIB, 140 * MIB)));
    assert!(check(cost(132 * MIB, cgroup()), Growth::Sparing).is_ok());
    let refused = check(cost(2 << 40, cgroup()), Growth::Sparing).unwrap_err();
    assert_eq!(refused.errno(), mctl_abi::Errno::ENOMEM);
    let text = refused.to_string();
    for figure in ["2 TiB", "/a/b", "140 MiB of 150 MiB", "7.5 MiB in reserve"] {
        assert!(text.contains(figure), "{figure}: {text}");
    }
    assert!(refused.hint().unwrap().contains("--onfault"));
    // What is bounded is compared with its bound, and refused above the room all the same.
    let bound = |mib| Growth::AtMost(Bytes(mib * MIB));
    assert!(check(cost(2 << 40, cgroup()), bound(100)).is_ok());
    assert!(check(cost(2 << 40, cgroup()), bound(140)).is_err());
    // What needs nothing is never refused.
    assert!(check(cost(0, room(0, Some((MIB, 0)))), Growth::Sparing).is_ok());
}

/// The real run looks at the room that the processes before it left: a dry run has to count.
#[test]
fn of_several_each_finds_what_those_before_it_leave() {
    let cost = |mib: u64, shared: u64, room| Cost {
        bytes: Bytes((mib + shared) * MIB),
        shared: Bytes(shared * MIB),
        room,
    };
    let check = |cost: &Cost| cost.check(7, Purpose::Lock, Growth::Sparing);
    // 100 MiB, of which 5 are kept.
    let cgroup = || room(2000 * MIB, Some((100 * MIB, 100 * MIB)));
    let mut ahead = Ahead::default();
    for nth in 0..5 {
        let cost = cost(20, 10, cgroup().after(&ahead));
        let checked = check(&cost);
        assert_eq!(checked.is_ok(), nth < 3, "{nth}: {checked:?}");
        if let Err(refused) = checked {
            let text = refused.to_string();
            let taken = format!("before it would take {} MiB", nth * 20 + 10);
            assert!(text.contains(&taken), "{text}");
        }
        ahead.add(&cost, Growth::Sparing);
    }
    // Another cgroup of the same host has room, and the host counts all of them.
    let elsewhere = |host: u64| {
        let mut room = room(host * MIB, Some((100 * MIB, 100 * MIB)));
        room.cgroups[0].cgroup = Some("/other".to_owned());
        room.after(&ahead)
    };
    assert!(check(&cost(20, 10, elsewhere(2000))).is_ok());
    assert!(check(&cost(20, 10, elsewhere(960))).is_ok());
    assert!(check(&cost(20, 10, elsewhere(958))).is_err());
    // What is bounded takes no more than its bound.
    let mut ahead = Ahead::default();
    ahead.add(&cost(1 << 20, 0, cgroup()), Growth::AtMost(Bytes(MIB)));
    assert!(check(&cost(90, 0, cgroup().after(&ahead))).is_ok());
}

#[test]
fn cgroups_are_found_in_both_versions_and_within_namespaces() {
    let v1 = b"30 24 0:26 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n";
    let v2 = b"31 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    let both = [&v1[..], &v2[..]].concat();
    let text = b"4:memory:/jobs/a\n3:cpu,cpuacct:/\n0::/user.slice\n";
    let dirs = |text: &[u8], mounts: &[u8]| -> Vec<String> {
        find(text, mounts)
            .iter()
            .map(|place| format!("{place:?}"))
            .collect()
    };
    let found = dirs(text, &both);
    assert_eq!(found.len(), 2);
    assert!(
        found[0].contains("/sys/fs/cgroup/memory/jobs/a"),
        "{found:?}"
    );
    assert!(found[1].contains("/sys/fs/cgroup/unified/user.slice"));
    // A subtree is mounted.
    let part = b"30 24 0:26 /jobs /mnt/cg rw - cgroup2 none rw\n";
    assert!(dirs(b"0::/jobs/a\n", part)[0].contains("\"/mnt/cg/a\""));
    assert!(dirs(b"0::/jobs\n", part)[0].contains("\"/mnt/cg"));
    for outside in [
        &b"0::/jobsx/a\n"[..],
        b"0::/\n",
        b"0::/../b\n",
        b"0::/jobs/../b\n",
    ] {
        assert!(dirs(outside, part).is_empty(), "{outside:?}");
    }
    // Of two mounts the one that shows more.
    let two = [&part[..], &v2[..]].concat();
    assert!(dirs(b"0::/jobs/a\n", &two)[0].contains("unified/jobs/a"));
}

#[test]
fn blocks_are_taken_by_how_full_they_are() {
    let mut blocks = vec![0u64; 513];
    blocks[1] = 64;
    blocks[256] = 10;
    blocks[512] = 100;
    let taken = |growth| {
        let rule = Rule::of(growth, &blocks);
        [1usize, 255, 256, 512].map(|pages| {
            let mut rule = rule;
            (0..1000).filter(|_| rule.takes(pages)).count()
        })
    };
    assert_eq!(taken(Growth::AsAsked), [1000; 4]);
    assert_eq!(taken(Growth::Sparing), [0, 0, 1000, 1000]);
    // Full blocks cost nothing; of the half full ones, a MiB each, three fit into 3.5 MiB.
    assert_eq!(taken(Growth::AtMost(Bytes(7 * MIB / 2))), [0, 0, 3, 1000]);
    assert_eq!(taken(Growth::AtMost(Bytes(0))), [0, 0, 0, 1000]);
    // 10 MiB for the half full ones, and two of the nearly empty ones.
    assert_eq!(
        taken(Growth::AtMost(Bytes(14 * MIB))),
        [2, 1000, 1000, 1000]
    );
    assert_eq!(taken(Growth::AtMost(Bytes(u64::MAX)))[0], 1000);
}

#[test]
fn stretches_are_taken_out() {
    let all = [range(0, 100), range(200, 100)];
    assert_eq!(without(&all, &[]), all);
    assert_eq!(
        without(&all, &[(0, 10), (50, 60), (90, 220)]),
        [range(10, 40), range(60, 30), range(220, 80)]
    );
    assert_eq!(without(&all, &[(0, 400)]), []);
}

#[test]
fn lists_are_sorted_and_cut() {
    let lists = Lists::new(&[range(50, 20), range(0, 10), range(5, 10), range(80, 0)]);
    let within = |start, end| lists.within(start, end).collect::<Vec<_>>();
    assert_eq!(within(0, 100), [(0, 15), (50, 70)]);
    assert_eq!(within(12, 55), [(12, 15), (50, 55)]);
    assert!(within(15, 50).is_empty());
}

#[test]
fn our_own_room_is_there() {
    let own = Target::own().unwrap();
    let room = Room::of(&own).unwrap();
    assert!(room.host.limit >= room.host.available);
    assert!(!room.left().is_zero(), "{room:?}");
    let places = cgroup::places(&own).unwrap();
    assert!(!OomKills::of(&places).rose());
    assert!(matches!(
        Guard::new(&own, Purpose::Write, Growth::AtMost(Bytes(0))).allowed(),
        Allowed::Reached(_)
    ));
}
