//! `kapi man`

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_mangen::Man;

use super::{Cli, Status, print};

/// When the pages last changed.
const DATE: &str = "2026-11-30";

/// Print the manual page of kapi or of one of its commands, or write all of them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kapi man verify | man -l -
  kapi man --output /usr/local/share/man/man1")]
pub(super) struct Args {
    /// The command whose page is wanted
    #[arg(conflicts_with = "output")]
    command: Option<String>,

    /// Write every page to this directory
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<Status> {
    let mut whole = Cli::command();
    whole.build();
    if let Some(dir) = &args.output {
        write_all(&whole, dir)?;
        return Ok(Status::Good);
    }
    let page = match &args.command {
        None => page(whole)?,
        Some(name) => {
            let command = visible(&whole)
                .find(|c| c.get_name() == name)
                .with_context(|| {
                    let names: Vec<&str> = visible(&whole).map(clap::Command::get_name).collect();
                    format!("kapi has no command `{name}`; one of {}", names.join(", "))
                })?;
            page(of_kapi(command))?
        }
    };
    print(&page)?;
    Ok(Status::Good)
}

fn visible(whole: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    whole
        .get_subcommands()
        .filter(|c| !c.is_hide_set() && c.get_name() != "help")
}

fn of_kapi(command: &clap::Command) -> clap::Command {
    let name = format!("kapi-{}", command.get_name());
    command.clone().display_name(name)
}

fn page(command: clap::Command) -> Result<String> {
    let title = command
        .get_display_name()
        .unwrap_or("kapi")
        .to_ascii_uppercase();
    let mut text = Vec::new();
    Man::new(command)
        .title(title)
        .section("1")
        .date(DATE)
        .source(concat!("kapi ", env!("CARGO_PKG_VERSION")))
        .manual("User Commands")
        .render(&mut text)?;
    Ok(String::from_utf8(text)?)
}

fn write_all(whole: &clap::Command, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let all = std::iter::once(whole.clone()).chain(visible(whole).map(of_kapi));
    for command in all {
        let name = command.get_display_name().unwrap_or("kapi").to_owned();
        let path = dir.join(format!("{name}.1"));
        std::fs::write(&path, page(command)?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
