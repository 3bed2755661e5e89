//! Which kernel modules a guest needs, and in which order they load.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use object::{Object as _, ObjectSection as _};

use crate::run;

/// Without these a guest does not see its host's files.
const NEEDED: [&str; 3] = ["virtio_pci", "9pnet_virtio", "9p"];
/// Without these some tests skip themselves: swap in memory, with the compressors that zram may
/// pick; a disk for ordinary files (ext4 of 6.1 wants crc32c even where nothing has a checksum).
const WISHED: [&str; 8] = [
    "lzo_rle",
    "lz4",
    "zstd",
    "zram",
    "virtio_blk",
    "crc32c_generic",
    "ext4",
    "overlay",
];

/// What is picked, to know later whether it still is.
pub(crate) fn list() -> String {
    [&NEEDED[..], &WISHED].concat().join(" ")
}

/// Copies the modules that a guest needs into a folder, decompressed, named in load order.
pub(crate) fn pick(tree: &Path, to: &Path) -> Result<Vec<String>> {
    let mut files = BTreeMap::new();
    let mut builtin = BTreeSet::new();
    walk(tree, &mut files, &mut builtin)?;
    let mut read = |name: &str| -> Result<Option<Vec<String>>> {
        let Some(path) = files.get(name) else {
            return Ok(None);
        };
        Ok(Some(depends(&load(path)?)?))
    };
    let order = load_order(&NEEDED, &WISHED, &builtin, &mut read)?;
    std::fs::create_dir_all(to)?;
    for (i, name) in order.iter().enumerate() {
        let path = files.get(name).context("a module without a file")?;
        std::fs::write(to.join(format!("{i:02}-{name}.ko")), load(path)?)?;
    }
    Ok(order)
}

fn walk(
    dir: &Path,
    files: &mut BTreeMap<String, PathBuf>,
    builtin: &mut BTreeSet<String>,
) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            walk(&path, files, builtin)?;
            continue;
        }
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == "modules.builtin" {
            let text = std::fs::read_to_string(&path)?;
            builtin.extend(text.lines().filter_map(module_name));
        } else if let Some(module) = module_name(&name) {
            files.insert(module, path);
        }
    }
    Ok(())
}

/// `kernel/fs/9p/9p.ko.xz` is 9p. The kernel takes a dash and an underscore for the same.
fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (stem, rest) = file.split_once(".ko")?;
    ["", ".xz", ".zst", ".gz"]
        .contains(&rest)
        .then(|| stem.replace('-', "_"))
}

fn load(path: &Path) -> Result<Vec<u8>> {
    let tool = match path.extension().and_then(|e| e.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return std::fs::read(path).with_context(|| path.display().to_string()),
    };
    run::bytes(std::process::Command::new(tool).arg("-dc").arg(path))
}

/// The modules that a module names in its `.modinfo` section: `depends=a,b`.
fn depends(elf: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(elf)?;
    let section = file.section_by_name(".modinfo");
    let section = section.context("no kernel module: it has no .modinfo")?;
    Ok(depends_line(section.data()?))
}

fn depends_line(modinfo: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(modinfo);
    text.split('\0')
        .filter_map(|entry| entry.strip_prefix("depends="))
        .flat_map(|list| list.split(','))
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

/// Everything that the wanted modules depend on before what depends on it. `read` gives a module's
/// dependencies, or nothing if there is no such module.
fn load_order(
    needed: &[&str],
    wished: &[&str],
    builtin: &BTreeSet<String>,
    read: &mut dyn FnMut(&str) -> Result<Option<Vec<String>>>,
) -> Result<Vec<String>> {
    let mut order = Vec::new();
    for name in needed {
        if !add(name, builtin, read, &mut order, &mut Vec::new())? {
            bail!("the kernel package has no module {name}, and it is not built in");
        }
    }
    for name in wished {
        add(name, builtin, read, &mut order, &mut Vec::new())?;
    }
    Ok(order)
}

fn add(
    name: &str,
    builtin: &BTreeSet<String>,
    read: &mut dyn FnMut(&str) -> Result<Option<Vec<String>>>,
    order: &mut Vec<String>,
    above: &mut Vec<String>,
) -> Result<bool> {
    if builtin.contains(name) || order.iter().any(|n| n == name) {
        return Ok(true);
    }
    if above.iter().any(|n| n == name) {
        bail!(
            "modules depend on each other in a ring: {}",
            above.join(", ")
        );
    }
    let Some(depends) = read(name)? else {
        return Ok(false);
    };
    above.push(name.to_owned());
    for depend in depends {
        if !add(&depend, builtin, read, order, above)? {
            bail!("module {name} depends on {depend}, which the package does not have");
        }
    }
    above.pop();
    order.push(name.to_owned());
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(
        table: &[(&str, &[&str])],
        builtin: &[&str],
        needed: &[&str],
        wished: &[&str],
    ) -> Result<Vec<String>> {
        let builtin = builtin.iter().map(|n| (*n).to_owned()).collect();
        let mut read = |name: &str| {
            let found = table.iter().find(|(n, _)| *n == name);
            Ok(found.map(|(_, d)| d.iter().map(|n| (*n).to_owned()).collect()))
        };
        load_order(needed, wished, &builtin, &mut read)
    }

    #[test]
    fn what_is_depended_on_comes_first_and_once() {
        let table: [(&str, &[&str]); 4] = [
            ("9p", &["9pnet", "netfs", "fscache"]),
            ("9pnet", &[]),
            ("netfs", &["fscache"]),
            ("9pnet_virtio", &["9pnet", "virtio"]),
        ];
        let order = order(
            &table,
            &["fscache", "virtio"],
            &["9pnet_virtio", "9p"],
            &["zram"],
        );
        assert_eq!(order.unwrap(), ["9pnet", "9pnet_virtio", "netfs", "9p"]);
    }

    #[test]
    fn a_needed_module_that_is_nowhere_is_an_error() {
        let missing = order(&[], &[], &["9p"], &[]).unwrap_err().to_string();
        assert!(missing.contains("9p"), "{missing}");
        let table: [(&str, &[&str]); 1] = [("zram", &["zsmalloc"])];
        let missing = order(&table, &[], &[], &["zram"]).unwrap_err().to_string();
        assert!(missing.contains("zsmalloc"), "{missing}");
    }

    #[test]
    fn a_ring_ends() {
        let table: [(&str, &[&str]); 2] = [("a", &["b"]), ("b", &["a"])];
        assert!(order(&table, &[], &["a"], &[]).is_err());
    }

    #[test]
    fn names_and_dependencies() {
        assert_eq!(
            module_name("kernel/crypto/lzo-rle.ko.xz").unwrap(),
            "lzo_rle"
        );
        assert_eq!(module_name("9p.ko").unwrap(), "9p");
        assert_eq!(module_name("modules.order"), None);
        assert_eq!(module_name("x.ko.sig"), None);
        assert_eq!(
            depends_line(b"license=GPL\0depends=9pnet,net-fs\0name=9p\0"),
            ["9pnet", "net_fs"]
        );
        assert!(depends_line(b"depends=\0").is_empty());
    }
}
