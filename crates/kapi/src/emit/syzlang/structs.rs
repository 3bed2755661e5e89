//! Structures that calls point to.

use std::fmt::Write as _;

use super::sets::Sets;
use super::types::{Group, Place, names};
use super::{Page, identifier};
use crate::ir::{Field, Ioctl, Spec, StructSpec};

/// Structures that specifications name and need not describe: the fields as in C.
const KNOWN: [(&str, &str); 4] = [
    (
        "iovec",
        "base\tptr[inout, array[int8]]\n\tlen\tlen[base, intptr]",
    ),
    ("pollfd", "fd\tfd\n\tevents\tint16\n\trevents\tint16"),
    ("epoll_event", "events\tint32\n\tdata\tarray[int32, 2]"),
    ("timespec", "sec\tint64\n\tnsec\tint64[0:999999999]"),
];

/// The structures, each once.
#[derive(Default)]
pub(super) struct Structs {
    /// Name here, name in C, text.
    all: Vec<(String, String, String)>,
    /// Those that are being described: one inside itself ends there.
    open: Vec<String>,
}

fn known(name: &str) -> Option<(&'static str, &'static str)> {
    let bare = match name {
        "__kernel_timespec" | "timespec64" => "timespec",
        name => name,
    };
    KNOWN.into_iter().find(|(n, _)| *n == bare)
}

impl Structs {
    /// Whether the structure can be described.
    pub(super) fn can(&self, name: &str, specs: &[StructSpec]) -> bool {
        known(name).is_some() || specs.iter().any(|s| s.name == name && !s.fields.is_empty())
    }

    pub(super) fn is_open(&self, name: &str) -> bool {
        self.open.iter().any(|open| open == name)
    }

    /// The name of the description of a structure that [`can`](Self::can) be.
    pub(super) fn describe(
        &mut self,
        name: &str,
        specs: &[StructSpec],
        sets: &mut Sets,
        takes_fd: &mut bool,
    ) -> String {
        let here = format!("kapi_struct_{}", identifier(name));
        if self.is_open(name) {
            return here;
        }
        if let Some(spec) = specs
            .iter()
            .find(|s| s.name == name && !s.fields.is_empty())
        {
            return self.fields(name, &spec.fields, specs, sets, takes_fd);
        }
        let (text, packed) = match known(name) {
            Some((bare, text)) => {
                *takes_fd |= bare == "pollfd";
                (text, bare == "epoll_event")
            }
            None => ("data\tint64", false),
        };
        let end = if packed { "} [packed]" } else { "}" };
        self.add(name, here, format!("\t{text}\n{end}\n"))
    }

    /// A structure of `fields`.
    pub(super) fn fields(
        &mut self,
        name: &str,
        fields: &[Field],
        specs: &[StructSpec],
        sets: &mut Sets,
        takes_fd: &mut bool,
    ) -> String {
        let here = format!("kapi_struct_{}", identifier(name));
        let places: Vec<Place<'_>> = fields.iter().map(Place::of_field).collect();
        self.open.push(name.to_owned());
        let owner = format!("fields_{name}");
        let mut group = Group {
            owner: &owner,
            names: names(&places),
            places: &places,
            fields: true,
            known: specs,
            sets,
            structs: self,
            takes_fd: false,
        };
        let mut text = String::new();
        for n in 0..places.len() {
            let kind = group.kind(n);
            let _ = writeln!(text, "\t{}\t{kind}", group.names[n]);
        }
        *takes_fd |= group.takes_fd;
        self.open.pop();
        text.push_str("}\n");
        self.add(name, here, text)
    }

    fn add(&mut self, c_name: &str, here: String, text: String) -> String {
        if let Some((same, ..)) = self
            .all
            .iter()
            .find(|(_, name, body)| name == c_name && *body == text)
        {
            return same.clone();
        }
        // Another specification may describe another structure by the same name.
        let mut name = here;
        while self.all.iter().any(|(taken, ..)| *taken == name) {
            name.push('_');
        }
        self.all.push((name.clone(), c_name.to_owned(), text));
        name
    }

    pub(super) fn text(&self) -> String {
        let all: Vec<String> = self
            .all
            .iter()
            .map(|(name, _, text)| format!("{name} {{\n{text}"))
            .collect();
        all.join("\n")
    }
}

/// What the third argument of an ioctl is: the structure it points to, bytes, or a number.
pub(super) fn argument(spec: &Spec, ioctl: &Ioctl, page: &mut Page) -> String {
    let command = ioctl.command.as_ref().and_then(|c| c.number).unwrap_or(0);
    let size = |v: Option<&crate::ir::Value>| v.and_then(|v| v.number).unwrap_or(0);
    let (mut input, mut output) = (
        size(ioctl.input_size.as_ref()),
        size(ioctl.output_size.as_ref()),
    );
    // The number of the command has the direction and the size in it.
    let coded = (command >> 16) & 0x3fff;
    if input == 0 && output == 0 {
        if command >> 30 & 1 == 1 {
            input = coded;
        }
        if command >> 30 & 2 == 2 {
            output = coded;
        }
    }
    let direction = match (input > 0, output > 0) {
        (true, false) => "in",
        (false, true) => "out",
        _ => "inout",
    };
    let from_params: Vec<Field> = spec
        .params
        .iter()
        .map(|p| Field {
            name: p.name.clone(),
            type_name: p.type_name.clone(),
            kind: p.kind.clone(),
            flags: p.flags.clone(),
            limits: p.limits.clone(),
            ..Field::default()
        })
        .collect();
    let (name, fields) = match spec.structs.iter().find(|s| !s.fields.is_empty()) {
        Some(s) => (
            if s.name.is_empty() {
                spec.name.as_str()
            } else {
                s.name.as_str()
            },
            s.fields.as_slice(),
        ),
        None => (spec.name.as_str(), from_params.as_slice()),
    };
    if !fields.is_empty() {
        let described = page.structs.fields(
            name,
            fields,
            &spec.structs,
            &mut page.sets,
            &mut page.takes_fd,
        );
        return format!("ptr[{direction}, {described}]");
    }
    match input.max(output) {
        bytes if (1..=1 << 20).contains(&bytes) => {
            format!("ptr[{direction}, array[int8, {bytes}]]")
        }
        _ => "intptr".to_owned(),
    }
}
