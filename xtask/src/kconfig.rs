//! Kernel configuration: fragments, and whether the result keeps what they ask for.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};

/// What fragments ask for: option → value, `n` for "is not set". Later fragments win.
pub(crate) type Wanted = BTreeMap<String, String>;

/// Adds a fragment.
pub(crate) fn add_fragment(wanted: &mut Wanted, name: &str, text: &str) -> Result<()> {
    for (i, line) in text.lines().enumerate() {
        let entry = parse_line(line);
        match entry {
            Some((option, value)) => {
                wanted.insert(option.to_owned(), value.to_owned());
            }
            None if line.trim().is_empty() || line.starts_with('#') => {}
            None => bail!(
                "{name}, line {}: neither an option nor a comment: {line}",
                i + 1
            ),
        }
    }
    Ok(())
}

fn parse_line(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_end();
    if let Some(rest) = line.strip_prefix("# CONFIG_") {
        let option = rest.strip_suffix(" is not set")?;
        return Some((option, "n"));
    }
    line.strip_prefix("CONFIG_")?.split_once('=')
}

/// What is appended to a configuration, for `make olddefconfig` to take up.
pub(crate) fn render(wanted: &Wanted) -> String {
    let mut text = String::new();
    for (option, value) in wanted {
        let _ = if value == "n" {
            writeln!(text, "# CONFIG_{option} is not set")
        } else {
            writeln!(text, "CONFIG_{option}={value}")
        };
    }
    text
}

/// Fails with the name of every wanted option that the finished configuration does not have. An
/// option whose dependencies are not met disappears without a word.
pub(crate) fn assert_kept(wanted: &Wanted, config: &str) -> Result<()> {
    let got: BTreeMap<&str, &str> = config.lines().filter_map(parse_line).collect();
    let lost: Vec<String> = wanted
        .iter()
        .filter_map(|(option, value)| {
            let have = got.get(option.as_str()).copied().unwrap_or("n");
            (have != value).then(|| format!("CONFIG_{option}={value} (is {have})"))
        })
        .collect();
    if lost.is_empty() {
        return Ok(());
    }
    Err(anyhow::anyhow!(lost.join(", "))).context(
        "the kernel's configuration does not keep what a fragment asks for; \
         look for unmet dependencies of these options",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_add_up_and_the_last_wins() {
        let mut wanted = Wanted::new();
        add_fragment(
            &mut wanted,
            "a",
            "# words\n\nCONFIG_A=y\nCONFIG_N=\"x=y\"\n",
        )
        .unwrap();
        add_fragment(&mut wanted, "b", "# CONFIG_A is not set\nCONFIG_B=16\n").unwrap();
        assert_eq!(
            render(&wanted),
            "# CONFIG_A is not set\nCONFIG_B=16\nCONFIG_N=\"x=y\"\n"
        );
        assert!(add_fragment(&mut wanted, "c", "A=y\n").is_err());
    }

    #[test]
    fn a_lost_option_is_named() {
        let mut wanted = Wanted::new();
        add_fragment(
            &mut wanted,
            "a",
            "CONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\n",
        )
        .unwrap();
        assert!(assert_kept(&wanted, "CONFIG_A=y\nCONFIG_B=y\n").is_ok());
        let lost = format!(
            "{:#}",
            assert_kept(&wanted, "CONFIG_A=y\nCONFIG_B=m\nCONFIG_C=y\n").unwrap_err()
        );
        assert!(lost.contains("CONFIG_B=y (is m)"), "{lost}");
        assert!(lost.contains("CONFIG_C=n (is y)"), "{lost}");
        assert!(!lost.contains("CONFIG_A"), "{lost}");
    }
}
