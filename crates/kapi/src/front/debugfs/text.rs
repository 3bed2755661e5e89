//! `specs/NAME`: indented text.

use super::number;
use crate::diag::{Severity, Source};
use crate::front::Parsed;
use crate::ir::vocab::{CheckKind, Word};
use crate::ir::{
    Capability, Constraint, ErrorSpec, Flags, Lock, Param, Range, Return, SideEffect, Signal, Span,
    Spec, StateTransition, Value,
};

/// Reads `specs/NAME`.
#[must_use]
pub fn parse_text(name: &str, text: &str) -> Parsed {
    let source = Source::new(name, text);
    let mut reader = Text {
        spec: Spec {
            span: source.span(0, 1),
            ..Spec::default()
        },
        section: "",
        source: &source,
        parsed: Parsed::default(),
    };
    let mut offset = 0;
    for line in text.split('\n') {
        reader.line(line, offset);
        offset += line.len() + 1;
    }
    let Text {
        mut spec,
        mut parsed,
        ..
    } = reader;
    for text in [&mut spec.examples, &mut spec.notes] {
        *text = text.trim_end_matches('\n').to_owned();
    }
    parsed.specs.push(spec);
    parsed
}

struct Text<'s> {
    spec: Spec,
    section: &'static str,
    source: &'s Source<'s>,
    parsed: Parsed,
}

const SECTIONS: [&str; 12] = [
    "Parameters",
    "Return value",
    "Errors",
    "Locks",
    "Additional constraints",
    "Signal handling",
    "Side effects",
    "State transitions",
    "Capabilities",
    "Examples",
    "Notes",
    "Context flags",
];

/// `NAME (INNER): REST`.
fn parenthesised(line: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = line.split_once(" (")?;
    let (inner, rest) = rest.split_once(')')?;
    Some((name, inner, rest.strip_prefix(':').unwrap_or(rest).trim()))
}

impl Text<'_> {
    fn line(&mut self, line: &str, offset: usize) {
        let body = line.trim();
        let indent = line.len() - line.trim_start().len();
        let code = matches!(self.section, "Examples" | "Notes");
        if indent == 0 {
            let head = body
                .split_once(" (")
                .map_or(body, |(a, _)| a)
                .trim_end_matches(':');
            if let Some(section) = SECTIONS.iter().find(|s| **s == head && body.ends_with(':')) {
                self.section = section;
                if *section == "Return value" {
                    self.spec.returns = Some(Return {
                        span: self.source.span(offset, offset + line.len()),
                        ..Return::default()
                    });
                }
                return;
            }
            if !code {
                return self.top(body);
            }
        }
        if code {
            let text = if self.section == "Notes" {
                &mut self.spec.notes
            } else {
                &mut self.spec.examples
            };
            if !text.is_empty() || !body.is_empty() {
                text.push_str(line);
                text.push('\n');
            }
            return;
        }
        if body.is_empty() {
            return;
        }
        let span = self.source.span(offset + indent, offset + line.len());
        let known = self.item(body, indent, &span);
        if !known {
            let diagnostic = self.source.diagnostic(
                Severity::Warning,
                "unknown-item",
                format!("a line that is not understood in {}", self.section),
                span,
            );
            self.parsed.diagnostics.push(diagnostic);
        }
    }

    fn top(&mut self, body: &str) {
        let Some((key, text)) = body.split_once(": ") else {
            return;
        };
        match key {
            "Name" => self.spec.name = text.to_owned(),
            "Description" => self.spec.description = text.to_owned(),
            "Long description" => self.spec.long_description = text.to_owned(),
            "Context flags" => {
                self.spec.contexts = Flags(text.split_whitespace().map(Word::parse).collect())
            }
            "Since" | "Since version" => self.spec.since_version = text.to_owned(),
            _ => {}
        }
    }

    fn item(&mut self, body: &str, indent: usize, span: &Span) -> bool {
        let (key, text) = body
            .split_once(": ")
            .unwrap_or((body.trim_end_matches(':'), ""));
        let text = text.to_owned();
        let spec = &mut self.spec;
        let span = span.clone();
        match self.section {
            "Parameters" if indent == 2 => {
                let Some((_, name)) = body.split_once("] ") else {
                    return false;
                };
                spec.params.push(Param {
                    name: name.trim_end_matches(':').to_owned(),
                    span,
                    ..Param::default()
                });
            }
            "Parameters" => {
                let Some(param) = spec.params.last_mut() else {
                    return false;
                };
                let limits = &mut param.limits;
                let value = number(text.trim_end_matches(" bytes")).map(Value::from_number);
                match key {
                    "type" if indent >= 6 => limits.kind = Some(Word::parse(&text)),
                    "type" => {
                        let (kind, name) = text.split_once(" (").unwrap_or((&text, ""));
                        param.kind = Some(Word::parse(kind));
                        param.type_name = name.strip_suffix(')').unwrap_or(name).to_owned();
                    }
                    "flags" => {
                        param.flags = Flags(
                            text.split_whitespace()
                                .map(|w| Word::parse(&w.to_ascii_lowercase()))
                                .collect(),
                        )
                    }
                    "description" if indent >= 6 => limits.text = text,
                    "description" => param.description = text,
                    "size" => limits.size = value,
                    "alignment" => limits.alignment = value,
                    "valid_bits" => limits.valid_mask = value,
                    "min" | "min_len" => {
                        limits.range = value.map(|min| Range {
                            max: min.clone(),
                            min,
                        })
                    }
                    "max" => {
                        if let (Some(range), Some(max)) = (&mut limits.range, value) {
                            range.max = max;
                        }
                    }
                    "constraints" | "count" | "max_len" => {}
                    _ => return false,
                }
            }
            "Return value" => {
                let Some(item) = spec.returns.as_mut() else {
                    return false;
                };
                match key {
                    "type" => item.type_name = text,
                    "description" => item.description = text,
                    "success" => {
                        if let Some(n) = text.strip_prefix("== ") {
                            item.check = Some(CheckKind::Exact);
                            item.success = Some(Value::new(n));
                        } else if let Some((min, max)) =
                            text.trim_matches(['[', ']']).split_once(", ")
                        {
                            item.check = Some(CheckKind::Range);
                            item.success_range = Some(Range {
                                min: Value::new(min),
                                max: Value::new(max),
                            });
                        } else {
                            item.check = Some(if text.contains("descriptor") {
                                CheckKind::Fd
                            } else if text.contains("error") {
                                CheckKind::ErrorCheck
                            } else {
                                CheckKind::Custom
                            });
                        }
                    }
                    _ => return false,
                }
            }
            "Errors" if indent >= 4 => {
                let Some(error) = spec.errors.last_mut() else {
                    return false;
                };
                error.summary = text;
            }
            "Errors" => {
                let Some((name, code, description)) = parenthesised(body) else {
                    return false;
                };
                let named = Value::new(&format!("-{name}"));
                let code = if named.number.is_some() && named.number == number(code) {
                    named
                } else {
                    Value::new(code)
                };
                spec.errors.push(ErrorSpec {
                    name: name.to_owned(),
                    code: Some(code),
                    description: description.to_owned(),
                    span,
                    ..ErrorSpec::default()
                });
            }
            "Locks" if indent >= 4 => {
                let Some(lock) = spec.locks.last_mut() else {
                    return false;
                };
                let word = match text.as_str() {
                    "acquired and released" => "internal",
                    "acquired (not released)" => "acquires",
                    "released (held on entry)" => "releases",
                    "held by caller" => "caller_held",
                    _ => return false,
                };
                return lock.set_scope(word);
            }
            "Locks" => {
                let Some((name, kind, description)) = parenthesised(body) else {
                    return false;
                };
                spec.locks.push(Lock {
                    name: name.to_owned(),
                    kind: Some(Word::parse(kind)),
                    description: description.to_owned(),
                    span,
                    ..Lock::default()
                });
            }
            "Additional constraints" if indent >= 4 => {
                let Some(constraint) = spec.constraints.last_mut() else {
                    return false;
                };
                constraint.expression = Some(text);
            }
            "Additional constraints" => {
                let name = key.trim_start_matches("- ").to_owned();
                spec.constraints.push(Constraint {
                    name,
                    description: text,
                    expression: None,
                    span,
                });
            }
            "Signal handling" if indent >= 4 => {
                let Some(signal) = spec.signals.last_mut() else {
                    return false;
                };
                match key {
                    "direction" => {
                        signal.direction = Flags(text.split_whitespace().map(Word::parse).collect())
                    }
                    "action" => signal.action = Some(Word::parse(&text)),
                    "description" => signal.description = text,
                    _ => return false,
                }
            }
            "Signal handling" => {
                let Some((name, n, _)) = parenthesised(body) else {
                    return false;
                };
                let number = number(n).filter(|n| *n != 0).map(Value::from_number);
                spec.signals.push(Signal {
                    name: name.to_owned(),
                    number,
                    span,
                    ..Signal::default()
                });
            }
            "Side effects" => {
                let reversible = body.ends_with(" (reversible)");
                let body = body
                    .strip_suffix(" (reversible)")
                    .unwrap_or(body)
                    .trim_start_matches("- ");
                let (target, description) = body.split_once(": ").unwrap_or((body, ""));
                spec.side_effects.push(SideEffect {
                    target: target.to_owned(),
                    description: description.to_owned(),
                    reversible,
                    span,
                    ..SideEffect::default()
                });
            }
            "State transitions" if indent >= 4 => {
                let Some(transition) = spec.state_transitions.last_mut() else {
                    return false;
                };
                body.clone_into(&mut transition.description);
            }
            "State transitions" => {
                let Some((from, to)) = text.split_once(" -> ") else {
                    return false;
                };
                spec.state_transitions.push(StateTransition {
                    object: key.to_owned(),
                    from: from.to_owned(),
                    to: to.to_owned(),
                    span,
                    ..StateTransition::default()
                });
            }
            "Capabilities" if indent >= 4 => {
                let Some(cap) = spec.capabilities.last_mut() else {
                    return false;
                };
                match key {
                    "allows" => cap.allows = text,
                    "without" => cap.without = text,
                    _ => return false,
                }
            }
            "Capabilities" => {
                let Some((name, n, _)) = parenthesised(body) else {
                    return false;
                };
                let named = Value::new(name);
                let capability = if named.number.is_some() && named.number == number(n) {
                    named
                } else {
                    Value::new(n)
                };
                spec.capabilities.push(Capability {
                    name: name.to_owned(),
                    capability: Some(capability),
                    span,
                    ..Capability::default()
                });
            }
            _ => return false,
        }
        true
    }
}
