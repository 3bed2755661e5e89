//! What `--json` prints, held to docs/schema, and docs/schema held to the types that it is made from.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;
mod json_schema;

use std::path::PathBuf;

use boon::{Compiler, Schemas};
use common::{AsUser, NO_PROCESS, mctl};
use json_schema::documents;
use mctl_testkit::{Fixture, start};
use serde_json::Value;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");

fn file(name: &str) -> PathBuf {
    PathBuf::from(format!("{DOCS}/schema/{name}.json"))
}

/// Fails where a document is not as the schema in docs says.
#[track_caller]
fn hold(name: &str, document: &Value) {
    if let Err(why) = fits(name, document) {
        panic!("{name}: {why}\n{document:#}");
    }
}

fn fits(name: &str, document: &Value) -> Result<(), String> {
    let mut schemas = Schemas::new();
    let path = file(name);
    let schema = Compiler::new()
        .compile(path.to_str().unwrap(), &mut schemas)
        .unwrap();
    schemas
        .validate(document, schema)
        .map_err(|error| format!("{error:#}"))
}

/// Runs a command, whatever comes of it, and holds what it prints to a schema. A kernel that cannot do it at all is an
/// error of the whole command, without a document: `null`.
#[track_caller]
fn run(name: &str, args: &[&str]) -> Value {
    let ran = mctl(args);
    assert!(matches!(ran.code, Some(0 | 1)), "{args:?}: {ran:#?}");
    if ran.out.is_empty() {
        assert!(
            ran.code == Some(1) && !ran.err.is_empty(),
            "{args:?}: {ran:#?}"
        );
        return Value::Null;
    }
    let json = ran.json();
    hold(name, &json);
    json
}

#[test]
fn the_schemas_are_made_from_the_types() {
    let mut index = String::new();
    for (name, commands, schema) in documents() {
        let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        let path = file(name);
        if std::env::var_os("MCTL_UPDATE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert!(
            std::fs::read_to_string(&path).unwrap_or_default() == text,
            "{} is out of date; make it again with MCTL_UPDATE=1",
            path.display()
        );
        let commands: Vec<String> = commands.split(", ").map(|one| format!("`{one}`")).collect();
        index.push_str(&format!(
            "| {} | [schema/{name}.json](schema/{name}.json) |\n",
            commands.join(", ")
        ));
    }
    let page = std::fs::read_to_string(format!("{DOCS}/JSON.md")).unwrap();
    assert!(page.contains(&index), "docs/JSON.md has to list:\n{index}");
}

/// Every command that has `--json` is in the list.
#[test]
fn no_command_is_left_out() {
    let documents = documents();
    let help = mctl(&["--help"]).assert(0).out;
    let words = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .map_while(|line| line.split_whitespace().next());
    let mut found = 0;
    for word in words.filter(|word| *word != "help") {
        let has = mctl(&[word, "-h"]).assert(0).out.contains("--json");
        let listed = documents.iter().any(|(_, commands, _)| {
            commands
                .split(", ")
                .any(|one| one == format!("{word} --json"))
        });
        assert_eq!(has, listed, "{word}");
        found += usize::from(has);
    }
    assert!(found >= 14, "{help}");
}

/// A validator that takes everything would show nothing.
#[test]
fn what_is_something_else_is_noticed() {
    let good = run("probe", &["probe", "--json"]);
    for (at, value) in [
        ("/version", Value::Null),
        ("/caller/uid", "0".into()),
        ("/policies/0/inherit", 1.into()),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(at).unwrap() = value;
        assert!(fits("probe", &bad).is_err(), "{at}");
    }
    let mut more = good.clone();
    more["caller"]["gid"] = 0.into();
    assert!(fits("probe", &more).is_err());
    let mut less = good;
    less.as_object_mut().unwrap().remove("kernel");
    assert!(fits("probe", &less).is_err());
}

fn with_memory() -> Option<(Fixture, String)> {
    let mut fixture = Fixture::start("touch", &[]).ok()?;
    let (_, len) = common::memory::populated(&mut fixture, "map 8388608");
    assert_eq!(len, "8388608");
    let pid = fixture.pid().to_string();
    Some((fixture, pid))
}

#[test]
fn what_reads() {
    let Some((_fixture, pid)) = with_memory() else {
        mctl_testkit::skip!("needs the fixtures");
    };
    run("probe", &["probe", "--json"]);
    run("explain", &["explain", "--json", "EPERM", "set"]);
    run("explain", &["explain", "--json", "ENOMEM"]);
    let json = run("get", &["get", "--json", &pid, NO_PROCESS]);
    assert_eq!(json["processes"].as_array().unwrap().len(), 2);
    run("get", &["get", "--json", "--exact", &pid]);
    let all = "pid,inode,process,command,policy,exec,uid,ppid,threads,state,size,swap,rss,anon,huge,\
               coverage,advised,shmem,anonhuge,shmemhuge,filehuge,hugetlb,why";
    let json = run("get", &["get", "--json", "-o", all, &pid]);
    let help = mctl(&["get", "-o", "help"]).assert(0).out;
    let columns = help.lines().take_while(|line| !line.is_empty()).count();
    assert_eq!(columns, all.split(',').count(), "{help}");
    assert!(
        json["processes"][0]["coverage_percent"].is_number(),
        "{json}"
    );
    run("get-maps", &["get", "--maps", "--json", &pid, NO_PROCESS]);
    run("map", &["map", "--json", &pid]);
}

#[test]
fn what_would_be_done() {
    let Some((_fixture, pid)) = with_memory() else {
        mctl_testkit::skip!("needs the fixtures");
    };
    for policy in ["nohugepage", "hugepage", "hugepage-advised", "mergeable"] {
        run("change", &["set", "-n", "--json", policy, &pid, NO_PROCESS]);
        run("change", &["clear", "-n", "--json", policy, &pid]);
    }
    for advice in ["cold", "dontdump", "populate-read", "hugepage"] {
        run(
            "advise",
            &["advise", "-n", "--json", advice, "--anon", &pid, NO_PROCESS],
        );
    }
    for command in ["cold", "pageout", "collapse"] {
        run("advise", &[command, "-n", "--json", &pid, NO_PROCESS]);
    }
    for command in ["lock", "unlock"] {
        run("lock", &[command, "-n", "--json", &pid, NO_PROCESS]);
    }
}

#[test]
fn what_was_done() {
    let Some((_fixture, pid)) = with_memory() else {
        mctl_testkit::skip!("needs the fixtures");
    };
    let saved = mctl(&["get", "--exact", "--json", &pid]).assert(0);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("saved.json");
    std::fs::write(&path, &saved.out).unwrap();
    run(
        "change",
        &["set", "--json", "-q", "nohugepage", &pid, NO_PROCESS],
    );
    let tree = run(
        "change",
        &["set", "--json", "-q", "nohugepage", "--tree", &pid],
    );
    assert!(tree.is_null() || tree["complete"] == true, "{tree}");
    run(
        "restore",
        &["restore", "-n", "--json", path.to_str().unwrap()],
    );
    run("restore", &["restore", "--json", path.to_str().unwrap()]);
    run("change", &["set", "--json", "-q", "hugepage", &pid]);
    run("advise", &["cold", "--json", &pid, NO_PROCESS]);
    run("advise", &["collapse", "--json", &pid]);
    run("advise", &["advise", "dontdump", "--json", &pid]);
    run("change", &["clear", "--json", "-q", "hugepage", &pid]);
    run("lock", &["lock", "--onfault", "--json", &pid, NO_PROCESS]);
    run("lock", &["unlock", "--json", &pid]);
    run("split", &["split", "-n", "--json", &pid]);
    run("split", &["split", "--json", &pid, NO_PROCESS]);
}

/// Errors of access have the same form.
#[test]
fn of_one_without_access() {
    mctl_testkit::require_root!();
    let fixture = start!("pause");
    let pid = fixture.pid().to_string();
    let user = AsUser::new();
    for (name, args) in [
        ("get", &["get", "--json", &pid][..]),
        ("get-maps", &["get", "--maps", "--json", &pid]),
        ("change", &["set", "nohugepage", "--json", &pid]),
        ("advise", &["cold", "--json", &pid]),
        ("lock", &["lock", "--json", &pid]),
    ] {
        let ran = user.mctl(args).assert(1);
        hold(name, &ran.json());
    }
}
