//! READMEs and links between pages.

use std::path::Path;

use anyhow::Result;

use crate::repository;

const SECTIONS: &[&str] = &["## What it does", "## Not its job", "## Example"];
const INCLUDE: &str = r#"#![doc = include_str!("../README.md")]"#;

/// What the README and the root module of a crate lack; `None` for a file that is not there.
fn incomplete(krate: &str, readme: Option<&str>, root_module: Option<&str>) -> Vec<String> {
    let Some(readme) = readme else { return vec![format!("{krate}: no `README.md`")] };
    let mut violations = Vec::new();
    if readme.lines().next() != Some(&format!("# {krate}")) {
        violations.push(format!("{krate}: the README does not begin with `# {krate}`"));
    }
    for section in SECTIONS.iter().filter(|section| !readme.lines().any(|line| line == **section)) {
        violations.push(format!("{krate}: the README has no `{section}`"));
    }
    if !root_module.is_some_and(|module| module.contains(INCLUDE)) {
        violations.push(format!("{krate}: the README is not the documentation of the crate"));
    }
    violations
}

/// Relative targets of the links in a page, with their line numbers.
fn links(page: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    let mut in_code = false;
    for (number, line) in page.lines().enumerate() {
        in_code ^= line.trim_start().starts_with("```");
        if in_code {
            continue;
        }
        // Every second part between backticks is code.
        let prose = line.split('`').step_by(2).flat_map(|part| part.split("](").skip(1));
        let targets = prose.filter_map(|rest| rest.split([')', ' ', '#']).next());
        let local = targets.filter(|target| !target.is_empty() && !target.contains(':'));
        links.extend(local.map(|target| (number + 1, target)));
    }
    links
}

#[test]
fn every_crate_has_its_readme_as_documentation() -> Result<()> {
    let root = repository::root();
    let mut violations = Vec::new();
    for file in repository::tracked()? {
        let Some(folder) = file.path.strip_suffix("/Cargo.toml") else { continue };
        let folder = root.join(folder);
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
        let root_module = read("src/lib.rs").or_else(|| read("src/main.rs"));
        let krate = folder.file_name().unwrap_or_default().to_string_lossy();
        violations.extend(incomplete(&krate, read("README.md").as_deref(), root_module.as_deref()));
    }
    repository::assert_none(violations);
    Ok(())
}

#[test]
fn links_between_pages_resolve() -> Result<()> {
    let mut violations = Vec::new();
    for (path, page) in repository::texts(".md")? {
        let folder = repository::root().join(Path::new(&path).parent().unwrap_or(Path::new("")));
        let broken = links(&page).into_iter().filter(|(_, target)| !folder.join(target).exists());
        violations.extend(
            broken.map(|(line, target)| format!("{path}:{line}: no such file: `{target}`")),
        );
    }
    repository::assert_none(violations);
    Ok(())
}

#[test]
fn what_a_readme_lacks_is_found() {
    assert_eq!(incomplete("x", None, Some(INCLUDE)), ["x: no `README.md`"]);
    let whole = format!("# x\n\n{}\n", SECTIONS.join("\n\n"));
    assert_eq!(incomplete("x", Some(&whole), Some(INCLUDE)), [""; 0]);
    let expected = ["x: the README does not begin with `# x`"];
    assert_eq!(incomplete("x", Some(&whole.replace("# x", "# y")), Some(INCLUDE)), expected);
    let expected = ["x: the README has no `## Not its job`"];
    assert_eq!(incomplete("x", Some(&whole.replace("Not its", "A")), Some(INCLUDE)), expected);
    let expected = ["x: the README is not the documentation of the crate"];
    assert_eq!(incomplete("x", Some(&whole), Some("//! Other words.")), expected);
}

#[test]
fn links_are_found_outside_of_code_only() {
    let page = "See [a](docs/a.md), [b](b.md#part \"title\") and `[c](c.md)`.\n\
                [web](https://example.org/x) [here](#part)\n```\n[d](d.md)\n```\n[e](e.md)\n";
    assert_eq!(links(page), [(1, "docs/a.md"), (1, "b.md"), (6, "e.md")]);
}
