//! Everything that is not `cargo build` or `cargo test`: kernels, guests, and what they report.

#![forbid(unsafe_code)]

mod apt;
mod boot;
mod console;
mod controls;
mod guest;
mod initramfs;
mod jobs;
mod kconfig;
mod kcsan;
mod kernel;
mod layout;
mod matrix;
mod modules;
mod pins;
mod proof;
mod qemu;
mod race;
mod results;
mod run;
mod source;
mod stock;
mod toolchain;
mod tries;
mod variant;
mod verdicts;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::guest::{KERNELS, Options};
use crate::layout::Layout;

/// Kernels and guests for mctl's tests
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Native kernels: the distribution's source with our patches
    #[command(subcommand)]
    Kernel(Kernel),
    /// Run our suites in guests
    #[command(subcommand)]
    Guest(Guest),
    /// Try mctl on programs that nobody here wrote
    #[command(subcommand)]
    Tries(tries::Tries),
    /// The runs that take too long for every change: xtask/nightly.toml
    Nightly(proof::Nightly),
    /// Run what shows a capability and write it down: xtask/evidence.toml, docs/evidence
    Evidence(proof::Evidence),
    /// The README's test command again and again, beside busy processors or as another user
    Steady(proof::Steady),
}

#[derive(Debug, Subcommand)]
enum Kernel {
    /// Get the source
    Fetch(Base),
    /// Patch, configure and build
    Build(Base),
    /// Build, boot, run one program (by default one that shows what the kernel says of mctl)
    Boot {
        #[command(flatten)]
        base: Base,
        /// The program and its arguments
        #[arg(last = true)]
        program: Vec<String>,
    },
    /// Build, boot, run everything
    Test {
        #[command(flatten)]
        base: Base,
        #[command(flatten)]
        run: Run,
    },
    /// Disable one hook after the other: each time the test for it has to fail
    Controls {
        #[command(flatten)]
        base: Base,
        /// Only controls in whose name this occurs; may be given more than once
        #[arg(long)]
        only: Vec<String>,
    },
    /// With the kernel's own checkers on: every selftest, races for minutes, calls by the million; any
    /// complaint on the console makes it fail
    Race {
        #[command(flatten)]
        base: Base,
        /// Minutes for mctl_race
        #[arg(long, default_value_t = 3)]
        minutes: u64,
        /// Calls of mctl_fuzz
        #[arg(long, default_value_t = 1_000_000)]
        calls: u64,
        /// Only mctl_race and mctl_fuzz
        #[arg(long)]
        long_only: bool,
        /// The guest's memory in MiB
        #[arg(long, default_value_t = 2048)]
        memory: u32,
    },
}

#[derive(Debug, Args)]
struct Base {
    /// The version
    #[arg(long, value_parser = kernel::BASES, default_value = kernel::BASES[0])]
    base: String,
    /// More fragments of kernel/config: kasan, lockdep, kcsan
    #[arg(long, value_delimiter = ',')]
    with: Vec<String>,
}

impl Base {
    fn name(&self) -> String {
        format!("native-{}", self.base)
    }
}

#[derive(Debug, Args)]
struct Run {
    /// Only jobs in whose name this occurs; may be given more than once
    #[arg(long)]
    only: Vec<String>,
    /// The guest's memory in MiB
    #[arg(long, default_value_t = 2048)]
    memory: u32,
    /// Time for everything on one kernel
    #[arg(long, default_value_t = 25)]
    minutes: u64,
    /// How many guests of a kernel run at once and share the jobs; by default two where there are two processors
    #[arg(long, default_value_t = guests(), value_parser = clap::value_parser!(u8).range(1..=8))]
    guests: u8,
    /// Boot this bzImage in the place of a native kernel of our own build
    #[arg(long)]
    image: Option<PathBuf>,
}

impl Run {
    fn options(self, with: Vec<String>) -> Options {
        Options {
            memory: self.memory,
            only: self.only,
            minutes: self.minutes,
            guests: usize::from(self.guests),
            with,
            image: self.image,
            quiet: false,
            append: String::new(),
            variant: None,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Guest {
    /// Get the packages that kernels are made from; exit status 1 if the archive does not give them
    Fetch {
        /// The kernel; may be given more than once
        #[arg(long = "kernel", value_parser = kernels(), default_value = "all")]
        kernels: Vec<String>,
    },
    /// Boot kernels and run everything that makes sense on them
    Test {
        /// The kernel; may be given more than once
        #[arg(long = "kernel", value_parser = kernels(), default_value = "stock")]
        kernels: Vec<String>,
        /// On a machine of kernel/variants.toml instead, `all` for every one; may be given more than once
        #[arg(long = "variant")]
        variants: Vec<String>,
        #[command(flatten)]
        run: Run,
    },
    /// Boot a kernel and run one program
    Run {
        /// The kernel
        #[arg(long = "kernel", value_parser = KERNELS)]
        kernel: String,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        program: Vec<String>,
    },
    /// Write the table of the contract's sentences on every kernel that has results
    Matrix,
}

/// Most jobs keep one processor busy. More than two guests were not tried.
fn guests() -> u8 {
    match std::thread::available_parallelism() {
        Ok(processors) if processors.get() >= 2 => 2,
        _ => 1,
    }
}

fn kernels() -> Vec<&'static str> {
    let mut names = KERNELS.to_vec();
    names.extend(["all", "stock", "native"]);
    names
}

fn main() -> ExitCode {
    match go(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// A line for the person who waits.
fn say(words: &str) {
    let _ = writeln!(std::io::stdout(), "{words}");
}

/// Whether everything passed.
fn go(cli: Cli) -> Result<bool> {
    let layout = Layout::find()?;
    match cli.command {
        Command::Kernel(command) => native(&layout, command),
        Command::Guest(Guest::Test {
            kernels,
            variants,
            run,
        }) => {
            let variants = variant::chosen(&layout, &variants)?;
            Ok(several(
                &layout,
                &kernels,
                variants,
                &run.options(Vec::new()),
            ))
        }
        Command::Guest(Guest::Fetch { kernels }) => Ok(fetch(&layout, &kernels)),
        Command::Guest(Guest::Run { kernel, program }) => {
            let options = Options::default();
            Ok(guest::run_program(&layout, &kernel, &program, &options)?.is_clean())
        }
        Command::Guest(Guest::Matrix) => {
            say(&matrix::write(&layout)?.display().to_string());
            Ok(true)
        }
        Command::Tries(tries) => tries::run(&layout, tries),
        Command::Nightly(nightly) => nightly.run(&layout),
        Command::Evidence(evidence) => evidence.run(&layout),
        Command::Steady(steady) => steady.run(&layout),
    }
}

fn native(layout: &Layout, command: Kernel) -> Result<bool> {
    match command {
        Kernel::Fetch(base) => {
            let source = source::fetch(layout, &guest::pins(layout)?, &base.base)?;
            if let Some(drift) = &source.drift {
                say(&format!("drift: {drift}"));
            }
            say(&source.tree.display().to_string());
            Ok(true)
        }
        Kernel::Build(base) => {
            let kernel = kernel::build(layout, &base.base, &base.with, None)?;
            if let Some(drift) = &kernel.drift {
                say(&format!("drift: {drift}"));
            }
            say(&format!(
                "Linux {}: {}",
                kernel.release,
                kernel.image.display()
            ));
            Ok(true)
        }
        Kernel::Boot { base, program } => {
            let look = "uname -a; grep . /sys/kernel/mm/mctl/* \
                        /sys/kernel/mm/transparent_hugepage/enabled; grep Mctl: /proc/self/status";
            let program = if program.is_empty() {
                ["sh", "-c", look].map(str::to_owned).to_vec()
            } else {
                program
            };
            let options = Options {
                with: base.with.clone(),
                ..Options::default()
            };
            Ok(guest::run_program(layout, &base.name(), &program, &options)?.is_clean())
        }
        Kernel::Test { base, run } => {
            let name = base.name();
            Ok(guest::test(layout, &name, &run.options(base.with))?.is_clean())
        }
        Kernel::Controls { base, only } => {
            controls::run(layout, &base.base, &only, &Options::default())
        }
        Kernel::Race {
            base,
            minutes,
            calls,
            long_only,
            memory,
        } => {
            let effort = race::Effort {
                minutes,
                calls,
                only: long_only,
            };
            race::run(layout, &base.base, &base.with, effort, memory)
        }
    }
}

/// The kernels that some words mean.
fn chosen(wanted: &[String]) -> impl Iterator<Item = &'static str> {
    KERNELS.into_iter().filter(|name| {
        let group = name.split('-').next().unwrap_or(name);
        wanted.iter().any(|w| w == "all" || w == name || w == group)
    })
}

fn fetch(layout: &Layout, wanted: &[String]) -> bool {
    let mut all = true;
    for name in chosen(wanted) {
        match guest::fetch(layout, name) {
            Ok(Some(drift)) => say(&format!("{name}: drift: {drift}")),
            Ok(None) => say(&format!("{name}: there")),
            Err(error) => {
                say(&format!("{name}: cannot be had: {error:#}"));
                all = false;
            }
        }
    }
    all
}

/// One kernel that cannot be had must not hide the others.
fn several(
    layout: &Layout,
    wanted: &[String],
    variants: Vec<variant::Variant>,
    options: &Options,
) -> bool {
    let mut clean = true;
    let mut lines = Vec::new();
    let machines = if variants.is_empty() {
        vec![None]
    } else {
        variants.into_iter().map(Some).collect()
    };
    for name in chosen(wanted) {
        for variant in &machines {
            let options = Options {
                variant: variant.clone(),
                ..options.clone()
            };
            match guest::test(layout, name, &options) {
                Ok(results) => {
                    clean &= results.is_clean();
                    lines.push(results.line());
                }
                Err(error) => {
                    let machine = variant.as_ref().map_or("", |v| &v.name);
                    lines.push(format!("{name} {machine}: BROKEN: {error:#}"));
                    say(lines.last().map_or("", String::as_str));
                    clean = false;
                }
            }
        }
    }
    for line in lines {
        say(&format!("result: {line}"));
    }
    if let Ok(path) = matrix::write(layout) {
        say(&format!("the contract on every kernel: {}", path.display()));
    }
    clean
}
