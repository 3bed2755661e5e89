//! `cargo xtask nightly`: the runs that take too long for every change. The table of them is xtask/nightly.toml.

use anyhow::{Result, bail};
use clap::Args;

use super::recipe::{Recipe, table};
use crate::layout::Layout;
use crate::say;

#[derive(Debug, Args)]
pub(crate) struct Nightly {
    /// Only these; by default all of them
    names: Vec<String>,
    /// Show the table and run nothing
    #[arg(long)]
    list: bool,
}

impl Nightly {
    /// Whether all of them passed. One that fails does not keep the others from being run.
    pub(crate) fn run(&self, layout: &Layout) -> Result<bool> {
        let table = chosen(table(&layout.repo, "nightly.toml", "run")?, &self.names)?;
        if self.list {
            for run in &table {
                let env: Vec<String> = run.env.iter().map(|(k, v)| format!("{k}={v} ")).collect();
                say(&format!(
                    "{} (at most {} min): {}",
                    run.name, run.minutes, run.promise
                ));
                say(&format!("    {}{}", env.concat(), run.command));
            }
            return Ok(true);
        }
        let logs = layout.target.join("nightly");
        std::fs::create_dir_all(&logs)?;
        let mut well = true;
        for run in &table {
            let log = logs.join(&run.name).with_extension("log");
            let (end, took) = run.run(&layout.repo, &log)?;
            well &= end.is_well();
            let seconds = took.as_secs();
            say(&format!(
                "{}: {} after {seconds} s; {}",
                run.name,
                end.words(),
                log.display()
            ));
        }
        Ok(well)
    }
}

/// Those with these names, in the table's order.
pub(super) fn chosen(table: Vec<Recipe>, names: &[String]) -> Result<Vec<Recipe>> {
    if let Some(unknown) = names
        .iter()
        .find(|name| table.iter().all(|r| r.name != **name))
    {
        let known: Vec<&str> = table.iter().map(|recipe| recipe.name.as_str()).collect();
        bail!("there is no '{unknown}'; there are {}", known.join(", "));
    }
    let wanted = |recipe: &Recipe| names.is_empty() || names.contains(&recipe.name);
    Ok(table.into_iter().filter(wanted).collect())
}
