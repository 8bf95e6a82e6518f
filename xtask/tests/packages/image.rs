//! The container image.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{has, program, said, xtask};

/// Takes an archive apart.
fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    said(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(folder))?;
    Ok(())
}

fn json_of(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("no `{}`", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

/// Owner and name of every entry in a layer.
fn entries(layer: &Path) -> Result<BTreeSet<(String, String)>> {
    let listed = said(Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(layer))?;
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[1].to_owned(), words[5].trim_end_matches('/').to_owned())
    };
    Ok(listed.lines().map(entry).collect())
}

#[test]
fn the_image_is_the_program_for_somebody_who_is_not_root() -> Result<()> {
    let test = "the_image_is_the_program_for_somebody_who_is_not_root";
    if std::env::var_os("ODDNS_PEERS").is_none() || !has(test, "buildah") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let archive = folder.path().join("image.tar");
    xtask(&["image"], &program::oddns(false)?, &archive)?;
    let image = folder.path().join("image");
    unpack(&archive, &image)?;
    let manifest = &json_of(&image.join("manifest.json"))?[0];
    let config =
        &json_of(&image.join(manifest["Config"].as_str().context("no config")?))?["config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], json!(["/usr/bin/oddns"]));
    assert_eq!(config["Healthcheck"]["Test"], json!(["CMD", "/usr/bin/oddns", "check-health"]));
    assert_eq!(config["ExposedPorts"], json!({"8753/tcp": {}}));
    assert_eq!(config["Labels"]["org.opencontainers.image.licenses"], "Apache-2.0");
    let mut found = BTreeSet::new();
    for layer in manifest["Layers"].as_array().context("no layers")? {
        found.extend(entries(&image.join(layer.as_str().context("no name")?))?);
    }
    let has = |owner: &str, name: &str| found.contains(&(owner.to_owned(), name.to_owned()));
    assert!(has("0/0", "usr/bin/oddns") && has("0/0", "etc/oddns/oddns.yml"), "{found:?}");
    assert!(has("65532/65532", "var/lib/oddns"), "{found:?}");
    let programs = found.iter().filter(|(_, name)| name.contains("bin/"));
    assert_eq!(programs.count(), 1, "{found:?}");
    Ok(())
}

#[test]
fn both_stages_of_the_containerfile_agree() -> Result<()> {
    let text = fs::read_to_string(program::root().join("packaging/Containerfile"))?;
    let words: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(words.iter().filter(|word| **word == "FROM").count(), 2);
    let user = text.lines().find_map(|line| line.strip_prefix("USER ")).context("no USER")?;
    assert!(
        user.split(':').all(|number| number.parse::<u32>().is_ok_and(|n| n > 10_000)),
        "{user}"
    );
    // What is copied from the first stage is made in it.
    for line in text.lines().filter(|line| line.starts_with("COPY --from=build")) {
        let from = line.split(' ').find(|word| word.starts_with("/image/")).context("no source")?;
        let (first, _) = text.split_once("FROM scratch").context("no last stage")?;
        assert!(first.contains(from), "{line}");
    }
    Ok(())
}
