//! syzkaller descriptions that stand alone: the calls, and the structures, sets of flags and
//! resources that they use, each declared once and used.
//!
//! The rules are those of syzkaller's compiler: a set in a call has no base type and one in a
//! structure has; a length names another argument; a resource is made by some call; what is
//! declared is used.

mod sets;
mod structs;
mod types;

use std::fmt::Write as _;

use crate::consts;
use crate::ir::vocab::{CheckKind, TypeKind};
use crate::ir::{Ioctl, Spec, SpecKind};

use super::prototype::{is_identifier, one_of_many};
use sets::Sets;
use structs::Structs;
use types::{Group, Place};

/// The compiler takes no more arguments.
const MAX_ARGS: usize = 9;

/// What is collected while calls are described.
#[derive(Default)]
struct Page {
    calls: Vec<String>,
    names: Vec<String>,
    sets: Sets,
    structs: Structs,
    /// A descriptor is an argument somewhere.
    takes_fd: bool,
    /// Some call returns one.
    makes_fd: bool,
}

/// Descriptions of the calls and ioctl commands; the rest is named in comments.
pub(super) fn emit(specs: &[Spec]) -> String {
    let mut page = Page::default();
    for spec in specs {
        match spec.kind {
            SpecKind::Function => call(spec, &mut page),
            SpecKind::Ioctl => command(spec, &mut page),
            SpecKind::Sysfs => page.calls.push(format!(
                "# {}: a sysfs attribute is a file, no call",
                comment(&spec.name)
            )),
        }
    }
    page.text()
}

impl Page {
    fn text(mut self) -> String {
        if self.takes_fd && !self.makes_fd {
            // A resource that no call makes is an error.
            let name = self.unique("openat$kapi");
            self.calls.push(format!(
                "{name}(dir const[0xffffffffffffff9c], file ptr[in, filename], flags const[0x2], mode const[0x0]) fd"
            ));
        }
        let mut out = String::from("# Made from API specifications by kapi. Stands alone.\n");
        let includes = self.sets.includes();
        if !includes.is_empty() {
            out.push('\n');
        }
        for header in includes {
            let _ = writeln!(out, "include <{header}>");
        }
        if self.takes_fd || self.makes_fd {
            out.push_str("\nresource fd[int32]: 0xffffffffffffffff\n");
        }
        for part in [self.calls.join("\n"), self.structs.text(), self.sets.text()] {
            if !part.is_empty() {
                let _ = write!(out, "\n{}\n", part.trim_end());
            }
        }
        out
    }

    /// `wanted`, or with `_2` and so on behind where it is taken.
    fn unique(&mut self, wanted: &str) -> String {
        let base = if wanted.contains('$') {
            format!("{wanted}_")
        } else {
            format!("{wanted}$kapi_")
        };
        let name = std::iter::once(wanted.to_owned())
            .chain((2..=self.names.len() + 2).map(|n| format!("{base}{n}")))
            .find(|name| !self.names.contains(name))
            .unwrap_or(base);
        self.names.push(name.clone());
        name
    }

    fn push(&mut self, name: &str, args: &[String], result: &str) {
        if args.len() > MAX_ARGS {
            self.calls
                .push(format!("# {name}: more than {MAX_ARGS} arguments"));
            return;
        }
        let name = self.unique(name);
        self.calls
            .push(format!("{name}({}){result}", args.join(", ")));
    }
}

/// One system call.
fn call(spec: &Spec, page: &mut Page) {
    if spec.params.len() > MAX_ARGS {
        page.calls.push(format!(
            "# {}: more than {MAX_ARGS} arguments",
            comment(&spec.name)
        ));
        return;
    }
    let makes_fd = spec
        .returns
        .as_ref()
        .is_some_and(|r| r.check == Some(CheckKind::Fd) || r.kind == Some(TypeKind::Fd));
    let places: Vec<Place<'_>> = spec.params.iter().map(Place::of_param).collect();
    let name = call_name(spec);
    let args = arguments(&name, &places, spec, page);
    page.makes_fd |= makes_fd;
    page.push(&name, &args, if makes_fd { " fd" } else { "" });
}

fn arguments(name: &str, places: &[Place<'_>], spec: &Spec, page: &mut Page) -> Vec<String> {
    let mut group = Group {
        owner: name,
        places,
        names: types::names(places),
        fields: false,
        known: &spec.structs,
        sets: &mut page.sets,
        structs: &mut page.structs,
        takes_fd: false,
    };
    let args = (0..places.len())
        .map(|n| {
            let kind = group.kind(n);
            format!("{} {kind}", group.names[n])
        })
        .collect();
    page.takes_fd |= group.takes_fd;
    args
}

/// `prctl_set_name` whose first argument is always one constant → `prctl$PR_SET_NAME`.
fn call_name(spec: &Spec) -> String {
    let name = identifier(spec.call_name());
    if consts::syscall_number(&name).is_some() {
        return name;
    }
    match one_of_many(spec) {
        Some((base, variant)) => format!("{base}${}", identifier(&variant)),
        None => name,
    }
}

/// One ioctl command.
fn command(spec: &Spec, page: &mut Page) {
    let nothing = Ioctl::default();
    let ioctl = spec.ioctl.as_ref().unwrap_or(&nothing);
    let written = ioctl.command.as_ref().map_or("", |c| c.text.as_str());
    let name = [ioctl.command_name.as_str(), written, spec.name.as_str()]
        .into_iter()
        .find(|name| is_identifier(name))
        .map_or_else(|| identifier(&spec.name), str::to_owned);
    let number = ioctl.command.as_ref().and_then(|c| c.number);
    let value = match number {
        Some(number) if !is_identifier(written) => types::hex(number),
        _ => page.sets.constant(&name),
    };
    let argument = structs::argument(spec, ioctl, page);
    page.takes_fd = true;
    let mut args = vec!["fd fd".to_owned(), format!("cmd const[{value}]")];
    args.push(format!("arg {argument}"));
    page.push(&format!("ioctl${name}"), &args, "");
}

/// Text made into a name.
fn identifier(text: &str) -> String {
    let mut out: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if !is_identifier(&out) {
        out.insert(0, '_');
    }
    out
}

fn comment(text: &str) -> String {
    text.replace(char::is_control, " ")
}
