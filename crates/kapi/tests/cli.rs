//! The command, end to end: output, exit status, schema.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_wrap,
    reason = "helpers of tests fail tests"
)]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value as Json;

fn kapi(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kapi"))
        .args(args)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A file with this text, there as long as the folder.
fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn specs() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../specs")
        .display()
        .to_string()
}

#[test]
fn list_shows_every_specification_and_its_place() {
    let out = kapi(&["list", "-s", &specs()]);
    assert!(out.status.success());
    let shown = text(&out);
    for call in [
        "mctl ",
        "process_madvise ",
        "madvise ",
        "mlock ",
        "mlock2 ",
        "munlock ",
        "mlockall ",
        "munlockall ",
        "pidfd_open ",
        "pidfd_send_signal ",
        "mincore ",
        "prctl_set_thp_disable ",
        "prctl_get_memory_merge ",
    ] {
        assert!(
            shown.lines().any(|l| l.starts_with(call)),
            "{call}\n{shown}"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let folded = file(&dir, "folded.txt", &common::own_folded());
    let json: Json =
        serde_json::from_slice(&kapi(&["list", "--json", "-s", &folded]).stdout).unwrap();
    assert_eq!(
        (json["files"].as_u64(), json["specs"][0]["name"].as_str()),
        (Some(1), Some("sys_mlockall"))
    );
}

#[test]
fn the_projects_specifications_are_clean() {
    let out = kapi(&["lint", "--strict", "-s", &specs()]);
    assert!(out.status.success(), "{}", text(&out));
    // Those built in are those in the tree.
    let built_in: Json = serde_json::from_slice(&kapi(&["list", "--json"]).stdout).unwrap();
    let in_tree: Json =
        serde_json::from_slice(&kapi(&["list", "--json", "-s", &specs()]).stdout).unwrap();
    let names = |j: &Json| {
        j["specs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["name"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&built_in), names(&in_tree));
}

#[test]
fn lint_finds_what_is_wrong_and_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.c");
    std::fs::write(
        &file,
        "DEFINE_KERNEL_API_SPEC(sys_bad)\n\tKAPI_DESCRIPTION(\"x\")\n\tKAPI_PARAM(0, \"flag\", \"long\", \"d\")\n\t\tKAPI_PARAM_TYPE(KAPI_TYPE_WRONG)\n\t\t\
         KAPI_PARAM_CONSTRAINT_TYPE(KAPI_CONSTRAINT_MASK)\n\t\tKAPI_PARAM_VALID_MASK(MCL_CURRENT | MCL_NEVER)\n\tKAPI_PARAM_END\n\t\
         KAPI_ERROR(0, -EPERM, \"EINVAL\", \"s\", \"d\")\n\tKAPI_CONSTRAINT(0, \"c\", \"d\")\n\t\tKAPI_CONSTRAINT_EXPR(\"flag & MCL_FUTURE => (\")\n\t\
         KAPI_CONSTRAINT_END\n\tKAPI_NEW_THING(3)\n\tKAPI_PARAM_COUNT(2)\nKAPI_END_SPEC;\n\nSYSCALL_DEFINE1(bad, int, flags)\n{\n}\n",
    )
    .unwrap();
    let out = kapi(&["lint", "-s", file.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(1));
    let shown = text(&out);
    for wanted in [
        "error[unknown-word]: `KAPI_TYPE_WRONG`",
        "warning[unknown-constant]: `MCL_NEVER` has no known number",
        "error[error-code]: EINVAL is -22, but its code is -1",
        "error[expression-syntax]: rule of `c`",
        "warning[unknown-item]: `KAPI_NEW_THING`",
        "error[count-mismatch]: `sys_bad` states 2 param items, but lists 1",
        "error[arity]: parameter 0 is `flag` here, but declared as `flags`",
        "error[arity]: `flag` is `long` here, but declared as `int`",
        "bad.c:12:2\n",
        " 12 |  KAPI_NEW_THING(3)",
    ] {
        assert!(shown.contains(wanted), "{wanted}\n{shown}");
    }
    let sarif: Json = serde_json::from_slice(
        &kapi(&["lint", "-f", "sarif", "-s", file.to_str().unwrap()]).stdout,
    )
    .unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let arity = results.iter().find(|r| r["ruleId"] == "arity").unwrap();
    assert_eq!(arity["level"], "error");
    assert!(
        arity["locations"][0]["physicalLocation"]["region"]["startLine"]
            .as_u64()
            .unwrap()
            > 0
    );
    let index = usize::try_from(arity["ruleIndex"].as_u64().unwrap()).unwrap();
    assert_eq!(
        sarif["runs"][0]["tool"]["driver"]["rules"][index]["id"],
        "arity"
    );
}

#[test]
fn damaged_input_is_an_error_and_the_rest_is_still_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("two.c");
    std::fs::write(
        &file,
        "DEFINE_KERNEL_API_SPEC(sys_one)\n\tKAPI_DESCRIPTION(\"no end\n\tKAPI_NOTES(\"n\"\n\tKAPI_PARAM_COUNT(0)\n\nSYSCALL_DEFINE0(one)\n{\n}\n\
         DEFINE_KERNEL_API_SPEC(sys_two)\n\tKAPI_DESCRIPTION(\"good\")\nKAPI_END_SPEC;\n",
    )
    .unwrap();
    let out = kapi(&["list", "-s", file.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out).contains("sys_two  good"));
    let errors = String::from_utf8(out.stderr).unwrap();
    assert!(
        errors.contains("error[syntax]: a string without its closing quote\n"),
        "{errors}"
    );
    assert!(errors.contains("two.c:2:19"), "{errors}");
    assert!(errors.contains("error[unterminated]"), "{errors}");
    assert!(
        errors.contains("expected `KAPI_END_SPEC` before that"),
        "{errors}"
    );
    assert_eq!(
        kapi(&["show", "nothing", "-s", file.to_str().unwrap()])
            .status
            .code(),
        Some(2)
    );
    assert_eq!(
        kapi(&["list", "-s", "/nonexistent/file"]).status.code(),
        Some(1)
    );
}

#[test]
fn diff_tells_breaking_changes_by_its_status() {
    let dir = tempfile::tempdir().unwrap();
    let own = common::own_patch();
    let old = file(&dir, "old.patch", &own);
    let less = own.replace(
        "= MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT,",
        "= MCL_CURRENT | MCL_FUTURE,",
    );
    let new = file(&dir, "new.patch", &less);
    let (old, new) = (old.as_str(), new.as_str());
    let out = kapi(&["diff", old, new]);
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(
        text(&out),
        "BREAKING   mlockall: parameter 0 (flags): bits 0x4 are no longer allowed\n"
    );
    let back = kapi(&["diff", new, old]);
    assert_eq!(
        (back.status.code(), text(&back).as_str()),
        (
            Some(0),
            "compatible mlockall: parameter 0 (flags): bits 0x4 are allowed now\n"
        )
    );
    assert_eq!(text(&kapi(&["diff", old, old])), "no change\n");
}

#[test]
fn every_format_is_made_and_reads_back_where_it_can() {
    every_format(&common::own_patch(), &["Room for all", "must stay"]);
}

#[test]
fn every_format_says_what_the_seed_says() {
    every_format(
        common::seed!(patch),
        &["MCL_FUTURE Persistence", "auto-locked"],
    );
}

fn every_format(patch: &str, words: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let source = file(&dir, "source.patch", patch);
    for format in [
        "plain",
        "json",
        "rst",
        "man",
        "markdown",
        "html",
        "kerneldoc",
        "syzlang",
        "macros",
        "requirements",
    ] {
        let out = kapi(&["show", "mlockall", "-s", &source, "-f", format]);
        assert!(out.status.success());
        assert!(text(&out).contains("mlockall"), "{format}");
    }
    // Everything is in every readable form.
    for format in ["plain", "rst", "man", "markdown", "html"] {
        let shown = text(&kapi(&["show", "mlockall", "-s", &source, "-f", format]));
        let common = [
            "EAGAIN",
            "35",
            "SIGBUS",
            "page tables",
            "restartable",
            "e000",
        ];
        for word in common.iter().chain(words) {
            assert!(
                shown.replace('\\', "").contains(word),
                "{format} lacks {word}"
            );
        }
    }
    for (format, file) in [
        ("json", "a.json"),
        ("kerneldoc", "b.kapi"),
        ("macros", "c.c"),
    ] {
        let path = dir.path().join(file);
        std::fs::write(
            &path,
            kapi(&["show", "mlockall", "-s", &source, "-f", format]).stdout,
        )
        .unwrap();
        let out = kapi(&["diff", "--fail-on", "text", &source, path.to_str().unwrap()]);
        assert_eq!(text(&out), "no change\n", "{format}");
    }
}

#[test]
fn requirements_have_stable_identifiers_and_hashes() {
    let dir = tempfile::tempdir().unwrap();
    let patch = file(&dir, "own.patch", &common::own_patch());
    let folded = file(&dir, "folded.txt", &common::own_folded());
    let json: Json = serde_json::from_slice(
        &kapi(&["show", "mlockall", "-s", &patch, "-f", "requirements"]).stdout,
    )
    .unwrap();
    let all = json["requirements"].as_array().unwrap();
    let find = |id: &str| {
        all.iter()
            .find(|r| r["id"].as_str().is_some_and(|i| i.starts_with(id)))
            .unwrap_or_else(|| panic!("{id}"))
    };
    let einval = find("MLOCKALL-ERR-EINVAL");
    let id = einval["id"].as_str().unwrap();
    match einval["basis"].as_str() {
        Some("machine") => assert_eq!(
            einval["verified_by"],
            format!("kapi verify mlockall --clause {id}")
        ),
        basis => {
            assert_eq!(basis, Some("prose"));
            assert!(einval.get("verified_by").is_none());
        }
    }
    assert_eq!(einval["hash"].as_str().unwrap().len(), 16);
    // From the folded form they are the same.
    let folded: Json = serde_json::from_slice(
        &kapi(&["show", "mlockall", "-s", &folded, "-f", "requirements"]).stdout,
    )
    .unwrap();
    let pairs = |j: &Json| {
        j["requirements"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| (r["id"].clone(), r["hash"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(pairs(&json), pairs(&folded));
}

/// As much of JSON Schema as ours uses.
fn valid(schema: &Json, root: &Json, value: &Json, at: &str) -> Result<(), String> {
    if let Some(target) = schema["$ref"].as_str() {
        let name = target
            .strip_prefix("#/$defs/")
            .ok_or_else(|| format!("odd reference {target}"))?;
        return valid(&root["$defs"][name], root, value, at);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return if any.iter().any(|s| valid(s, root, value, at).is_ok()) {
            Ok(())
        } else {
            Err(format!("{at}: {value} fits nothing of {schema}"))
        };
    }
    if let Some(all) = schema["oneOf"].as_array() {
        return if all
            .iter()
            .filter(|s| valid(s, root, value, at).is_ok())
            .count()
            == 1
        {
            Ok(())
        } else {
            Err(format!("{at}: {value} fits not one of {schema}"))
        };
    }
    if let Some(values) = schema["enum"].as_array() {
        return if values.contains(value) {
            Ok(())
        } else {
            Err(format!("{at}: {value} is not one of {values:?}"))
        };
    }
    if let Some(constant) = schema.get("const") {
        return if constant == value {
            Ok(())
        } else {
            Err(format!("{at}: {value} is not {constant}"))
        };
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Json::String(one) => vec![one],
        Json::Array(many) => many.iter().filter_map(Json::as_str).collect(),
        _ => vec![],
    };
    let kind = match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(_) => "integer",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    };
    if !kinds.is_empty() && !kinds.contains(&kind) {
        return Err(format!("{at}: {kind} instead of {kinds:?}"));
    }
    if let (Some(items), Json::Array(list)) = (schema.get("items"), value) {
        for (n, item) in list.iter().enumerate() {
            valid(items, root, item, &format!("{at}[{n}]"))?;
        }
    }
    if let Json::Object(map) = value {
        for required in schema["required"].as_array().into_iter().flatten() {
            if !map.contains_key(required.as_str().unwrap_or_default()) {
                return Err(format!("{at} lacks {required}"));
            }
        }
        for (key, inner) in map {
            match schema["properties"].get(key) {
                Some(property) => valid(property, root, inner, &format!("{at}.{key}"))?,
                None if schema["additionalProperties"].is_object() => valid(
                    &schema["additionalProperties"],
                    root,
                    inner,
                    &format!("{at}.{key}"),
                )?,
                None if schema.get("properties").is_some() => {
                    return Err(format!("{at}.{key} is not in the schema"));
                }
                None => {}
            }
        }
    }
    Ok(())
}

#[test]
fn json_follows_the_published_schema() {
    let schema: Json = serde_json::from_slice(&kapi(&["schema"]).stdout).unwrap();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let dir = tempfile::tempdir().unwrap();
    for source in [specs(), file(&dir, "own.patch", &common::own_patch())] {
        let corpus: Json =
            serde_json::from_slice(&kapi(&["convert", "-t", "json", "-s", &source]).stdout)
                .unwrap();
        valid(&schema, &schema, &corpus, "corpus").unwrap();
        let mut wrong = corpus.clone();
        wrong["specs"][0]["errors"] = Json::from("none");
        assert!(valid(&schema, &schema, &wrong, "corpus").is_err());
        let mut extra = corpus;
        extra["specs"][0]["surprise"] = Json::from(1);
        assert!(valid(&schema, &schema, &extra, "corpus").is_err());
    }
    // The published file is what the command prints.
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/kapi-1.schema.json");
    assert_eq!(
        std::fs::read_to_string(published).unwrap(),
        text(&kapi(&["schema"]))
    );
}

#[test]
fn debugfs_json_and_text_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("specs-json");
    std::fs::create_dir(&json).unwrap();
    std::fs::write(
        json.join("sys_x"),
        r#"{"name": "sys_x", "version": 1, "description": "An x", "long_description": "", "context_flags": "0x21",
            "parameters": [{"name": "flags", "type": "int", "type_class": "int", "flags": "0x1", "description": "d", "constraint_type": "mask",
              "constraint_desc": "c", "min_value": 0, "max_value": 0, "valid_mask": "0x7", "enum_values": [], "size": 0, "alignment": 0,
              "size_param_idx": null, "size_multiplier": 0}],
            "return": {"type": "long", "type_class": "int", "check_type": "error_check", "success_value": 0, "success_min": 0, "success_max": 0,
              "error_values": [], "description": "r"},
            "errors": [{"code": -4, "name": "EINTR", "condition": "s", "description": "d"}],
            "locks": [{"name": "l", "type": "rwlock", "scope": "internal", "description": "d"}],
            "capabilities": [{"capability": 14, "name": "CAP_IPC_LOCK", "action": "bypass_check", "allows": "a", "without_cap": "w",
              "check_condition": "c", "priority": 0}],
            "side_effects": [{"type": "0x5", "target": "t", "condition": "c", "description": "d", "reversible": true}]}"#,
    )
    .unwrap();
    let out = kapi(&[
        "show",
        "x",
        "--debugfs",
        dir.path().to_str().unwrap(),
        "-f",
        "kerneldoc",
    ]);
    let shown = text(&out);
    for wanted in [
        " * sys_x - An x",
        " * contexts: process | sleepable",
        "constraint-type: mask(7)",
        "check-type: error_check",
        " * error: EINTR, s",
        "scope: internal",
        "side-effect: alloc_memory | modify_state",
        " * capability: CAP_IPC_LOCK",
    ] {
        assert!(shown.contains(wanted), "{wanted}\n{shown}");
    }
    let file = dir.path().join("sys_y");
    std::fs::write(
        &file,
        "Kernel API Specification\n========================\n\nName: sys_y\nVersion: 1\nDescription: A y\n\nParameters (1):\n  [0] fd:\n    type: fd (int)\n    \
         description: where\n    constraints:\n      type: range\n      min: -1\n      max: 9\n\nReturn value:\n  type: long\n  success: == 0\n\nErrors (1):\n  \
         EBADF (-9): Not open\n    condition: closed\n\nLocks (1):\n  l (mutex): d\n    scope: acquired and released\n\nSide effects (1):\n  - t: does it (reversible)\n\n\
         Notes:\nTwo\nlines\n\n",
    )
    .unwrap();
    let shown = text(&kapi(&[
        "show",
        "y",
        "-s",
        file.to_str().unwrap(),
        "-f",
        "kerneldoc",
    ]));
    for wanted in [
        " * sys_y - A y",
        "type: fd",
        "c-type: int",
        "constraint-type: range(-1, 9)",
        "success: 0",
        " * error: EBADF, closed",
        "desc: Not open",
        "scope: internal",
        "reversible: yes",
        "| Two",
    ] {
        assert!(shown.contains(wanted), "{wanted}\n{shown}");
    }
}

#[test]
fn man_and_rst_are_accepted_by_their_readers() {
    // Where the readers are installed.
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("mlockall.2");
    std::fs::write(&page, kapi(&["show", "mlockall", "-f", "man"]).stdout).unwrap();
    if let Ok(out) = Command::new("mandoc")
        .args(["-T", "lint", "-W", "warning"])
        .arg(&page)
        .output()
    {
        let said = String::from_utf8_lossy(&out.stdout);
        let bad: Vec<_> = said
            .lines()
            .filter(|l| !l.contains("missing date") && !l.contains("STYLE"))
            .collect();
        assert!(bad.is_empty(), "{bad:?}");
    }
    if let Ok(out) = Command::new("groff")
        .args(["-man", "-ww", "-Tutf8", "-z"])
        .arg(&page)
        .output()
    {
        assert!(
            out.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
}

#[test]
fn manual_pages_and_completions_know_every_command() {
    let help = text(&kapi(&["--help"]));
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|l| *l != "Commands:")
        .skip(1)
        .take_while(|l| l.starts_with("  "))
        // Long summaries go on below.
        .filter(|l| !l.starts_with("   "))
        .filter_map(|l| l.split_whitespace().next())
        .filter(|c| *c != "help")
        .collect();
    assert!(commands.len() >= 12, "{commands:?}");
    let dir = tempfile::tempdir().unwrap();
    let out = kapi(&["man", "--output", dir.path().to_str().unwrap()]);
    assert!(out.status.success());
    for command in &commands {
        let page = dir.path().join(format!("kapi-{command}.1"));
        let page = std::fs::read_to_string(page).unwrap();
        assert_eq!(text(&kapi(&["man", command])), page);
        assert!(page.contains("Examples:"), "{command}");
    }
    let page = std::fs::read_to_string(dir.path().join("kapi.1")).unwrap();
    assert!(!page.contains("__agent"));
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&kapi(&["completions", shell]));
        for command in &commands {
            assert!(script.contains(command), "{shell} {command}");
        }
    }
    let out = kapi(&["man", "nothing"]);
    assert_eq!(out.status.code(), Some(2));
}
