//! `kapi completions`

use anyhow::Result;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Status, print};

/// Print the completions of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kapi completions bash > /usr/share/bash-completion/completions/kapi
  kapi completions fish > ~/.config/fish/completions/kapi.fish")]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<Status> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kapi", &mut script);
    print(&String::from_utf8(script)?)?;
    Ok(Status::Good)
}
