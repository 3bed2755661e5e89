//! `kapi replay`

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use kapi::verify::replay;

use super::{Status, print};

/// Make the calls of a log of kapi verify again, and compare
///
/// Exit status: 0 each came out as it did, 1 one did not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kapi verify mlock --log mlock.log
  kapi replay mlock.log
  kapi replay mlock.log --call 17")]
pub(super) struct Args {
    /// The file that kapi verify --log wrote
    log: PathBuf,

    /// Only the call with this number, as the witnesses name it (repeatable)
    #[arg(long, value_name = "NUMBER")]
    call: Vec<usize>,

    /// Make calls, too, that may harm more than their caller
    #[arg(long)]
    dangerous: bool,
}

pub(super) fn run(args: &Args) -> Result<Status> {
    let file = std::fs::File::open(&args.log)
        .with_context(|| format!("reading {}", args.log.display()))?;
    let all = replay(std::io::BufReader::new(file), &args.call, args.dangerous)
        .with_context(|| args.log.display().to_string())?;
    let mut out = String::new();
    let mut differ = 0;
    for one in &all {
        if !one.agrees() {
            differ += 1;
        }
        if !one.agrees() || !args.call.is_empty() {
            out.push_str(&format!(
                "{} {}: {} then, {} now\n",
                one.number, one.call, one.then, one.now
            ));
        }
    }
    out.push_str(&format!(
        "{} calls made again, {differ} came out otherwise\n",
        all.len()
    ));
    print(&out)?;
    Ok(if differ > 0 {
        Status::Found
    } else {
        Status::Good
    })
}
