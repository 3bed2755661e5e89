//! Machines that the suites have to come to the same on: kernel/variants.toml.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use mctl_guest_init::Machine;
use serde::Deserialize;

use crate::layout::Layout;

/// One setting of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Variant {
    pub(crate) name: String,
    #[serde(default)]
    write: std::collections::BTreeMap<String, String>,
    /// MiB.
    #[serde(default)]
    swap: u32,
    #[serde(default)]
    pub(crate) processors: Option<u32>,
    #[serde(default)]
    pub(crate) user: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    variant: Vec<Variant>,
}

impl Variant {
    /// What the guest's init has to do.
    pub(crate) fn machine(&self) -> Machine {
        Machine {
            write: self.write.clone(),
            swap: self.swap,
            user: self.user,
        }
    }
}

/// Those with these names, in the table's order; `all` means every one.
pub(crate) fn chosen(layout: &Layout, names: &[String]) -> Result<Vec<Variant>> {
    let path = layout.repo.join("kernel/variants.toml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    choose(
        parse(&text).with_context(|| path.display().to_string())?,
        names,
    )
}

fn parse(text: &str) -> Result<Vec<Variant>> {
    let table: Table = toml::from_str(text)?;
    let mut known = BTreeSet::new();
    for variant in &table.variant {
        let word = |c: char| c.is_ascii_lowercase() || c == '-';
        if variant.name.is_empty() || !variant.name.chars().all(word) {
            bail!("{:?} cannot be a folder's name", variant.name);
        }
        if !known.insert(&variant.name) {
            bail!("{} is there twice", variant.name);
        }
        if (Variant {
            name: variant.name.clone(),
            ..Variant::default()
        }) == *variant
        {
            bail!("{} changes nothing", variant.name);
        }
        if variant.processors == Some(0) {
            bail!("{} has no processor", variant.name);
        }
    }
    Ok(table.variant)
}

fn choose(table: Vec<Variant>, names: &[String]) -> Result<Vec<Variant>> {
    let known = |name: &str| name == "all" || table.iter().any(|v| v.name == name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let all: Vec<&str> = table.iter().map(|v| v.name.as_str()).collect();
        bail!(
            "there is no variant '{unknown}'; there are {}",
            all.join(", ")
        );
    }
    let wanted = |v: &Variant| names.iter().any(|name| name == "all" || *name == v.name);
    Ok(table.into_iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound_and_has_every_setting_of_the_contract() {
        let table = parse(include_str!("../../kernel/variants.toml")).unwrap();
        for name in [
            "swap",
            "max-map-count",
            "thp-always",
            "thp-never",
            "yama",
            "hugetlb",
            "shmem-advise",
            "user",
            "one-processor",
            "four-processors",
        ] {
            assert!(table.iter().any(|v| v.name == name), "{name}");
        }
        // Init puts back at the end of a job only what it knows of.
        for path in table.iter().flat_map(|v| v.write.keys()) {
            assert!(
                mctl_guest_init::KNOBS
                    .iter()
                    .any(|knob| path.starts_with(knob)),
                "{path}"
            );
        }
    }

    #[test]
    fn a_name_that_does_not_exist_is_an_error() {
        let table = || parse("[[variant]]\nname = 'a'\nswap = 1\n").unwrap();
        assert_eq!(choose(table(), &["all".to_owned()]).unwrap().len(), 1);
        assert_eq!(choose(table(), &[]).unwrap(), []);
        assert!(choose(table(), &["b".to_owned()]).is_err());
        for wrong in [
            "[[variant]]\nname = 'a'\n",
            "[[variant]]\nname = 'a/b'\nswap = 1\n",
            "[[variant]]\nname = 'a'\nswap = 1\n[[variant]]\nname = 'a'\nswap = 2\n",
            "[[variant]]\nname = 'a'\nprocessors = 0\n",
            "[[variant]]\nname = 'a'\nwap = 1\n",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
