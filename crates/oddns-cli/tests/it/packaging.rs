//! What packages ship of the command: completions, manual pages, a probe, and flags that there are.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::http;
use crate::made::names;
use crate::oddns::{ODDNS, oddns};
use crate::peers;

fn bash(script: &str) -> String {
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-euc", script, ODDNS]).stdin(Stdio::null());
    let output = bash.output().expect("bash is there");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && errors.is_empty(), "{script}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn bash_completes_commands_and_flags() {
    // As bash calls the function: the words, which of them, and where the cursor is.
    let complete = |words: &str| {
        bash(&format!(
            "source <(\"$0\" completions bash); COMP_WORDS=({words}); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _oddns oddns \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; \
             echo \"${{COMPREPLY[@]}}\""
        ))
    };
    assert_eq!(complete("oddns wat"), "watch\n");
    assert_eq!(complete("oddns dataset val"), "validate\n");
    assert_eq!(complete("oddns watch --config.f"), "--config.file\n");
}

#[test]
fn there_are_completions_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = oddns(&["completions", shell]).well().stdout;
        assert!(script.contains("check-config") && script.lines().count() > 50, "{shell}");
    }
    assert_eq!(oddns(&["completions", "csh"]).code, Some(2));
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    let told = oddns(&["man", pages.to_str().unwrap()]).well().stdout;
    let found = names(&pages);
    assert!(told.starts_with("wrote the manual pages to "), "{told}");
    for page in ["oddns.1", "oddns-watch.1", "oddns-dataset.1", "oddns-dataset-import.1"] {
        assert!(found.iter().any(|name| name == page), "{page} in {found:?}");
    }
    assert!(!found.iter().any(|name| name.contains("help")), "{found:?}");
    let watch = std::fs::read_to_string(pages.join("oddns-watch.1")).unwrap();
    assert!(watch.contains("\\-\\-config.file") && watch.contains("oddns\\-watch"), "{watch}");
    if peers("there_is_a_manual_page_for_every_command").is_some() {
        set_without_a_warning(&pages);
    }
}

fn set_without_a_warning(pages: &Path) {
    for name in names(pages) {
        let mut groff = Command::new("groff");
        groff.args(["-Kutf8", "-man", "-Tutf8", "-ww", "-z"]).arg(pages.join(&name));
        let output = groff.output().expect("groff is installed where ODDNS_PEERS is set");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{name}");
    }
}

/// The long flags in `text`, without their values.
fn flags(text: &str) -> BTreeSet<&str> {
    let is_flag = |c: char| c.is_ascii_lowercase() || ".-".contains(c);
    let words = text.split(|c: char| !is_flag(c));
    words.filter(|word| word.starts_with("--") && word.len() > 3).collect()
}

#[test]
fn unit_image_and_chart_give_flags_that_there_are() {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging");
    let help = oddns(&["watch", "--help"]).well().stdout;
    let known = flags(&help);
    for (file, begin) in [
        ("systemd/oddns.service", "ExecStart=/usr/bin/oddns watch"),
        ("Containerfile", "CMD [\"watch\""),
        ("helm/oddns/templates/statefulset.yaml", "- watch\n"),
    ] {
        let text = std::fs::read_to_string(packaging.join(file)).unwrap();
        let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("{begin} in {file}"));
        let ends = ["\nExecReload", "extraArgs"];
        let end = ends.iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
        let given = flags(&rest[..end]);
        assert!(given.len() > 3, "{file}: {given:?}");
        let unknown: Vec<_> = given.difference(&known).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn shipped_configurations_are_valid() {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging");
    for file in ["debian/oddns.yml", "container/oddns.yml"] {
        let checked = oddns(&["check-config", packaging.join(file).to_str().unwrap()]).well();
        assert_eq!(checked.stderr, "", "{file}");
        assert!(checked.stdout.ends_with("is valid: 1 target(s)\n"), "{checked:?}");
    }
}

#[test]
fn health_is_asked_and_told_by_the_exit_code() {
    let address = http::serve_by(|path| match path {
        "/-/healthy" => (200, "oddns is healthy\n".to_owned()),
        "/-/ready" => (503, "no model is loaded yet\n".to_owned()),
        other => (404, other.to_owned()),
    });
    let at = format!("--web.listen-address={address}");
    let healthy = oddns(&["check-health", &at]).well();
    assert_eq!(healthy.stdout, "oddns is healthy\n");
    assert_eq!(oddns(&["check-health", &at, "--output=json"]).json()["answer"], "oddns is healthy");
    let unready = oddns(&["check-health", &at, "--ready"]);
    assert_eq!(unready.code, Some(1));
    assert!(unready.stderr.ends_with("/-/ready` answers 503: no model is loaded yet\n"));
    let nobody = oddns(&["check-health", "--web.listen-address=127.0.0.1:9"]);
    assert_eq!(nobody.code, Some(1));
    assert!(nobody.stderr.contains("`http://127.0.0.1:9/-/healthy` does not answer: "));
}
