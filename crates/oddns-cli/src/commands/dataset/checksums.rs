//! Checksums of all files of a folder, as `sha256sum` writes and checks them.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use oddns_store::{StoreError, write_atomically};
use sha2::{Digest, Sha256};

/// Where they are.
pub(super) const FILE: &str = "SHA256SUMS";

/// Writes the checksums of all files below `root`, but for those in the folders
/// `left_out` of it.
pub(super) fn write(root: &Path, left_out: &[&str]) -> anyhow::Result<usize> {
    let mut files = Vec::new();
    walk(root, &mut files)?;
    let skipped = left_out.iter().chain([&FILE]).map(|name| root.join(name));
    files.retain(|path| skipped.clone().all(|other| !path.starts_with(other)));
    files.sort();
    let mut text = String::new();
    for path in &files {
        let name = path.strip_prefix(root).unwrap_or(path).display();
        text += &format!("{}  {name}\n", sum(path)?);
    }
    write_atomically(&root.join(FILE), text.as_bytes())?;
    Ok(files.len())
}

/// What is wrong with the files that are listed, a sentence each, and how many are right. All files of
/// the folders `parts` have to be listed.
pub(super) fn check(root: &Path, parts: &[String]) -> anyhow::Result<(usize, Vec<String>)> {
    let path = root.join(FILE);
    let text = fs::read(&path).map_err(|source| StoreError::Read { path: path.clone(), source })?;
    let text = String::from_utf8_lossy(&text);
    let (mut n_right, mut wrong) = (0, Vec::new());
    let listed: HashSet<PathBuf> =
        text.lines().filter_map(|line| Some(root.join(line.split_once("  ")?.1))).collect();
    let mut there = Vec::new();
    for folder in parts.iter().map(|part| root.join(part)).filter(|folder| folder.is_dir()) {
        walk(&folder, &mut there)?;
    }
    for file in there.iter().filter(|file| !listed.contains(*file)) {
        wrong.push(format!("`{}`: is not listed in `{}`", file.display(), path.display()));
    }
    for (at, line) in text.lines().enumerate() {
        let Some((listed, name)) = line.split_once("  ") else {
            wrong.push(format!("`{}`, line {}: not a checksum and a name", path.display(), at + 1));
            continue;
        };
        let file = root.join(name);
        if !is_within(&file, root) {
            let reason = "a list speaks of files of its own folder";
            wrong.push(format!("`{}`, line {}: `{name}`: {reason}", path.display(), at + 1));
            continue;
        }
        match sum(&file) {
            Ok(found) if found == listed => n_right += 1,
            Ok(_) => wrong.push(format!("`{}`: not the bytes that were written", file.display())),
            Err(error) => wrong.push(format!("{error:#}")),
        }
    }
    Ok((n_right, wrong))
}

/// Whether it is a plain file below `root`, or nothing at all: no device, which has no end, no folder,
/// and nothing that links lead out of `root`.
fn is_within(file: &Path, root: &Path) -> bool {
    let Ok(file) = file.canonicalize() else { return !file.is_symlink() };
    let within = root.canonicalize().is_ok_and(|root| file.starts_with(root));
    within && file.is_file()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let unreadable = || format!("cannot read `{}`", folder.display());
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn sum(path: &Path) -> anyhow::Result<String> {
    let unreadable = || format!("cannot read `{}`", path.display());
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path).with_context(unreadable)?, &mut hash)
        .with_context(unreadable)?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_or_is_gone_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::create_dir_all(at("unfinished")).unwrap();
        for name in ["a/b/one", "a/two", "three", "unfinished/four"] {
            fs::write(at(name), name).unwrap();
        }
        assert_eq!(write(folder.path(), &["unfinished"]).unwrap(), 3);
        assert_eq!(check(folder.path(), &[]).unwrap(), (3, vec![]));
        fs::write(at("a/two"), "2").unwrap();
        fs::remove_file(at("three")).unwrap();
        let (n_right, wrong) = check(folder.path(), &[]).unwrap();
        assert_eq!((n_right, wrong.len()), (1, 2), "{wrong:?}");
        assert!(wrong[0].contains("not the bytes that were written"), "{wrong:?}");
        assert!(wrong[1].contains("cannot read"), "{wrong:?}");
        fs::write(at("a/new"), "new").unwrap();
        let (_, wrong) = check(folder.path(), &["a".to_owned()]).unwrap();
        assert!(wrong.len() == 3 && wrong[0].contains("a/new`: is not listed in"), "{wrong:?}");
    }

    #[test]
    fn what_is_elsewhere_is_not_read() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let outside = other.path().join("secret");
        fs::write(&outside, "secret").unwrap();
        std::os::unix::fs::symlink(&outside, folder.path().join("link")).unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        let climbing = format!("../{}/secret", other.path().file_name().unwrap().display());
        let names = ["/dev/zero", outside.to_str().unwrap(), climbing.as_str(), "link", "folder"];
        let text: String = names.iter().map(|name| format!("00  {name}\n")).collect();
        fs::write(folder.path().join(FILE), text).unwrap();
        let (n_right, wrong) = check(folder.path(), &[]).unwrap();
        assert_eq!((n_right, wrong.len()), (0, names.len()), "{wrong:?}");
        assert!(wrong.iter().all(|wrong| wrong.contains("of its own folder")), "{wrong:?}");
    }
}
