//! syzkaller descriptions against the rules of syzkaller's compiler, written down here again: what
//! a name may be, how many options a type takes in a call and in a structure, what must be
//! declared, used, made and pointed at.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kapi::diag::Source;
use kapi::emit::{Format, emit};
use kapi::front::{kdoc, macros};
use kapi::ir::{Limits, Param, Spec, SpecKind, Value};
use proptest::prelude::*;

/// A type with its options: `ptr[in, array[int8], opt]`.
#[derive(Debug, Clone)]
struct Type {
    name: String,
    options: Vec<Type>,
}

/// Reads one type; numbers and ranges are names here.
fn read_type(text: &mut &str) -> Result<Type, String> {
    *text = text.trim_start();
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-')))
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return Err(format!("no type before `{text}`"));
    }
    *text = rest;
    let mut options = Vec::new();
    if let Some(rest) = text.strip_prefix('[') {
        *text = rest;
        loop {
            options.push(read_type(text)?);
            *text = text.trim_start();
            if let Some(rest) = text.strip_prefix(',') {
                *text = rest;
            } else if let Some(rest) = text.strip_prefix(']') {
                *text = rest;
                break;
            } else {
                return Err(format!("no `]` before `{text}`"));
            }
        }
    }
    Ok(Type {
        name: name.to_owned(),
        options,
    })
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn number(text: &str) -> Option<i128> {
    match text.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

type Fields = Vec<(String, Type)>;

#[derive(Default)]
struct File {
    calls: BTreeMap<String, (Fields, Option<String>)>,
    structs: BTreeMap<String, Fields>,
    packed: BTreeSet<String>,
    sets: BTreeMap<String, Vec<String>>,
    resources: BTreeSet<String>,
    used: BTreeSet<String>,
    made: BTreeSet<String>,
}

/// `name type`, names once, none kept by the language.
fn fields(list: &[String]) -> Result<Fields, String> {
    let mut out: Fields = Vec::new();
    for text in list {
        let (name, mut rest) = text
            .trim()
            .split_once([' ', '\t'])
            .ok_or_else(|| format!("no type in `{text}`"))?;
        let kind = read_type(&mut rest)?;
        if !rest.trim().is_empty() {
            return Err(format!("`{rest}` after the type"));
        }
        if !is_name(name) || name == "parent" {
            return Err(format!("bad name `{name}`"));
        }
        if out.iter().any(|(taken, _)| taken == name) {
            return Err(format!("`{name}` twice"));
        }
        out.push((name.to_owned(), kind));
    }
    Ok(out)
}

/// Splits at commas outside brackets.
fn split(text: &str) -> Vec<String> {
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in text.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    parts.retain(|p| !p.trim().is_empty());
    parts
}

fn parse(text: &str) -> Result<File, String> {
    let mut file = File::default();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let twice = |taken: bool| {
            if taken {
                Err(format!("declared twice: {line}"))
            } else {
                Ok(())
            }
        };
        if line.is_empty() || line.starts_with('#') || line.starts_with("include <") {
        } else if let Some(rest) = line.strip_prefix("resource ") {
            let name = rest.split('[').next().unwrap();
            twice(!file.resources.insert(name.to_owned()))?;
        } else if let Some(name) = line.strip_suffix(" {") {
            let mut body = Vec::new();
            loop {
                let line = lines.next().ok_or("a structure without its end")?;
                if line.starts_with('}') {
                    if line == "} [packed]" {
                        file.packed.insert(name.to_owned());
                    } else if line != "}" {
                        return Err(format!("bad end `{line}`"));
                    }
                    break;
                }
                body.push(line.to_owned());
            }
            if !is_name(name) || body.is_empty() {
                return Err(format!("bad structure `{name}`"));
            }
            twice(
                file.structs
                    .insert(name.to_owned(), fields(&body)?)
                    .is_some(),
            )?;
        } else if let Some((name, values)) = line.split_once(" = ") {
            let values: Vec<String> = values.split(", ").map(str::to_owned).collect();
            for (n, value) in values.iter().enumerate() {
                if !is_name(value) && number(value).is_none() {
                    return Err(format!("bad constant `{value}`"));
                }
                if values[..n].contains(value) {
                    return Err(format!("`{value}` twice in {name}"));
                }
            }
            if !is_name(name) {
                return Err(format!("bad set `{name}`"));
            }
            twice(file.sets.insert(name.to_owned(), values).is_some())?;
        } else {
            let (name, rest) = line.split_once('(').ok_or_else(|| line.to_owned())?;
            let (args, result) = rest.rsplit_once(')').ok_or_else(|| line.to_owned())?;
            let (base, variant) = name.split_once('$').unwrap_or((name, "v"));
            if !is_name(base) || variant.is_empty() || !is_name(&format!("_{variant}")) {
                return Err(format!("bad call `{name}`"));
            }
            let args = fields(&split(args))?;
            if args.len() > 9 {
                return Err(format!("{name}: too many arguments"));
            }
            let result = Some(result.trim().to_owned()).filter(|r| !r.is_empty());
            twice(file.calls.insert(name.to_owned(), (args, result)).is_some())?;
        }
    }
    Ok(file)
}

const INTS: [(&str, u32); 5] = [
    ("int8", 8),
    ("int16", 16),
    ("int32", 32),
    ("int64", 64),
    ("intptr", 64),
];

/// Whether the size of a type in a structure is fixed.
fn fixed(kind: &Type) -> bool {
    match kind.name.as_str() {
        "array" => kind.options.len() == 2,
        "string" | "filename" => false,
        _ => true,
    }
}

/// Checks a type; `argument` of a call, or else in memory. `out`: the kernel writes it.
fn check(
    file: &mut File,
    kind: &Type,
    argument: bool,
    out: bool,
    around: &Fields,
    own: &str,
) -> Result<(), String> {
    let mut options = kind.options.clone();
    let may = !matches!(kind.name.as_str(), "in" | "out" | "inout");
    if may && options.last().is_some_and(|o| o.name == "opt") {
        options.pop();
    }
    let wrong = |why: &str| Err(format!("{own}: {why}: {kind:?}"));
    let int = |t: &Type| INTS.iter().any(|(n, _)| *n == t.name) && t.options.is_empty();
    let base = usize::from(!argument);
    match kind.name.as_str() {
        name if INTS.iter().any(|(n, _)| *n == name) => {
            let bits = INTS.iter().find(|(n, _)| *n == name).unwrap().1;
            match options.as_slice() {
                [] => Ok(()),
                [range] => {
                    let Some((low, high)) = range.name.split_once(':') else {
                        return wrong("no range");
                    };
                    let (Some(low), Some(high)) = (number(low), number(high)) else {
                        return wrong("no numbers");
                    };
                    if low > high || low < -(1 << (bits - 1)) || high >= 1 << bits {
                        return wrong("bad int range");
                    }
                    Ok(())
                }
                _ => wrong("too many options"),
            }
        }
        "const" | "flags" | "len" | "bytesize" => {
            if options.len() != 1 + base || (base == 1 && !int(&options[1])) {
                return wrong("wrong number of options");
            }
            let what = &options[0].name;
            match kind.name.as_str() {
                "const" if is_name(what) || number(what).is_some() => Ok(()),
                "flags" if file.sets.contains_key(what) => {
                    file.used.insert(what.clone());
                    Ok(())
                }
                "len" | "bytesize" if own != what && around.iter().any(|(n, _)| n == what) => {
                    Ok(())
                }
                _ => wrong("names nothing"),
            }
        }
        "vma" if options.is_empty() => Ok(()),
        "string" | "filename" if !argument && options.is_empty() => Ok(()),
        "ptr" => {
            let [direction, to] = options.as_slice() else {
                return wrong("wrong number of options");
            };
            if !["in", "out", "inout"].contains(&direction.name.as_str()) {
                return wrong("bad direction");
            }
            check(file, to, false, direction.name != "in", around, own)
        }
        "array" if !argument => {
            let Some(of) = options.first() else {
                return wrong("of nothing");
            };
            if let Some(count) = options.get(1)
                && !number(&count.name).is_some_and(|n| (1..=1 << 20).contains(&n))
            {
                return wrong("bad count");
            }
            check(file, of, false, out, around, own)
        }
        name if options.is_empty() && file.resources.contains(name) => {
            file.used.insert(name.to_owned());
            if out {
                file.made.insert(name.to_owned());
            }
            Ok(())
        }
        name if options.is_empty() && !argument && file.structs.contains_key(name) => {
            if !file.used.insert(name.to_owned()) {
                return Ok(());
            }
            let all = file.structs[name].clone();
            for (n, (own, kind)) in all.iter().enumerate() {
                check(file, kind, false, out, &all, own)?;
                if n + 1 < all.len() && !fixed(kind) && !file.packed.contains(name) {
                    return wrong("variable size in the middle");
                }
            }
            Ok(())
        }
        _ => wrong("unknown type"),
    }
}

/// By value, or by pointers that are not optional, nothing is inside itself.
fn ends(file: &File, name: &str, above: &mut Vec<String>) -> Result<(), String> {
    fn inner(file: &File, kind: &Type, above: &mut Vec<String>) -> Result<(), String> {
        if kind.name == "ptr" && kind.options.last().is_some_and(|o| o.name == "opt") {
            return Ok(());
        }
        if file.structs.contains_key(&kind.name) {
            ends(file, &kind.name, above)?;
        }
        kind.options.iter().try_for_each(|o| inner(file, o, above))
    }
    if above.iter().any(|n| n == name) {
        return Err(format!("{name} is inside itself"));
    }
    above.push(name.to_owned());
    for (_, kind) in &file.structs[name] {
        inner(file, kind, above)?;
    }
    above.pop();
    Ok(())
}

/// What the compiler would say.
fn compile(text: &str) -> Result<File, String> {
    let mut file = parse(text)?;
    for (name, (args, result)) in file.calls.clone() {
        for (own, kind) in &args {
            check(&mut file, kind, true, false, &args, own).map_err(|e| format!("{name}: {e}"))?;
        }
        if let Some(result) = result {
            if !file.resources.contains(&result) {
                return Err(format!("{name} returns {result}"));
            }
            file.used.insert(result.clone());
            file.made.insert(result);
        }
    }
    let declared = file.sets.keys().chain(file.structs.keys());
    for name in declared.chain(&file.resources) {
        if !file.used.contains(name) {
            return Err(format!("{name} is not used"));
        }
    }
    if let Some(name) = file.resources.difference(&file.made).next() {
        return Err(format!("{name} cannot be made"));
    }
    if let Some(name) = file.sets.keys().find(|n| file.structs.contains_key(*n)) {
        return Err(format!("{name} is two things"));
    }
    for name in file.structs.keys() {
        ends(&file, name, &mut Vec::new())?;
    }
    Ok(file)
}

fn described(specs: &[Spec]) -> String {
    let text = emit(specs, Format::Syzlang);
    if let Err(error) = compile(&text) {
        panic!("{error}\n{text}");
    }
    text
}

#[test]
fn the_rules_are_rules() {
    for (wrong, why) in [
        ("a(x flags[s, int32])\n\ns = A\n", "wrong number of options"),
        (
            "a(x ptr[in, flags[s]])\n\ns = A\n",
            "wrong number of options",
        ),
        ("a(x flags[s])\n", "names nothing"),
        ("a(x fd)\n", "unknown type"),
        ("resource fd[int32]\na(x fd)\n", "cannot be made"),
        ("a()\n\ns = A\n", "not used"),
        ("a(x len[y])\n", "names nothing"),
        ("a(x int8[0:256])\n", "bad int range"),
        ("a(x int32[2:1])\n", "bad int range"),
        (
            "a(x ptr[in, s])\n\ns {\n\tf\tptr[in, s]\n}\n",
            "inside itself",
        ),
        (
            "a(x ptr[in, s])\n\ns {\n\tf\tstring\n\tg\tint8\n}\n",
            "in the middle",
        ),
        ("a(x array[int8])\n", "unknown type"),
        ("a(x int8, x int8)\n", "twice"),
        ("a()\na()\n", "twice"),
        ("a(x const[A | B])\n", "no `]`"),
    ] {
        let error = compile(wrong).err().unwrap_or_default();
        assert!(error.contains(why), "{wrong}{error}");
    }
}

#[test]
fn every_specification_of_ours_compiles_alone_and_with_the_others() {
    let mut all = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs");
    for entry in std::fs::read_dir(root).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let specs = kdoc::parse(&Source::new("spec", &text)).specs;
        for spec in &specs {
            described(std::slice::from_ref(spec));
        }
        all.extend(specs);
    }
    assert!(all.len() >= 16);
    let text = described(&all);
    for line in [
        "mlockall(flags flags[kapi_mlockall_flags])",
        "mlock(start vma, len len[start])",
        "munlockall()",
        "pidfd_open(pid int32[1:2147483647], flags flags[kapi_pidfd_open_flags]) fd",
        "process_madvise(pidfd fd, vec ptr[in, array[kapi_struct_iovec]], vlen len[vec], \
         behavior flags[kapi_process_madvise_behavior], flags const[0x0])",
        "prctl$PR_SET_MEMORY_MERGE(option const[PR_SET_MEMORY_MERGE], arg2 intptr, \
         arg3 const[0x0], arg4 const[0x0], arg5 const[0x0])",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

#[test]
fn other_specifications_compile() {
    described(&macros::parse(&Source::new("own.c", common::OWN)).specs);
}

fn param(name: &str, c_type: &str, limits: Limits) -> Param {
    Param {
        name: name.to_owned(),
        type_name: c_type.to_owned(),
        limits,
        ..Param::default()
    }
}

#[test]
fn lengths_structures_and_commands() {
    let of = |index: &str| Limits {
        size_param: Some(Value::new(index)),
        ..Limits::default()
    };
    let none = Limits::default;
    let call = |name: &str, params: Vec<Param>| Spec {
        name: name.to_owned(),
        params,
        ..Spec::default()
    };
    let wait = call(
        "sys_epoll_wait",
        vec![
            param("epfd", "int", none()),
            param("events", "struct epoll_event __user *", of("2")),
            param("maxevents", "int", none()),
            param("timeout", "int", none()),
        ],
    );
    let accept = call(
        "sys_getsockopt",
        vec![
            param("optval", "char __user *", of("1")),
            param("optlen", "int __user *", none()),
            param("path", "const char __user *", none()),
            param("in", "const unsigned long __user *", none()),
        ],
    );
    let mut ioctl = call(
        "DEMO_GO",
        vec![
            param("size", "__u32", none()),
            param("name", "__u8[16]", none()),
            param(
                "mode",
                "__u16",
                Limits {
                    valid_mask: Some(Value::new("DEMO_A | BIT(3)")),
                    ..none()
                },
            ),
        ],
    );
    ioctl.kind = SpecKind::Ioctl;
    ioctl.ioctl = Some(kapi::ir::Ioctl {
        command_name: "DEMO_GO".to_owned(),
        input_size: Some(Value::new("24")),
        ..kapi::ir::Ioctl::default()
    });
    let text = described(&[wait, accept, ioctl]);
    for line in [
        "epoll_wait(epfd int32, events ptr[inout, array[kapi_struct_epoll_event]], \
         maxevents len[events], timeout int32)",
        "getsockopt(optval ptr[inout, array[int8]], optlen ptr[inout, len[optval, int32]], \
         path ptr[in, string], in_ ptr[in, intptr])",
        "ioctl$DEMO_GO(fd fd, cmd const[DEMO_GO], arg ptr[in, kapi_struct_DEMO_GO])",
        "\tname\tarray[int8, 16]",
        "\tmode\tflags[kapi_fields_DEMO_GO_mode, int16]",
        "kapi_fields_DEMO_GO_mode = DEMO_A, 0x8",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_specified_compiles(specs in proptest::collection::vec(common::spec(), 1..4)) {
        let text = emit(&specs, Format::Syzlang);
        if let Err(error) = compile(&text) {
            prop_assert!(false, "{}\n{}", error, text);
        }
    }
}
