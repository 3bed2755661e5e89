//! Packages of the Debian archive, through APT with a configuration of our own: the machine's package
//! lists and sources stay as they are. Signatures are APT's business; hashes against our pins are ours.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::layout::Layout;
use crate::pins::{Choice, Package, Pin, parse_index};
use crate::run;

/// Where the kernels come from. (`bookworm` for the LTS kernels, `trixie` for the newest.)
const SUITES: [&str; 4] = [
    "bookworm",
    "bookworm-backports",
    "trixie",
    "trixie-backports",
];
const SECURITY_SUITES: [&str; 2] = ["bookworm-security", "trixie-security"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// An index younger than this is not asked for again.
const FRESH: Duration = Duration::from_secs(6 * 3600);

/// Our own APT.
#[derive(Debug)]
pub(crate) struct Apt {
    dir: PathBuf,
    packages: PathBuf,
}

/// The packages of one use, on disk.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The files, in the order of the pin's packages.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) choice: Choice,
}

impl Apt {
    pub(crate) fn new(layout: &Layout) -> Self {
        Self {
            dir: layout.cache.join("apt"),
            packages: layout.cache.join("packages"),
        }
    }

    /// Gets the packages of a use: from the cache, else as pinned, else the newest of the series.
    pub(crate) fn fetch(&self, name: &str, pin: &Pin) -> Result<Fetched> {
        std::fs::create_dir_all(&self.packages)?;
        let choice = if pin.pinned().iter().all(|p| self.cached(p).is_some()) {
            Choice {
                packages: pin.pinned(),
                drift: None,
            }
        } else {
            self.update()?;
            let archive = self.index(pin)?;
            pin.choose(&archive)
                .with_context(|| format!("packages for {name}"))?
        };
        let files = choice.packages.iter().map(|package| self.get(package));
        let files = files.collect::<Result<_>>()?;
        Ok(Fetched { files, choice })
    }

    fn file(&self, package: &Package) -> PathBuf {
        let head = package.sha256.get(..16).unwrap_or(&package.sha256);
        self.packages.join(format!("{}-{head}.deb", package.name))
    }

    /// The file of a package that is here already and has the right hash.
    fn cached(&self, package: &Package) -> Option<PathBuf> {
        let file = self.file(package);
        (file.exists() && sha256(&file).ok()? == package.sha256).then_some(file)
    }

    fn get(&self, package: &Package) -> Result<PathBuf> {
        if let Some(file) = self.cached(package) {
            return Ok(file);
        }
        let part = self.packages.join("part");
        crate::layout::remove(&part)?;
        std::fs::create_dir_all(&part)?;
        let wanted = format!("{}={}", package.name, package.version);
        run::text(
            self.tool("apt-get")
                .args(["-q", "-o", "APT::Sandbox::User=root", "download", &wanted])
                .current_dir(&part),
        )?;
        let got = std::fs::read_dir(&part)?.next();
        let got = got.context("apt-get download left no file")??.path();
        let sum = sha256(&got)?;
        if sum != package.sha256 {
            bail!(
                "{wanted}: the file's SHA-256 is {sum}, not {}",
                package.sha256
            );
        }
        let file = self.file(package);
        std::fs::rename(&got, &file)?;
        Ok(file)
    }

    fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.dir.join("apt.conf"));
        command
    }

    fn update(&self) -> Result<()> {
        let stamp = self.dir.join("updated");
        let age = std::fs::metadata(&stamp).and_then(|m| m.modified());
        let age = age
            .ok()
            .and_then(|t| SystemTime::now().duration_since(t).ok());
        if age.is_some_and(|age| age < FRESH) {
            return Ok(());
        }
        run::need(&[("apt-get", "apt"), (KEYRING, "debian-archive-keyring")])?;
        for dir in ["lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(self.dir.join(dir))?;
        }
        std::fs::write(self.dir.join("status"), "")?;
        std::fs::write(self.dir.join("sources.list"), sources(&mirrors()?))?;
        std::fs::write(self.dir.join("apt.conf"), configuration(&self.dir))?;
        run::text(self.tool("apt-get").args(["-q", "update"]))?;
        std::fs::write(stamp, "")?;
        Ok(())
    }

    /// What the archive has of a pin's packages.
    fn index(&self, pin: &Pin) -> Result<Vec<Package>> {
        let mut names = Vec::new();
        for pattern in &pin.packages {
            let (before, after) = pattern.split_once("{}").unwrap_or((pattern, ""));
            let begin = format!("{before}{}", pin.series);
            let list = run::text(self.tool("apt-cache").args(["pkgnames", &begin]))?;
            let fits = |name: &&str| name.ends_with(after) && !name.ends_with("-dbg");
            names.extend(list.lines().filter(fits).map(str::to_owned));
        }
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let text = run::text(self.tool("apt-cache").arg("show").args(&names))?;
        Ok(parse_index(&text))
    }
}

fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "Dir::State \"{dir}\";\nDir::State::status \"{dir}/status\";\nDir::Cache \"{dir}/cache\";\n\
         Dir::Etc::sourcelist \"{dir}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
         Acquire::Languages \"none\";\nAcquire::Retries \"3\";\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
         Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled \"false\";\n\
         Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled \"false\";\n\
         Acquire::IndexTargets::deb::DEP-11-icons-hidpi::DefaultEnabled \"false\";\n\
         APT::Architecture \"amd64\";\n"
    )
}

/// The hosts that this machine's own package sources name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Mirrors {
    main: Option<String>,
    security: Option<String>,
}

fn mirrors() -> Result<Mirrors> {
    let mut found = Mirrors::default();
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(dir) = std::fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(dir.filter_map(|entry| Some(entry.ok()?.path())));
    }
    files.sort();
    for file in files {
        if let Ok(text) = std::fs::read_to_string(&file) {
            look_for_mirrors(&text, &mut found);
        }
    }
    if let Ok(host) = std::env::var("MCTL_DEBIAN_MIRROR") {
        found.main = Some(host);
    }
    if found.main.is_none() {
        bail!(
            "this machine's package sources name no Debian mirror; \
             set MCTL_DEBIAN_MIRROR to the address of one"
        );
    }
    Ok(found)
}

/// Reads both forms: one line a source, and deb822.
fn look_for_mirrors(text: &str, found: &mut Mirrors) {
    let mut take = |uri: &str, suite: &str| {
        let base = suite.split(['-', '/']).next().unwrap_or(suite);
        let names = [
            "bookworm",
            "trixie",
            "forky",
            "sid",
            "stable",
            "testing",
            "unstable",
            "oldstable",
        ];
        if !names.contains(&base) || !uri.starts_with("http") {
            return;
        }
        let slot = if suite.contains("security") {
            &mut found.security
        } else {
            &mut found.main
        };
        slot.get_or_insert_with(|| uri.trim_end_matches('/').to_owned());
    };
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            let line = stanza.lines().find_map(|l| l.strip_prefix(name));
            line.unwrap_or_default().split_whitespace()
        };
        if let Some(uri) = field("URIs:").next() {
            field("Suites:").for_each(|suite| take(uri, suite));
        }
    }
    for line in text.lines() {
        let Some(rest) = line.trim().strip_prefix("deb ") else {
            continue;
        };
        let rest = match rest.trim_start().strip_prefix('[') {
            Some(options) => options.split_once(']').map_or("", |(_, rest)| rest),
            None => rest,
        };
        let mut words = rest.split_whitespace();
        if let (Some(uri), Some(suite)) = (words.next(), words.next()) {
            take(uri, suite);
        }
    }
}

fn sources(mirrors: &Mirrors) -> String {
    let mut text = String::new();
    let mut add = |uri: &Option<String>, suites: &[&str]| {
        for suite in suites {
            if let Some(uri) = uri {
                let _ = writeln!(text, "deb [signed-by={KEYRING}] {uri} {suite} main");
            }
        }
    };
    add(&mirrors.main, &SUITES);
    add(&mirrors.security, &SECURITY_SUITES);
    text
}

/// The SHA-256 of a file, in hexadecimal.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let mut hasher = Sha256::new();
    std::io::copy(&mut file, &mut hasher).with_context(|| path.display().to_string())?;
    let mut text = String::new();
    for byte in hasher.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Mirrors {
        let mut found = Mirrors::default();
        look_for_mirrors(text, &mut found);
        found
    }

    #[test]
    fn mirrors_come_from_both_forms() {
        let both = Mirrors {
            main: Some("http://a.example/debian".into()),
            security: Some("http://a.example/security".into()),
        };
        let deb822 = "Types: deb\n# x\nURIs: http://a.example/debian\nSuites: trixie trixie-updates\n\n\
                      Types: deb\nURIs: http://a.example/security/\nSuites: trixie-security\n";
        assert_eq!(found(deb822), both);
        let lines = "# deb http://no.example/ trixie main\n\
                     deb [arch=amd64 signed-by=/x] http://a.example/debian bookworm main\n\
                     deb http://a.example/security bookworm-security main\n";
        assert_eq!(found(lines), both);
    }

    #[test]
    fn other_peoples_sources_are_no_mirror() {
        let other = "deb https://packages.example/apt sdk-bookworm main\n\
                     deb http://archive.example/ubuntu noble main\ndeb cdrom:[x]/ bookworm main\n";
        assert_eq!(found(other), Mirrors::default());
        let nodistro = "URIs: https://node.example/\nSuites: nodistro\n";
        assert_eq!(found(nodistro), Mirrors::default());
    }

    #[test]
    fn sources_are_signed_and_only_what_is_known() {
        let text = sources(&Mirrors {
            main: Some("http://a.example/debian".into()),
            security: None,
        });
        assert_eq!(text.lines().count(), SUITES.len());
        assert!(text.lines().all(|l| l.contains("signed-by=")), "{text}");
    }
}
