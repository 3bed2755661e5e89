//! Which distribution packages the kernels come from: a table of pins, and the choice among what the
//! archive has today.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// `kernel/pins.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pins {
    /// By use: `stock-6.12`, `source-7.3`, …
    pub(crate) uses: BTreeMap<String, Pin>,
}

/// The packages of one use.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pin {
    /// Names of the packages that belong together; `{}` stands for what differs between releases.
    pub(crate) packages: Vec<String>,
    /// What `{}` must begin with. Without it the newest of all is the newest of the series.
    #[serde(default)]
    pub(crate) series: String,
    /// What the package's version must begin with.
    #[serde(default)]
    pub(crate) version_series: String,
    /// What `{}` is in the pinned release.
    #[serde(default)]
    pub(crate) release: String,
    /// The pinned version.
    pub(crate) version: String,
    /// The packages' hashes, in the order of their names.
    pub(crate) sha256: Vec<String>,
}

/// A package in the archive's index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) sha256: String,
}

/// What was chosen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) packages: Vec<Package>,
    /// Why it is not what the pin says.
    pub(crate) drift: Option<String>,
}

impl Pins {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let pins: Self = toml::from_str(text)?;
        for (name, pin) in &pins.uses {
            if pin.packages.is_empty() || pin.packages.len() != pin.sha256.len() {
                bail!("{name}: one sha256 for each package is needed");
            }
            if pin.sha256.iter().any(|sum| !is_sha256(sum)) {
                bail!("{name}: a sha256 has 64 lower-case hexadecimal digits");
            }
            if pin.version.is_empty() {
                bail!("{name}: the version is empty");
            }
        }
        Ok(pins)
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Pin> {
        let known = || self.uses.keys().cloned().collect::<Vec<_>>().join(", ");
        let pin = self.uses.get(name);
        pin.with_context(|| format!("no packages are pinned for {name:?}; known are {}", known()))
    }
}

fn is_sha256(word: &str) -> bool {
    word.len() == 64 && word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl Pin {
    /// The packages as pinned.
    pub(crate) fn pinned(&self) -> Vec<Package> {
        let named = self.packages.iter().zip(&self.sha256);
        named
            .map(|(name, sum)| Package {
                name: name.replace("{}", &self.release),
                version: self.version.clone(),
                sha256: sum.clone(),
            })
            .collect()
    }

    /// What `{}` is in a name, if it is a name of the pattern.
    fn release_in<'a>(&self, pattern: &str, name: &'a str) -> Option<&'a str> {
        let Some((before, after)) = pattern.split_once("{}") else {
            return (pattern == name).then_some("");
        };
        let release = name.strip_prefix(before)?.strip_suffix(after)?;
        // A dash would begin another flavour: cloud, rt.
        let fits = release.starts_with(&self.series) && !release.contains('-');
        (fits && !release.is_empty()).then_some(release)
    }

    /// The pinned packages if the archive has them, else the newest release of the series of which
    /// it has every package.
    pub(crate) fn choose(&self, archive: &[Package]) -> Result<Choice> {
        let pinned = self.pinned();
        if pinned.iter().all(|package| archive.contains(package)) {
            return Ok(Choice {
                packages: pinned,
                drift: None,
            });
        }
        let first = &self.packages[..1];
        let mut best: Option<Vec<Package>> = None;
        for package in archive {
            let Some(release) = first.iter().find_map(|p| self.release_in(p, &package.name)) else {
                continue;
            };
            if !package.version.starts_with(&self.version_series) {
                continue;
            }
            let whole: Option<Vec<Package>> = self
                .packages
                .iter()
                .map(|pattern| {
                    let name = pattern.replace("{}", release);
                    let fits = |p: &&Package| p.name == name && p.version == package.version;
                    archive.iter().find(fits).cloned()
                })
                .collect();
            let Some(whole) = whole else { continue };
            let newer = best.as_ref().and_then(|b| b.first()).is_none_or(|old| {
                compare_versions(&package.version, &old.version) == Ordering::Greater
            });
            if newer {
                best = Some(whole);
            }
        }
        let Some(packages) = best else {
            bail!(
                "the archive has no release of {}",
                self.packages.join(" with ")
            );
        };
        let pin = &pinned[0];
        let got = &packages[0];
        let drift = if (&pin.name, &pin.version) == (&got.name, &got.version) {
            format!("{} {} has another hash than the pin", got.name, got.version)
        } else {
            format!(
                "{} {} is not in the archive any more; took {} {}",
                pin.name, pin.version, got.name, got.version
            )
        };
        Ok(Choice {
            packages,
            drift: Some(drift),
        })
    }
}

/// Orders two Debian versions (deb-version(7)): epoch, upstream version, revision.
pub(crate) fn compare_versions(a: &str, b: &str) -> Ordering {
    let (epoch_a, a) = epoch(a);
    let (epoch_b, b) = epoch(b);
    let (a, revision_a) = a.rsplit_once('-').unwrap_or((a, "0"));
    let (b, revision_b) = b.rsplit_once('-').unwrap_or((b, "0"));
    epoch_a
        .cmp(&epoch_b)
        .then_with(|| compare_part(a, b))
        .then_with(|| compare_part(revision_a, revision_b))
}

fn epoch(version: &str) -> (u32, &str) {
    let split = version.split_once(':');
    split
        .and_then(|(epoch, rest)| Some((epoch.parse().ok()?, rest)))
        .unwrap_or((0, version))
}

/// Runs of other characters and runs of digits in turn. `~` sorts before the end, letters before
/// everything else.
fn compare_part(mut a: &str, mut b: &str) -> Ordering {
    fn weight(byte: u8) -> u16 {
        match byte {
            b'~' => 0,
            b'A'..=b'Z' | b'a'..=b'z' => u16::from(byte),
            _ => u16::from(byte) + 256,
        }
    }
    fn cut(text: &str, digits: bool) -> (&str, &str) {
        let end = text.bytes().position(|c| c.is_ascii_digit() != digits);
        text.split_at(end.unwrap_or(text.len()))
    }
    while !(a.is_empty() && b.is_empty()) {
        let ((words_a, rest_a), (words_b, rest_b)) = (cut(a, false), cut(b, false));
        // The end weighs 1: after `~`, before all others.
        let weights = |w: &str| w.bytes().map(weight).chain([1]).collect::<Vec<_>>();
        let order = weights(words_a).cmp(&weights(words_b));
        let ((number_a, rest_a), (number_b, rest_b)) = (cut(rest_a, true), cut(rest_b, true));
        let (number_a, number_b) = (
            number_a.trim_start_matches('0'),
            number_b.trim_start_matches('0'),
        );
        let order = order
            .then_with(|| number_a.len().cmp(&number_b.len()))
            .then_with(|| number_a.cmp(number_b));
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

/// The packages in what `apt-cache show` prints.
pub(crate) fn parse_index(text: &str) -> Vec<Package> {
    let field = |stanza: &str, name: &str| {
        let line = stanza.lines().find_map(|l| l.strip_prefix(name));
        line.map(|value| value.trim().to_owned())
    };
    text.split("\n\n")
        .filter_map(|stanza| {
            Some(Package {
                name: field(stanza, "Package:")?,
                version: field(stanza, "Version:")?,
                sha256: field(stanza, "SHA256:")?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn package(name: &str, version: &str, sha256: &str) -> Package {
        Package {
            name: name.into(),
            version: version.into(),
            sha256: sha256.into(),
        }
    }

    fn pins() -> Pins {
        Pins::parse(&format!(
            "[uses.'stock-7.x']\npackages = ['binary-{{}}-amd64', 'modules-{{}}-amd64']\n\
             series = '7.'\nrelease = '7.2.9+deb13'\nversion = '7.2.9-1'\nsha256 = ['{A}', '{B}']\n\
             [uses.source]\npackages = ['source-6.12']\nversion = '6.12.9-1'\nsha256 = ['{A}']\n\
             version_series = '6.12.'\n"
        ))
        .unwrap()
    }

    #[test]
    fn the_pin_is_taken_as_long_as_it_is_there() {
        let archive = [
            package("binary-7.3.1+deb13-amd64", "7.3.1-1", A),
            package("modules-7.3.1+deb13-amd64", "7.3.1-1", A),
            package("binary-7.2.9+deb13-amd64", "7.2.9-1", A),
            package("modules-7.2.9+deb13-amd64", "7.2.9-1", B),
        ];
        let choice = pins().get("stock-7.x").unwrap().choose(&archive).unwrap();
        assert_eq!(choice.drift, None);
        assert_eq!(choice.packages, archive[2..]);
    }

    #[test]
    fn without_the_pin_the_newest_whole_release_is_drift() {
        let archive = [
            package("binary-7.10.1+deb13-amd64", "7.10.1-1~bpo13+1", A),
            package("modules-7.10.1+deb13-amd64", "7.10.1-1~bpo13+1", A),
            package("binary-7.9.1+deb13-amd64", "7.9.1-1", A),
            package("modules-7.9.1+deb13-amd64", "7.9.1-1", A),
            // Half a release, other flavours, another series.
            package("modules-7.11.0+deb13-amd64", "7.11.0-1", A),
            package("binary-7.12.0+deb13-cloud-amd64", "7.12.0-1", A),
            package("modules-7.12.0+deb13-cloud-amd64", "7.12.0-1", A),
            package("binary-8.0.1+deb13-amd64", "8.0.1-1", A),
            package("modules-8.0.1+deb13-amd64", "8.0.1-1", A),
        ];
        let choice = pins().get("stock-7.x").unwrap().choose(&archive).unwrap();
        assert_eq!(choice.packages, archive[..2]);
        let drift = choice.drift.unwrap();
        assert!(
            drift.contains("7.2.9-1") && drift.contains("7.10.1-1~bpo13+1"),
            "{drift}"
        );
    }

    #[test]
    fn another_hash_under_the_pinned_name_is_said() {
        let archive = [
            package("source-6.12", "6.12.9-1", B),
            package("source-6.12", "6.13.1-1", A),
        ];
        let choice = pins().get("source").unwrap().choose(&archive).unwrap();
        assert_eq!(choice.packages, archive[..1]);
        assert!(choice.drift.unwrap().contains("another hash"));
    }

    #[test]
    fn nothing_fit_is_an_error() {
        let none = pins().get("source").unwrap().choose(&[]).unwrap_err();
        assert!(none.to_string().contains("source-6.12"), "{none}");
        assert!(pins().get("stock-5.4").is_err());
    }

    #[test]
    fn a_table_with_a_mistake_is_refused() {
        for table in [
            "[uses.a]\npackages = []\nversion = '1'\nsha256 = []",
            "[uses.a]\npackages = ['x']\nversion = '1'\nsha256 = ['12']",
            "[uses.a]\npackages = ['x']\nversion = ''\nsha256 = ['{A}']",
            "[uses.a]\npackages = ['x']\nversion = '1'\nsha256 = ['{A}']\nfoo = 1",
            "[uses.a]\npackages = ['x', 'y']\nversion = '1'\nsha256 = ['{A}']",
        ] {
            assert!(Pins::parse(&table.replace("{A}", A)).is_err(), "{table}");
        }
    }

    #[test]
    fn versions_are_ordered_as_debian_does() {
        let sorted = [
            "1.0~rc1-1",
            "1.0-1~bpo12+1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-2",
            "1.0a-1",
            "1.0+deb12-1",
            "1.0.1-1",
            "1.9-1",
            "1.10-1",
            "1:0.1-1",
        ];
        for pair in sorted.windows(2) {
            assert_eq!(
                compare_versions(pair[0], pair[1]),
                Ordering::Less,
                "{pair:?}"
            );
            assert_eq!(
                compare_versions(pair[1], pair[0]),
                Ordering::Greater,
                "{pair:?}"
            );
        }
        assert_eq!(compare_versions("1.01-1", "1.1-1"), Ordering::Equal);
    }

    #[test]
    fn an_index_is_read_by_stanza() {
        let text =
            "Package: a\nVersion: 1\nDescription: x\n y\nSHA256: 00\n\nPackage: b\nVersion: 2\n";
        assert_eq!(parse_index(text), [package("a", "1", "00")]);
    }
}
