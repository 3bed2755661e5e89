//! What is wrong or doubtful in specifications, beyond what their readers already found.

mod names;
mod rules;
mod sarif;
mod signature;

pub use sarif::sarif;

use crate::diag::{Diagnostic, Severity};
use crate::ir::{Signature, Span, Spec};

/// Every rule with what it looks for.
pub const RULES: &[(&str, &str)] = &[
    (
        "arity",
        "the parameters are those of SYSCALL_DEFINEn or of the prototype",
    ),
    ("capability-number", "a capability's name and number agree"),
    (
        "conditional",
        "part of the specification depends on the preprocessor",
    ),
    ("count-mismatch", "a stated count is the number of items"),
    ("duplicate-field", "a field is set once"),
    ("duplicate-index", "an index is used once"),
    ("duplicate-name", "an item is described once"),
    ("duplicate-spec", "a call is specified once"),
    ("encoding", "a file is text that can be read"),
    ("error-code", "an error's name and code agree"),
    (
        "error-without-cause",
        "some condition, constraint, capability or signal produces each error",
    ),
    ("expression-syntax", "an expression can be read"),
    (
        "expression-type",
        "an expression uses its names as what they are",
    ),
    ("flat-dialect", "the parts of an item stand below it"),
    ("index-gap", "indexes have no gaps"),
    (
        "mask-contradiction",
        "a rule tests no bit that the mask forbids",
    ),
    ("missing-section", "what a reader needs is there"),
    (
        "no-declaration",
        "the call that is specified exists beside its specification",
    ),
    ("nothing-read", "something in a folder is read"),
    ("range", "a range has its least value first"),
    ("raw-struct", "a specification is written with its macros"),
    (
        "restart-contradiction",
        "a signal either restarts the call or makes it return an error",
    ),
    (
        "return-check",
        "the way to tell success fits the values given",
    ),
    ("unclosed-comment", "a comment has an end"),
    ("unknown-constant", "every constant has a number"),
    ("unknown-item", "every item is understood"),
    ("unknown-word", "every word belongs to its vocabulary"),
];

/// Lints specifications against themselves, each other and the declarations of the tree.
#[must_use]
pub fn lint(specs: &[Spec], syscalls: &[Signature]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let declared = signature::by_name(syscalls);
    for spec in specs {
        let mut out = Out { found: &mut found };
        rules::counts(spec, &mut out);
        names::duplicates(spec, &mut out);
        names::unknown_words(spec, &mut out);
        names::constants(spec, &mut out);
        signature::check(spec, &declared, &mut out);
        rules::expressions(spec, &mut out);
        rules::masks(spec, &mut out);
        rules::errors(spec, &mut out);
        rules::returns(spec, &mut out);
        rules::signals(spec, &mut out);
        rules::capabilities(spec, &mut out);
        rules::sections(spec, &mut out);
    }
    names::duplicate_specs(specs, &mut Out { found: &mut found });
    found
}

/// Where the rules put their findings.
struct Out<'a> {
    found: &'a mut Vec<Diagnostic>,
}

impl Out<'_> {
    fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        span: &Span,
        message: String,
    ) -> &mut Diagnostic {
        let index = self.found.len();
        self.found
            .push(Diagnostic::new(severity, code, message, span.clone()));
        &mut self.found[index]
    }
    fn error(&mut self, code: &'static str, span: &Span, message: String) -> &mut Diagnostic {
        self.add(Severity::Error, code, span, message)
    }
    fn warn(&mut self, code: &'static str, span: &Span, message: String) -> &mut Diagnostic {
        self.add(Severity::Warning, code, span, message)
    }
    fn note(&mut self, code: &'static str, span: &Span, message: String) -> &mut Diagnostic {
        self.add(Severity::Note, code, span, message)
    }
}
