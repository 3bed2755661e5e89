//! Where specifications come from.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Result, bail};
use kapi::diag::{Diagnostic, Severity};
use kapi::front::debugfs;
use kapi::front::tree::{self, Found};
use kapi::ir::Spec;

/// The sources of a command.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Input {
    /// Read this file or tree: C, headers, sidecar files, patches, JSON, ELF objects (repeatable)
    #[arg(long, short, value_name = "PATH")]
    source: Vec<PathBuf>,

    /// Read the section .kapi_specs of this kernel image or object
    #[arg(long, value_name = "FILE")]
    vmlinux: Vec<PathBuf>,

    /// Read the running kernel's debugfs
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = debugfs::ROOT)]
    debugfs: Option<PathBuf>,
}

impl Input {
    /// Reads everything; without any source, the specifications that come with kapi.
    pub(super) fn read(&self, with_syscalls: bool) -> Result<Found> {
        let mut paths: Vec<PathBuf> = self.source.iter().chain(&self.vmlinux).cloned().collect();
        if let Some(root) = &self.debugfs {
            paths.extend(debugfs_files(root)?);
        }
        if paths.is_empty() {
            return Ok(builtin(with_syscalls));
        }
        Ok(tree::read_paths(&paths, with_syscalls))
    }

    /// As [`read`](Self::read); messages go to standard error, and an error without a
    /// specification is fatal.
    pub(super) fn specs(&self) -> Result<Vec<Spec>> {
        let found = self.read(false)?;
        report(&found.parsed.diagnostics, Severity::Warning)?;
        if found.parsed.specs.is_empty() {
            bail!("no specification found in {} files", found.files);
        }
        Ok(found.parsed.specs)
    }

    /// The specification of one call.
    ///
    /// Of the messages, only those about it and about whole files are told.
    pub(super) fn one(&self, name: &str) -> Result<Spec> {
        let found = self.read(false)?;
        let specs = found.parsed.specs;
        let wanted: Vec<&Spec> = specs.iter().filter(|s| s.is_named(name)).collect();
        let about: Vec<Diagnostic> = found
            .parsed
            .diagnostics
            .into_iter()
            .filter(|d| wanted.is_empty() || d.span.line == 0 || concerns(d, &wanted, &specs))
            .collect();
        report(&about, Severity::Warning)?;
        if specs.is_empty() {
            bail!("no specification found in {} files", found.files);
        }
        let known: Vec<String> = specs.iter().map(|s| s.call_name().to_owned()).collect();
        let Some(spec) = specs.into_iter().find(|s| s.is_named(name)) else {
            bail!(
                "no specification of `{name}`; there are: {}",
                known.join(", ")
            );
        };
        Ok(spec)
    }
}

/// Whether a message stands in one of the wanted specifications: behind its start, and before
/// that of the next one in its file.
fn concerns(d: &Diagnostic, wanted: &[&Spec], all: &[Spec]) -> bool {
    wanted.iter().any(|spec| {
        let next = all
            .iter()
            .filter(|o| o.span.file == spec.span.file && o.span.line > spec.span.line)
            .map(|o| o.span.line)
            .min();
        // A specification in one line shares it with its messages.
        d.span.file == spec.span.file
            && d.span.line >= spec.span.line
            && next.is_none_or(|next| d.span.line < next)
    })
}

/// The specifications that come with kapi.
pub(super) fn builtin(with_syscalls: bool) -> Found {
    let mut found = Found::default();
    for (name, text) in kapi::specs::ALL {
        found.files += 1;
        tree::read_bytes(name, text.as_bytes(), with_syscalls, &mut found);
    }
    found
        .parsed
        .specs
        .sort_by(|a, b| a.call_name().cmp(b.call_name()));
    found
}

/// JSON where the kernel has it, else text.
fn debugfs_files(root: &std::path::Path) -> Result<Vec<PathBuf>> {
    for dir in ["specs-json", "specs"] {
        if let Ok(entries) = std::fs::read_dir(root.join(dir)) {
            return Ok(entries.filter_map(|e| e.ok().map(|e| e.path())).collect());
        }
    }
    bail!(
        "{} has no specifications; is debugfs mounted, and does this kernel have them?",
        root.display()
    )
}

/// Prints messages at least as bad as `least`; answers the worst.
pub(super) fn report(diagnostics: &[Diagnostic], least: Severity) -> Result<Option<Severity>> {
    let mut err = std::io::stderr().lock();
    for diagnostic in diagnostics.iter().filter(|d| d.severity >= least) {
        writeln!(err, "{diagnostic}\n")?;
    }
    Ok(diagnostics.iter().map(|d| d.severity).max())
}
