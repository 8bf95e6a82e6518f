//! Which crate may depend on which: the star of the architecture.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::repository;

/// Every crate with the crates of ours that it may name, dev-dependencies included. A new edge is
/// a design decision: it belongs into `ARCHITECTURE.md` too.
const EDGES: &[(&str, &[&str])] = &[
    ("oddns-core", &[]),
    ("oddns-features", &["oddns-core"]),
    ("oddns-model", &["oddns-core"]),
    ("oddns-detect", &["oddns-core"]),
    ("oddns-collect", &["oddns-core"]),
    ("oddns-store", &["oddns-core"]),
    ("oddns", &["oddns-core", "oddns-features", "oddns-model", "oddns-detect"]),
    // Its tests read what it makes as a user would.
    ("oddns-sim", &["oddns-core", "oddns-collect", "oddns-features"]),
    ("oddns-data", &["oddns", "oddns-core", "oddns-collect", "oddns-store"]),
    ("oddns-lab", &["oddns-core", "oddns-sim", "oddns-collect", "oddns-store"]),
    ("oddns-eval", &["oddns-core"]),
    (
        "oddns-serve",
        &["oddns", "oddns-core", "oddns-collect", "oddns-store", "oddns-features", "oddns-detect"],
    ),
    (
        "oddns-cli",
        &[
            "oddns",
            "oddns-core",
            "oddns-data",
            "oddns-features",
            "oddns-model",
            "oddns-detect",
            "oddns-collect",
            "oddns-store",
            "oddns-lab",
            "oddns-eval",
            "oddns-serve",
            "oddns-sim",
        ],
    ),
    (
        "oddns-py",
        &["oddns", "oddns-core", "oddns-data", "oddns-model", "oddns-collect", "oddns-store"],
    ),
    ("xtask", &[]),
];

/// Heavy or replaceable libraries with the only crate that may name them.
const FENCED: &[(&str, &str)] = &[
    ("hdf5-pure", "oddns-model"),
    ("zip", "oddns-model"),
    ("arrow", "oddns-store"),
    ("parquet", "oddns-store"),
    ("axum", "oddns-serve"),
    ("reqwest", "oddns-collect"),
    ("pyo3", "oddns-py"),
    ("numpy", "oddns-py"),
];

struct Package {
    name: String,
    dependencies: Vec<String>,
}

fn packages(metadata: &str) -> Result<Vec<Package>> {
    let metadata: Value = serde_json::from_str(metadata)?;
    let packages = metadata["packages"].as_array().context("no `packages` in the metadata")?;
    packages.iter().map(package).collect()
}

fn package(value: &Value) -> Result<Package> {
    let name = |value: &Value| {
        value["name"].as_str().map(String::from).context("a package or dependency has no `name`")
    };
    let dependencies = value["dependencies"].as_array().context("no `dependencies`")?;
    Ok(Package {
        name: name(value)?,
        dependencies: dependencies.iter().map(name).collect::<Result<_>>()?,
    })
}

fn violations(packages: &[Package]) -> Vec<String> {
    let mut violations = Vec::new();
    for Package { name, dependencies } in packages {
        let Some((_, may_use)) = EDGES.iter().find(|(krate, _)| krate == name) else {
            violations.push(format!("`{name}` has no row in `EDGES`"));
            continue;
        };
        for dependency in dependencies {
            let is_ours = packages.iter().any(|package| package.name == *dependency);
            if is_ours && !may_use.contains(&dependency.as_str()) {
                violations.push(format!("`{name}` must not depend on `{dependency}`"));
            }
            let fence = FENCED.iter().find(|(fenced, _)| fenced == dependency);
            if let Some((_, owner)) = fence.filter(|(_, owner)| owner != name) {
                violations.push(format!(
                    "`{name}` must not depend on `{dependency}`, only `{owner}` may"
                ));
            }
        }
    }
    violations
}

#[test]
fn crates_depend_on_what_the_architecture_allows() -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--format-version=1", "--offline"]);
    let output = cargo.current_dir(repository::root()).output()?;
    let packages = packages(&String::from_utf8(output.stdout)?)?;
    assert!(packages.len() > 10, "the metadata lacks crates of ours");
    repository::assert_none(violations(&packages));
    Ok(())
}

#[test]
fn a_forbidden_edge_is_found() -> Result<()> {
    let metadata = r#"{"packages": [
        {"name": "oddns-core", "dependencies": [{"name": "serde"}, {"name": "oddns-store"}]},
        {"name": "oddns-store", "dependencies": [{"name": "arrow"}, {"name": "oddns-core"}]},
        {"name": "oddns-serve", "dependencies": [{"name": "parquet"}]},
        {"name": "oddns-utils", "dependencies": []}
    ]}"#;
    let expected = [
        "`oddns-core` must not depend on `oddns-store`",
        "`oddns-serve` must not depend on `parquet`, only `oddns-store` may",
        "`oddns-utils` has no row in `EDGES`",
    ];
    assert_eq!(violations(&packages(metadata)?), expected);
    Ok(())
}
