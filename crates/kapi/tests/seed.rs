//! The seed's specification of mlockall, value by value, from the mail with all its lines folded
//! into one, as it came, and from the same as lines of a patch.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_wrap,
    reason = "helpers of tests fail tests"
)]

mod common;

use common::seed;
use kapi::diag::{Severity, Source};
use kapi::front::macros;
use kapi::ir::vocab::{
    CapAction, CheckKind, ConstraintKind, LockKind, SignalAction, TypeKind, Word,
};
use kapi::ir::{Spec, SpecKind};

/// FNV-1a. The seed's sentences are its author's: they are compared, not repeated here.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn read(text: &str) -> Spec {
    let source = Source::new("mlockall", text);
    let mut parsed = macros::parse(&source);
    assert_eq!(parsed.specs.len(), 1);
    let worst = parsed.diagnostics.iter().map(|d| d.severity).max();
    assert_eq!(worst, Some(Severity::Warning), "{:#?}", parsed.diagnostics);
    // The seed sets KAPI_LOCK_DESC twice in both locks; nothing else is odd.
    let codes: Vec<_> = parsed.diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["duplicate-field", "duplicate-field"]);
    parsed.specs.remove(0)
}

fn check(spec: &Spec) {
    assert_eq!(spec.name, "sys_mlockall");
    assert_eq!(spec.call_name(), "mlockall");
    assert_eq!(spec.kind, SpecKind::Function);
    assert_eq!(digest(&spec.description), 0xd841_c4db_048f_e532);
    assert_eq!(digest(&spec.long_description), 0xb575_8131_5378_4333);
    assert_eq!(spec.contexts.short(), "process | sleepable");
    assert_eq!(spec.contexts.bits(), Some(1 | 1 << 5));
    assert_eq!(spec.since_version, "2.0");
    assert!(!spec.deprecated);
    assert!(spec.unknown.is_empty(), "{:?}", spec.unknown);
    check_param_and_return(spec);
    check_errors(spec);
    check_signals(spec);
    check_effects(spec);
    check_transitions(spec);
    check_locks_and_capability(spec);
    check_texts(spec);
    check_constraints(spec);
    let counts: Vec<_> = spec
        .counts
        .iter()
        .map(|c| (c.of.as_str(), c.value.number))
        .collect();
    assert_eq!(
        counts,
        [
            ("error", Some(5)),
            ("param", Some(1)),
            ("signal", Some(2)),
            ("side-effect", Some(6)),
            ("state-trans", Some(5)),
            ("lock", Some(2)),
            ("capability", Some(1)),
            ("constraint", Some(3)),
        ]
    );
    for count in &spec.counts {
        assert_eq!(
            spec.real_count(&count.of).map(|n| n as i128),
            count.value.number,
            "{}",
            count.of
        );
    }
    let signature = spec.signature.as_ref().unwrap();
    assert_eq!(
        (signature.name.as_str(), signature.arity),
        ("mlockall", Some(1))
    );
    assert_eq!(signature.args, [("int".to_owned(), "flags".to_owned())]);
}

fn check_param_and_return(spec: &Spec) {
    let [param] = spec.params.as_slice() else {
        panic!("{:?}", spec.params)
    };
    assert_eq!(
        (param.name.as_str(), param.type_name.as_str()),
        ("flags", "int")
    );
    assert_eq!(digest(&param.description), 0x84d2_b1f0_0d06_53d8);
    assert_eq!(param.kind, Some(TypeKind::Int));
    assert_eq!(param.flags.bits(), Some(1));
    assert_eq!(param.limits.kind, Some(ConstraintKind::Mask));
    let mask = param.limits.valid_mask.as_ref().unwrap();
    assert_eq!(mask.text, "MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT");
    assert_eq!(
        (mask.number, mask.on("powerpc"), mask.on("alpha")),
        (Some(7), Some(0xe000), Some(0xe000))
    );
    assert_eq!(digest(&param.limits.text), 0xc44f_4dc0_8849_9cb8);
    assert_eq!(
        (&param.limits.range, &param.limits.size_param),
        (&None, &None)
    );
    let returns = spec.returns.as_ref().unwrap();
    assert_eq!(
        (returns.type_name.as_str(), returns.kind.clone()),
        ("long", Some(TypeKind::Int))
    );
    assert_eq!(digest(&returns.description), 0x5b28_a943_be47_2402);
    assert_eq!(returns.check, Some(CheckKind::ErrorCheck));
    assert_eq!(returns.check.as_ref().unwrap().number(), Some(2));
    assert_eq!(returns.success.as_ref().unwrap().number, Some(0));
    assert_eq!(
        (returns.is_success(0), returns.is_success(-22)),
        (Some(true), Some(false))
    );
}

fn check_errors(spec: &Spec) {
    let rows: Vec<_> = spec
        .errors
        .iter()
        .map(|e| {
            let code = e.code.as_ref().unwrap();
            (
                e.name.as_str(),
                code.text.as_str(),
                code.number,
                digest(&e.summary),
                digest(&e.description),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            (
                "EINVAL",
                "-EINVAL",
                Some(-22),
                0x7f52_6450_074b_acc3,
                0x1eaf_436a_1fe3_9a00
            ),
            (
                "EPERM",
                "-EPERM",
                Some(-1),
                0x2a8b_c106_a98e_f46e,
                0x4a67_31fc_cbba_5e8f
            ),
            (
                "ENOMEM",
                "-ENOMEM",
                Some(-12),
                0xf396_6a73_e9bf_b447,
                0x51ce_3c35_dcac_d1f0
            ),
            (
                "EINTR",
                "-EINTR",
                Some(-4),
                0x0724_de46_538d_503a,
                0xabc9_bc84_9e0e_7fa7
            ),
            (
                "EAGAIN",
                "-EAGAIN",
                Some(-11),
                0x3883_3eea_b165_8669,
                0x14f3_ef37_5771_104a
            ),
        ]
    );
    assert_eq!(spec.errors[4].code.as_ref().unwrap().on("alpha"), Some(-35));
}

fn check_signals(spec: &Spec) {
    let [fatal, bus] = spec.signals.as_slice() else {
        panic!("{:?}", spec.signals)
    };
    assert_eq!(
        (fatal.name.as_str(), &fatal.number),
        ("FATAL_SIGNALS", &None)
    );
    assert_eq!(fatal.direction.short(), "receive");
    assert_eq!(fatal.action, Some(SignalAction::Return));
    assert_eq!(digest(&fatal.condition), 0x539f_bb07_3607_42ef);
    assert_eq!(digest(&fatal.description), 0xfcdb_19cd_b78f_75f5);
    assert!(fatal.restartable && !fatal.interruptible);
    assert_eq!(
        (
            bus.name.as_str(),
            bus.number.as_ref().unwrap().text.as_str()
        ),
        ("SIGBUS", "SIGBUS")
    );
    assert_eq!(
        (
            bus.number.as_ref().unwrap().number,
            bus.number.as_ref().unwrap().on("mips")
        ),
        (Some(7), Some(10))
    );
    assert_eq!(
        (bus.direction.short().as_str(), &bus.action),
        ("send", &Some(SignalAction::Default))
    );
    assert_eq!(
        (bus.target.as_str(), digest(&bus.condition)),
        ("Current process", 0x4624_f72f_7881_8efd)
    );
    assert_eq!(digest(&bus.description), 0xaedb_dca0_b74b_b838);
    assert!(!bus.restartable);
    assert!(spec.signal_masks.is_empty());
}

fn check_effects(spec: &Spec) {
    let rows: Vec<_> = spec
        .side_effects
        .iter()
        .map(|e| {
            (
                e.effects.bits(),
                e.target.as_str(),
                digest(&e.description),
                e.condition.as_str(),
                e.reversible,
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            (
                Some(5),
                "all process memory",
                0x1dc3_8e72_c377_15ba,
                "MCL_CURRENT flag set",
                true
            ),
            (
                Some(4),
                "mm->def_flags",
                0x15f8_1f49_803e_a990,
                "MCL_FUTURE flag set",
                true
            ),
            (
                Some(4),
                "mm->locked_vm",
                0x37a4_6c99_f4e8_bc08,
                "MCL_CURRENT flag set",
                true
            ),
            (
                Some(1),
                "page tables",
                0x3a83_e5fd_ba56_9b50,
                "MCL_CURRENT without MCL_ONFAULT",
                false
            ),
            (
                Some(4),
                "VMA flags",
                0x2675_318d_f09b_2f70,
                "MCL_CURRENT flag set",
                true
            ),
            (
                Some(1 << 9),
                "mm_populate",
                0x928d_50bf_35d3_f0e3,
                "MCL_CURRENT without MCL_ONFAULT",
                false
            ),
        ]
    );
    assert_eq!(
        spec.side_effects[0].effects.short(),
        "modify_state | alloc_memory"
    );
}

fn check_transitions(spec: &Spec) {
    let rows: Vec<_> = spec
        .state_transitions
        .iter()
        .map(|t| {
            (
                t.object.as_str(),
                t.from.as_str(),
                t.to.as_str(),
                digest(&t.description),
                t.condition.as_str(),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            (
                "all memory pages",
                "swappable",
                "locked in RAM",
                0xc0d6_8d74_559e_4840,
                "MCL_CURRENT flag set"
            ),
            (
                "future mappings",
                "normal",
                "auto-locked",
                0xacc0_f216_d5f4_897a,
                "MCL_FUTURE flag set"
            ),
            (
                "VMA flags",
                "varied",
                "all VM_LOCKED",
                0xd561_ec5b_df26_d71a,
                "MCL_CURRENT flag set"
            ),
            (
                "page fault behavior",
                "normal faulting",
                "lock on fault",
                0x07d0_e20b_0e47_1bf8,
                "MCL_ONFAULT flag set"
            ),
            (
                "process statistics",
                "partial locked memory",
                "all memory locked",
                0x7bf4_01eb_9e7c_8bfd,
                "MCL_CURRENT flag set"
            ),
        ]
    );
}

fn check_locks_and_capability(spec: &Spec) {
    let rows: Vec<_> = spec
        .locks
        .iter()
        .map(|l| {
            (
                l.name.as_str(),
                l.kind.clone().unwrap(),
                l.scope(),
                digest(&l.description),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            // The later of two descriptions wins, as in C; taken and given back is no "release".
            (
                "mmap_lock",
                LockKind::Rwlock,
                Some("internal"),
                0xb23d_e58f_0daf_732d
            ),
            (
                "lru_lock",
                LockKind::Spinlock,
                Some("internal"),
                0x30dd_ddb6_54d5_6ef1
            ),
        ]
    );
    let [cap] = spec.capabilities.as_slice() else {
        panic!("{:?}", spec.capabilities)
    };
    assert_eq!(
        (cap.name.as_str(), cap.capability.as_ref().unwrap().number),
        ("CAP_IPC_LOCK", Some(14))
    );
    assert_eq!(cap.action, Some(CapAction::BypassCheck));
    assert_eq!(digest(&cap.allows), 0x51ad_c282_5df7_93f3);
    assert_eq!(digest(&cap.without), 0xe085_1f95_1dca_b803);
    assert_eq!(digest(&cap.condition), 0x6420_9632_00d0_9434);
    assert_eq!(cap.priority.as_ref().unwrap().number, Some(0));
    assert!(cap.alternatives.is_empty());
}

fn check_texts(spec: &Spec) {
    assert_eq!(digest(&spec.examples), 0x71e5_3200_9487_6980);
    assert_eq!(digest(&spec.notes), 0x85cd_0b96_b7a8_8b09);
    assert!(!spec.notes.contains('+') && !spec.notes.contains("  "));
}

fn check_constraints(spec: &Spec) {
    let rows: Vec<_> = spec
        .constraints
        .iter()
        .map(|c| (c.name.as_str(), c.expression.as_deref()))
        .collect();
    assert_eq!(
        rows,
        [
            (
                "MCL_FUTURE Persistence",
                Some("MCL_FUTURE => mm->def_flags |= VM_LOCKED")
            ),
            (
                "Total VM Size Limit",
                Some("(flags & MCL_CURRENT) => total_vm <= RLIMIT_MEMLOCK || CAP_IPC_LOCK")
            ),
            ("Memory Accounting", None),
        ]
    );
    let texts: Vec<_> = spec
        .constraints
        .iter()
        .map(|c| digest(&c.description))
        .collect();
    assert_eq!(
        texts,
        [
            0xe5bd_870a_31ff_9622,
            0xfbd0_c131_15d5_3c61,
            0xabfd_3904_ec1d_d2cf
        ]
    );
}

#[test]
fn every_value_of_the_folded_seed() {
    check(&read(seed!(folded)));
}

#[test]
fn every_value_of_the_seed_as_a_patch() {
    check(&read(seed!(patch)));
}

#[test]
fn both_forms_say_the_same_and_spans_point_into_the_file() {
    let text = seed!(patch);
    let (folded, patch) = (read(seed!(folded)), read(text));
    assert_eq!(folded, patch);
    assert_eq!(folded.span.line, 1);
    let line = text
        .lines()
        .position(|l| l.contains("KAPI_ERROR(3,"))
        .unwrap()
        + 1;
    assert_eq!(patch.errors[3].span.line as usize, line);
    assert_eq!(patch.errors[3].span.column, 3);
}

#[test]
fn c_as_the_patch_leaves_it_reads_the_same() {
    let c: String = seed!(patch)
        .lines()
        .skip(5)
        .map(|l| format!("{}\n", l.get(1..).unwrap_or_default()))
        .collect();
    check(&read(&c));
}

#[test]
fn the_patch_has_its_lines_back() {
    let lines: Vec<_> = seed!(patch).lines().collect();
    assert!(lines[0].starts_with("diff --git ") && lines[4].starts_with("@@ "));
    // As many as the mail says it adds.
    assert_eq!(lines.len() - 5, 186);
    assert!(lines[5..].iter().all(|l| l.starts_with('+')));
    assert!(lines.contains(&"+KAPI_END_SPEC;"));
    assert_eq!(digest(""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(digest("a"), 0xaf63_dc4c_8601_ec8c);
}
