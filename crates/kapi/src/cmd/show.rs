//! `kapi show`

use anyhow::Result;
use kapi::emit::{Format, emit};

use super::input::Input;
use super::{Status, print};

/// Show one specification
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kapi show mlockall
  kapi show mlockall -f man | man -l -")]
pub(super) struct Args {
    /// The call, with or without sys_
    name: String,

    #[command(flatten)]
    input: Input,

    /// plain, json, rst, man, markdown, html, kerneldoc, syzlang, macros or requirements
    #[arg(long, short, default_value = "plain")]
    format: Format,
}

pub(super) fn run(args: &Args) -> Result<Status> {
    let spec = args.input.one(&args.name)?;
    print(&emit(&[spec], args.format))?;
    Ok(Status::Good)
}
