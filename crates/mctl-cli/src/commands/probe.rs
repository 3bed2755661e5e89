//! `mctl probe`: what this kernel can do, and what this caller may do.

use std::io::Write;

use clap::{ArgMatches, Args, FromArgMatches};
use mctl::{
    AcrossExec, AddressSpace, Caller, Error, Exactness, Guarantee, Holds, HostCaps, Mechanism,
    Note, Outcome, PolicyKind, Request, Standing, Support, Target, Whose, plan,
};
use serde::Serialize;

use crate::cli::Entry;
use crate::exit;
use crate::fail::{Ended, Fail};
use crate::output::Out;
use crate::table::{Align, Table};

pub(crate) const ENTRY: Entry = Entry {
    name: "probe",
    about: "show what this kernel can do, and what you may do",
    long: "For every policy: how surely it holds for the mappings that exist (now), for later ones \
           (future), in children (fork) and in programs executed (exec); whether --strict accepts \
           it; whether mctl run can start a program under it; and by what it is done. Features are \
           tried, version numbers are not asked.",
    define: Probe::augment_args,
    run,
    takes_policies: false,
    examples: &[
        ("mctl probe", "print the tables"),
        (
            "mctl probe --json",
            "the same for programs, with the reason of every cell",
        ),
    ],
};

#[derive(Args, Debug)]
struct Probe {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn run(matches: &ArgMatches) -> Ended {
    let args = Probe::from_arg_matches(matches).map_err(|error| Fail::usage(error.to_string()))?;
    let caps = HostCaps::probe()?;
    let caller = Caller::ask();
    let found = Found {
        policies: rows(&caps, Holds::from_bool(caller.cap_sys_admin))?,
        caller,
        kernel: Kernel {
            process_inodes: Support::from_bool(
                Target::own().is_ok_and(|own| own.inode().is_ok_and(|inode| inode.is_some())),
            ),
            caps,
        },
    };
    let mut out = Out::new();
    if args.json {
        out.json(&found)?;
    } else {
        found.print(&mut out)?;
    }
    out.finish()?;
    Ok(exit::DONE)
}

#[derive(Serialize)]
struct Found {
    policies: Vec<Row>,
    caller: Caller,
    kernel: Kernel,
}

/// One policy, with or without `--inherit`.
#[derive(Serialize)]
struct Row {
    policy: &'static str,
    inherit: bool,
    /// Whether `--strict` accepts it.
    strict: bool,
    /// Whether `mctl run` can start a program under it.
    run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cells: Option<Cells>,
    /// Why it cannot be had at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    impossible: Option<String>,
}

#[derive(Serialize)]
struct Cells {
    now: Cell,
    future: Cell,
    fork: Cell,
    exec: Cell,
}

#[derive(Serialize)]
struct Cell {
    guarantee: Guarantee,
    mechanisms: Vec<Mechanism>,
    reason: String,
}

/// One stretch of a process's life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stretch {
    Now,
    Future,
    Fork,
    Exec,
}

fn rows(caps: &HostCaps, admin: Holds) -> Result<Vec<Row>, Fail> {
    let mut rows = Vec::new();
    for kind in PolicyKind::ALL {
        for across in [AcrossExec::Ends, AcrossExec::Inherit] {
            let Ok(request) = Request::set(&[kind], across) else {
                continue; // fade-on-death never survives exec
            };
            rows.push(row(kind, across, &request, caps, admin)?);
        }
    }
    Ok(rows)
}

fn row(
    kind: PolicyKind,
    across: AcrossExec,
    request: &Request,
    caps: &HostCaps,
    admin: Holds,
) -> Result<Row, Fail> {
    let space = AddressSpace::default();
    let try_plan = |request: &Request, whose| {
        let standing = Standing {
            whose,
            admin,
            thp_switch: None,
        };
        plan(request, caps, standing, Some(&space))
    };
    let mut strict = request.clone();
    strict.exactness = Exactness::Strict;
    let mut row = Row {
        policy: kind.word(),
        inherit: across == AcrossExec::Inherit,
        strict: try_plan(&strict, Whose::Other).is_ok(),
        run: try_plan(request, Whose::Image).is_ok(),
        cells: None,
        impossible: None,
    };
    match try_plan(request, Whose::Other) {
        Ok(plan) => row.cells = Some(Cells::of(&plan.promised)),
        Err(Error::Unsupported { why, .. }) => row.impossible = Some(why),
        Err(error) => return Err(error.into()),
    }
    Ok(row)
}

impl Cells {
    fn of(promised: &Outcome) -> Cells {
        let cell = |stretch| {
            let g = promised.guarantees;
            let guarantee = match stretch {
                Stretch::Now => g.now,
                Stretch::Future => g.future,
                Stretch::Fork => g.fork,
                Stretch::Exec => g.exec,
            };
            Cell {
                guarantee,
                mechanisms: promised.mechanisms.clone(),
                reason: reason(stretch, guarantee, promised),
            }
        };
        Cells {
            now: cell(Stretch::Now),
            future: cell(Stretch::Future),
            fork: cell(Stretch::Fork),
            exec: cell(Stretch::Exec),
        }
    }
}

/// Why a cell says what it says: the note that concerns it, or how the mechanism works.
fn reason(stretch: Stretch, guarantee: Guarantee, promised: &Outcome) -> String {
    let notes: Vec<String> = promised
        .notes
        .iter()
        .filter(|note| concerns(note, stretch))
        .map(ToString::to_string)
        .collect();
    let by_advice = promised.mechanisms.contains(&Mechanism::InjectedMadvise);
    let native = [Mechanism::NativeCall, Mechanism::InjectedNativeCall]
        .iter()
        .any(|mechanism| promised.mechanisms.contains(mechanism));
    let how = match (stretch, by_advice) {
        (Stretch::Now | Stretch::Future, _) if native => {
            "the kernel keeps the policy and asks it at every page fault"
        }
        (Stretch::Fork, _) if native => "the kernel copies the policy to the child",
        (Stretch::Exec, _) if native => "the kernel keeps at exec what was asked to stay",
        (Stretch::Now, false) => "one switch of the address space, asked at every page fault",
        (Stretch::Future, false) => "the switch concerns every mapping, whenever it is made",
        (Stretch::Fork, false) => "the kernel copies the switch to the child",
        (Stretch::Exec, false) => "the kernel keeps the switch at exec",
        (Stretch::Now, true) => "advice on every private anonymous or shared-memory mapping",
        (Stretch::Fork, true) => "the kernel copies the mappings with their advice",
        (Stretch::Future | Stretch::Exec, true) => "advice belongs to mappings that exist",
    };
    if notes.is_empty() {
        how.to_owned()
    } else if guarantee == Guarantee::Enforced {
        format!("{how}; {}", notes.join("; "))
    } else {
        notes.join("; ")
    }
}

fn concerns(note: &Note, stretch: Stretch) -> bool {
    match note {
        Note::SurvivesExec | Note::KeptForExec | Note::LostAtExec => stretch == Stretch::Exec,
        Note::FutureMappings => stretch == Stretch::Future,
        Note::HoldsWhileHostKnob { .. } | Note::HostForbids { .. } => true,
        _ => stretch == Stretch::Now,
    }
}

/// Whose processes the caller may change, in words.
fn others(caller: &Caller) -> String {
    let scope = match caller.yama_scope {
        _ if caller.cap_sys_ptrace => return "any process (CAP_SYS_PTRACE)".to_owned(),
        None | Some(0) => "your own processes",
        Some(1) => "your own descendants (Yama: kernel.yama.ptrace_scope is 1)",
        Some(2) => "none (Yama: kernel.yama.ptrace_scope is 2)",
        Some(_) => "none (Yama: kernel.yama.ptrace_scope is 3)",
    };
    scope.to_owned()
}

#[derive(Serialize)]
struct Kernel {
    #[serde(flatten)]
    caps: HostCaps,
    /// `PID:INODE` (pidfs).
    process_inodes: Support,
}

impl Found {
    fn print(&self, out: &mut Out) -> std::io::Result<()> {
        let mut table = Table::new(&[
            ("POLICY", Align::Left),
            ("NOW", Align::Left),
            ("FUTURE", Align::Left),
            ("FORK", Align::Left),
            ("EXEC", Align::Left),
            ("STRICT", Align::Left),
            ("RUN", Align::Left),
            ("BY", Align::Left),
        ]);
        for row in &self.policies {
            table.row(row.text());
        }
        table.print(out, true)?;
        self.reasons(out)?;
        writeln!(out, "\nCaller")?;
        let caller = &self.caller;
        fact(
            out,
            "user",
            &format!("{} (effective {})", caller.uid, caller.effective_uid),
        )?;
        fact(out, "may change", &others(caller))?;
        fact(
            out,
            "may use --admin",
            &yes_no(caller.cap_sys_admin, "CAP_SYS_ADMIN"),
        )?;
        fact(
            out,
            "process_madvise on others",
            if caller.cap_sys_nice {
                "yes (CAP_SYS_NICE)"
            } else {
                "no: it needs CAP_SYS_NICE; a carrier gives the advice"
            },
        )?;
        fact(
            out,
            "programs under seccomp",
            if caller.suspends_seccomp {
                "reachable: their filter is suspended for the call"
            } else {
                "only where the filter cannot kill them: suspending it needs CAP_SYS_ADMIN"
            },
        )?;
        fact(
            out,
            "Yama",
            &caller
                .yama_scope
                .map_or("not built in".to_owned(), |scope| {
                    format!("ptrace_scope {scope}")
                }),
        )?;
        self.kernel.print(out)
    }

    /// Every reason once, with the rows and columns that it concerns.
    fn reasons(&self, out: &mut Out) -> std::io::Result<()> {
        let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
        let mut add =
            |why: &str, place: String| match reasons.iter_mut().find(|(known, _)| known == why) {
                Some((_, places)) => places.push(place),
                None => reasons.push((why.to_owned(), vec![place])),
            };
        for row in &self.policies {
            let name = row.name();
            if let Some(why) = &row.impossible {
                add(why, name);
                continue;
            }
            let Some(cells) = &row.cells else { continue };
            for (word, cell) in cells.each() {
                if cell.guarantee != Guarantee::Enforced {
                    add(&cell.reason, format!("{name} ({word})"));
                }
            }
        }
        if !reasons.is_empty() {
            writeln!(out, "\nWhy not enforced")?;
        }
        for (why, places) in reasons {
            writeln!(out, "  {}:\n      {why}", places.join(", "))?;
        }
        Ok(())
    }
}

impl Cells {
    fn each(&self) -> [(&'static str, &Cell); 4] {
        [
            ("now", &self.now),
            ("future", &self.future),
            ("fork", &self.fork),
            ("exec", &self.exec),
        ]
    }
}

impl Row {
    fn name(&self) -> String {
        if self.inherit {
            format!("{} --inherit", self.policy)
        } else {
            self.policy.to_owned()
        }
    }

    fn text(&self) -> Vec<String> {
        let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        let mut cells = vec![self.name()];
        match &self.cells {
            Some(found) => {
                cells.extend(found.each().map(|(_, cell)| cell.guarantee.to_string()));
                cells.extend([word(self.strict), word(self.run)]);
                let by: Vec<&str> = found.now.mechanisms.iter().map(|m| m.word()).collect();
                cells.push(by.join(", "));
            }
            None => {
                cells.extend(["-"; 4].map(str::to_owned));
                cells.extend([word(self.strict), word(self.run), "-".to_owned()]);
            }
        }
        cells
    }
}

fn fact(out: &mut Out, what: &str, value: &str) -> std::io::Result<()> {
    writeln!(out, "  {what:<28}{value}")
}

fn yes_no(yes: bool, needs: &str) -> String {
    if yes {
        format!("yes ({needs})")
    } else {
        format!("no: it needs {needs}")
    }
}

fn support(support: Support) -> &'static str {
    match support {
        Support::Yes => "yes",
        Support::No => "no",
        Support::Unknown => "unknown: a filter on this program refuses the question",
    }
}

impl Kernel {
    fn print(&self, out: &mut Out) -> std::io::Result<()> {
        writeln!(out, "\nKernel")?;
        match &self.caps.thp {
            None => fact(
                out,
                "transparent huge pages",
                self.caps.thp_hidden.as_deref().unwrap_or("not built in"),
            )?,
            Some(host) => {
                fact(
                    out,
                    "transparent huge pages",
                    &format!("enabled is '{}'", host.enabled.word()),
                )?;
                let own: Vec<String> = host
                    .sizes
                    .iter()
                    .filter(|size| size.knob != mctl::KnobValue::Never)
                    .map(|size| format!("{} KiB {}", size.kb, size.knob.word()))
                    .collect();
                if !own.is_empty() {
                    fact(out, "sizes that are not 'never'", &own.join(", "))?;
                }
            }
        }
        let caps = &self.caps;
        fact(out, "PR_SET_THP_DISABLE", support(caps.thp_disable))?;
        fact(out, "  EXCEPT_ADVISED (6.18)", support(caps.except_advised))?;
        fact(out, "PR_SET_MEMORY_MERGE (6.4)", support(caps.memory_merge))?;
        fact(
            out,
            "KSM",
            &caps
                .ksm_run
                .map_or("not built in".to_owned(), |run| match run {
                    1 => "ksmd runs".to_owned(),
                    run => format!("ksmd does not run (/sys/kernel/mm/ksm/run is {run})"),
                }),
        )?;
        fact(
            out,
            "process_madvise on oneself",
            support(caps.vectored_advice),
        )?;
        fact(out, "PID:INODE (6.9)", support(self.process_inodes))?;
        fact(
            out,
            "mctl() system call",
            &caps.native.map_or("no".to_owned(), |number| {
                format!("yes, number {number}: every policy is exact")
            }),
        )
    }
}
