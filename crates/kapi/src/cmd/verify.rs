//! `kapi verify`

use anyhow::Result;
use kapi::verify::{Verdict, verify};

use super::input::Input;
use super::{Status, print};

/// Verify a call's specification on the running kernel, in throw-away processes
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The call, with or without sys_
    call: String,

    #[command(flatten)]
    input: Input,

    /// Only this clause, by its identifier
    #[arg(long, value_name = "ID")]
    clause: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Verify a call that may harm more than its caller
    #[arg(long)]
    dangerous: bool,
}

pub(super) fn run(args: &Args) -> Result<Status> {
    let spec = args.input.one(&args.call)?;
    let mut done = verify(&spec, args.dangerous)?;
    if let Some(id) = &args.clause {
        done.findings.retain(|f| f.clause.id == *id);
        anyhow::ensure!(
            !done.findings.is_empty(),
            "`{}` has no clause {id}",
            done.call
        );
    }
    if args.json {
        print(&(serde_json::to_string_pretty(&done)? + "\n"))?;
    } else {
        print(&done.text())?;
    }
    Ok(if done.count(Verdict::Contradicted) > 0 {
        Status::Found
    } else {
        Status::Good
    })
}
