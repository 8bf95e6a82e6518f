//! Shared libraries that a binary asks the loader for.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process;

/// What every glibc system has.
const EVERYWHERE: [&str; 4] = ["libc.so.", "libm.so.", "libgcc_s.so.", "ld-linux"];

/// Libraries that `binary` needs beyond libc, libm and libgcc.
///
/// # Errors
/// When `readelf` cannot be run, or `binary` is no ELF file.
pub(super) fn foreign(binary: &Path) -> Result<Vec<String>> {
    let mut readelf = Command::new("readelf");
    let dynamic = process::output(readelf.env("LC_ALL", "C").arg("--dynamic").arg(binary))?;
    let foreign = needed(&dynamic).filter(|library| !is_everywhere(library));
    Ok(foreign.map(String::from).collect())
}

fn needed(dynamic: &str) -> impl Iterator<Item = &str> {
    let lines = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
    lines.filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0))
}

fn is_everywhere(library: &str) -> bool {
    EVERYWHERE.iter().any(|prefix| library.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DYNAMIC: &str = "
Dynamic section at offset 0x1d5ad8 contains 31 entries:
  Tag        Type                         Name/Value
 0x0000000000000001 (NEEDED)             Shared library: [libgcc_s.so.1]
 0x0000000000000001 (NEEDED)             Shared library: [libssl.so.3]
 0x0000000000000001 (NEEDED)             Shared library: [libcurl.so.4]
 0x0000000000000001 (NEEDED)             Shared library: [ld-linux-x86-64.so.2]
 0x000000000000000c (INIT)               0x36000
";

    #[test]
    fn only_what_not_every_system_has_is_foreign() {
        let foreign: Vec<&str> =
            needed(DYNAMIC).filter(|library| !is_everywhere(library)).collect();
        assert_eq!(foreign, ["libssl.so.3", "libcurl.so.4"]);
    }

    #[test]
    fn this_test_itself_needs_nothing_foreign() {
        let binary = std::env::current_exe().unwrap();
        assert_eq!(foreign(&binary).unwrap(), Vec::<String>::new());
    }
}
