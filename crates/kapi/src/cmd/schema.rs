//! `kapi schema`

use anyhow::Result;

use super::{Status, print};

/// Print the JSON Schema of the JSON form
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kapi schema > kapi.schema.json")]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> Result<Status> {
    print(&(serde_json::to_string_pretty(&kapi::ir::json_schema())? + "\n"))?;
    Ok(Status::Good)
}
