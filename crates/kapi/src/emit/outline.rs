//! What a reader wants to know, in order; the text formats only differ in dress.

use crate::clause::limits_text;
use crate::ir::vocab::Word;
use crate::ir::{Spec, SpecKind, Value};

/// A part of a page.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) nodes: Vec<Node>,
}

/// A piece of a part.
pub(super) enum Node {
    /// A paragraph; line breaks in it are kept.
    Para(String),
    /// Code, line for line.
    Code(String),
    /// A term with facts and paragraphs.
    Def {
        term: String,
        facts: Vec<(&'static str, String)>,
        paras: Vec<String>,
    },
}

/// Builds the facts of a term.
#[derive(Default)]
struct Facts(Vec<(&'static str, String)>);

impl Facts {
    fn add(mut self, label: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        if !text.is_empty() {
            self.0.push((label, text));
        }
        self
    }
    fn value(self, label: &'static str, value: Option<&Value>) -> Self {
        self.add(label, value.map(with_number).unwrap_or_default())
    }
    fn word<W: Word>(self, label: &'static str, word: Option<&W>) -> Self {
        self.add(label, word.map(|w| w.word().to_owned()).unwrap_or_default())
    }
    fn yes(self, label: &'static str, flag: bool) -> Self {
        self.add(label, if flag { "yes" } else { "" })
    }
}

/// `MCL_CURRENT | MCL_FUTURE (3)`, with the architectures that differ.
pub(super) fn with_number(value: &Value) -> String {
    let mut text = value.text.clone();
    if let Some(number) = value.number.filter(|n| n.to_string() != value.text) {
        text.push_str(&format!(" ({number}"));
        for (arch, other) in &value.per_arch {
            text.push_str(&format!("; {arch} {other}"));
        }
        text.push(')');
    }
    text
}

fn paras(text: &str) -> Vec<String> {
    text.split("\n\n")
        .filter(|p| !p.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The titles of all parts.
#[cfg(test)]
pub(super) const TITLES: [&str; 17] = [
    "Synopsis",
    "Description",
    "Interface",
    "Parameters",
    "Return value",
    "Errors",
    "Rules",
    "Capabilities",
    "Signals",
    "Side effects",
    "State transitions",
    "Structures",
    "Locks",
    "Contexts",
    "Examples",
    "Notes",
    "History",
];

/// The C declaration.
pub(super) fn synopsis(spec: &Spec) -> String {
    if let Some(ioctl) = &spec.ioctl {
        return format!(
            "ioctl(fd, {})",
            ioctl
                .command
                .as_ref()
                .map_or(ioctl.command_name.as_str(), |c| c.text.as_str())
        );
    }
    if let Some(sysfs) = &spec.sysfs {
        return sysfs.path.clone();
    }
    let kind = spec.returns.as_ref().map_or("long", |r| {
        if r.type_name.is_empty() {
            "long"
        } else {
            r.type_name.as_str()
        }
    });
    let params: Vec<String> = spec
        .params
        .iter()
        .map(|p| {
            let kind = if p.type_name.is_empty() {
                p.kind.as_ref().map_or("…", Word::word)
            } else {
                p.type_name.as_str()
            };
            format!(
                "{kind}{}{}",
                if kind.ends_with('*') { "" } else { " " },
                p.name
            )
        })
        .collect();
    let params = if params.is_empty() {
        "void".to_owned()
    } else {
        params.join(", ")
    };
    format!("{kind} {}({params});", spec.call_name())
}

/// The parts of a page; empty ones are left out.
pub(super) fn outline(spec: &Spec) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut add = |title: &'static str, mut nodes: Vec<Node>| {
        nodes.retain(|node| match node {
            Node::Para(text) | Node::Code(text) => !text.trim().is_empty(),
            Node::Def { .. } => true,
        });
        if !nodes.is_empty() {
            sections.push(Section { title, nodes });
        }
    };
    add("Synopsis", vec![Node::Code(synopsis(spec))]);
    let text = |text: &str| paras(text).into_iter().map(Node::Para).collect::<Vec<_>>();
    let mut description = text(&spec.long_description);
    if spec.deprecated {
        let instead = if spec.replacement.is_empty() {
            String::new()
        } else {
            format!(" Use {} instead.", spec.replacement)
        };
        description.insert(0, Node::Para(format!("Deprecated.{instead}")));
    }
    add("Description", description);
    add("Interface", interface(spec));
    add("Parameters", params(spec));
    add("Return value", returns(spec));
    add("Errors", errors(spec));
    add("Rules", rules(spec));
    add("Capabilities", capabilities(spec));
    add("Signals", signals(spec));
    add("Side effects", effects(spec));
    add("State transitions", transitions(spec));
    add("Structures", structures(spec));
    add("Locks", locks(spec));
    if !spec.contexts.is_empty() {
        add("Contexts", vec![Node::Para(spec.contexts.short())]);
    }
    if !spec.examples.is_empty() {
        add("Examples", vec![Node::Code(spec.examples.clone())]);
    }
    add("Notes", text(&spec.notes));
    if !spec.since_version.is_empty() {
        add(
            "History",
            vec![Node::Para(format!("Since Linux {}.", spec.since_version))],
        );
    }
    let unknown = spec
        .unknown
        .iter()
        .map(|u| Node::Def {
            term: u.key.clone(),
            facts: Facts::default().add("in", u.within.clone()).0,
            paras: paras(&u.text),
        })
        .collect();
    add("Not understood", unknown);
    sections
}

fn interface(spec: &Spec) -> Vec<Node> {
    let mut facts = Facts::default();
    if let Some(i) = &spec.ioctl {
        facts = facts
            .value("command", i.command.as_ref())
            .add("name", i.command_name.clone())
            .value("input size", i.input_size.as_ref())
            .value("output size", i.output_size.as_ref())
            .add("file operations", i.file_ops.clone());
    }
    if let Some(s) = &spec.sysfs {
        facts = facts
            .add("path", s.path.clone())
            .value("permissions", s.permissions.as_ref())
            .add("default", s.default.clone())
            .add("units", s.units.clone())
            .value("step", s.step.as_ref())
            .add("allowed", s.allowed.join(", "));
    }
    if facts.0.is_empty() && spec.kind == SpecKind::Function {
        return Vec::new();
    }
    vec![Node::Def {
        term: spec.kind.word().to_owned(),
        facts: facts.0,
        paras: Vec::new(),
    }]
}

fn params(spec: &Spec) -> Vec<Node> {
    spec.params
        .iter()
        .map(|p| {
            let facts = Facts::default()
                .add("type", p.type_name.clone())
                .word("kind", p.kind.as_ref())
                .add("flags", p.flags.short())
                .add("allowed", limits_text(&p.limits).trim_end());
            Node::Def {
                term: p.name.clone(),
                facts: facts.0,
                paras: paras(&p.description),
            }
        })
        .collect()
}

fn returns(spec: &Spec) -> Vec<Node> {
    let Some(r) = &spec.returns else {
        return Vec::new();
    };
    let range = r
        .success_range
        .as_ref()
        .map(|r| format!("{} to {}", r.min, r.max))
        .unwrap_or_default();
    let facts = Facts::default()
        .word("kind", r.kind.as_ref())
        .word("check", r.check.as_ref())
        .value("success", r.success.as_ref())
        .add("success range", range)
        .add(
            "error values",
            r.error_values
                .iter()
                .map(|v| v.text.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        )
        .add("checked by", r.validator.clone().unwrap_or_default());
    vec![Node::Def {
        term: if r.type_name.is_empty() {
            "value".to_owned()
        } else {
            r.type_name.clone()
        },
        facts: facts.0,
        paras: paras(&r.description),
    }]
}

fn errors(spec: &Spec) -> Vec<Node> {
    spec.errors
        .iter()
        .map(|e| {
            let number = e.code.as_ref().map(with_number).unwrap_or_default();
            let facts = Facts::default()
                .add("code", number)
                .add("when", e.condition.clone());
            let mut all = paras(&e.summary);
            all.extend(paras(&e.description));
            Node::Def {
                term: e.name.clone(),
                facts: facts.0,
                paras: all,
            }
        })
        .collect()
}

fn rules(spec: &Spec) -> Vec<Node> {
    spec.constraints
        .iter()
        .map(|c| Node::Def {
            term: c.name.clone(),
            facts: Facts::default()
                .add("rule", c.expression.clone().unwrap_or_default())
                .0,
            paras: paras(&c.description),
        })
        .collect()
}

fn capabilities(spec: &Spec) -> Vec<Node> {
    spec.capabilities
        .iter()
        .map(|c| {
            let facts = Facts::default()
                .value("number", c.capability.as_ref())
                .word("action", c.action.as_ref())
                .add("allows", c.allows.clone())
                .add("without", c.without.clone())
                .add("checked", c.condition.clone())
                .value("priority", c.priority.as_ref())
                .add(
                    "or",
                    c.alternatives
                        .iter()
                        .map(|v| v.text.as_str())
                        .collect::<Vec<_>>()
                        .join(", "),
                );
            Node::Def {
                term: c.name.clone(),
                facts: facts.0,
                paras: Vec::new(),
            }
        })
        .collect()
}

fn signals(spec: &Spec) -> Vec<Node> {
    let mut nodes: Vec<Node> = spec
        .signals
        .iter()
        .map(|s| {
            let facts = Facts::default()
                .value("number", s.number.as_ref())
                .add("direction", s.direction.short())
                .word("action", s.action.as_ref())
                .add("target", s.target.clone())
                .add("when", s.condition.clone())
                .value("error", s.error.as_ref())
                .word("timing", s.timing.as_ref())
                .value("priority", s.priority.as_ref())
                .yes("restartable", s.restartable)
                .yes("interruptible", s.interruptible)
                .word("queue", s.queue.as_ref())
                .value("becomes", s.transform_to.as_ref())
                .value("needs SA flags", s.sa_flags_required.as_ref())
                .value("forbids SA flags", s.sa_flags_forbidden.as_ref())
                .value("needs state", s.state_required.as_ref())
                .value("forbids state", s.state_forbidden.as_ref());
            Node::Def {
                term: s.name.clone(),
                facts: facts.0,
                paras: paras(&s.description),
            }
        })
        .collect();
    nodes.extend(spec.signal_masks.iter().map(|m| {
        let members = m
            .signals
            .iter()
            .map(|v| v.text.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        Node::Def {
            term: format!("mask {}", m.name),
            facts: Facts::default().add("signals", members).0,
            paras: paras(&m.description),
        }
    }));
    nodes
}

fn effects(spec: &Spec) -> Vec<Node> {
    spec.side_effects
        .iter()
        .map(|e| {
            let facts = Facts::default()
                .add("kind", e.effects.short())
                .add("when", e.condition.clone())
                .add("then", e.expression.clone().unwrap_or_default())
                .yes("reversible", e.reversible);
            Node::Def {
                term: if e.target.is_empty() {
                    "effect".to_owned()
                } else {
                    e.target.clone()
                },
                facts: facts.0,
                paras: paras(&e.description),
            }
        })
        .collect()
}

fn transitions(spec: &Spec) -> Vec<Node> {
    spec.state_transitions
        .iter()
        .map(|t| {
            let facts = Facts::default()
                .add("from", t.from.clone())
                .add("to", t.to.clone())
                .add("when", t.condition.clone());
            Node::Def {
                term: t.object.clone(),
                facts: facts.0,
                paras: paras(&t.description),
            }
        })
        .collect()
}

fn structures(spec: &Spec) -> Vec<Node> {
    let mut nodes = Vec::new();
    for s in &spec.structs {
        let facts = Facts::default()
            .value("size", s.size.as_ref())
            .value("alignment", s.alignment.as_ref());
        nodes.push(Node::Def {
            term: format!("struct {}", s.name),
            facts: facts.0,
            paras: paras(&s.description),
        });
        for f in &s.fields {
            let facts = Facts::default()
                .add("type", f.type_name.clone())
                .word("kind", f.kind.as_ref())
                .add("flags", f.flags.short())
                .value("offset", f.offset.as_ref())
                .add("allowed", limits_text(&f.limits).trim_end());
            nodes.push(Node::Def {
                term: format!("{}.{}", s.name, f.name),
                facts: facts.0,
                paras: paras(&f.description),
            });
        }
    }
    nodes
}

fn locks(spec: &Spec) -> Vec<Node> {
    spec.locks
        .iter()
        .map(|l| {
            let facts = match l.scope() {
                Some(scope) => Facts::default()
                    .word("kind", l.kind.as_ref())
                    .add("scope", scope),
                None => Facts::default()
                    .word("kind", l.kind.as_ref())
                    .yes("acquired", l.acquired)
                    .yes("released", l.released)
                    .yes("held on entry", l.held_on_entry)
                    .yes("held on exit", l.held_on_exit),
            };
            Node::Def {
                term: l.name.clone(),
                facts: facts.0,
                paras: paras(&l.description),
            }
        })
        .collect()
}
