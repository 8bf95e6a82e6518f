//! Resident memory of another process, as Linux counts it.

use std::fs;

use anyhow::{Context, Result};

/// The highest resident memory of process `id` so far, in MiB.
///
/// # Errors
/// When there is no such process.
pub(super) fn peak_mib(id: u32) -> Result<f64> {
    let path = format!("/proc/{id}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
    let kib = kib(&status, "VmHWM").with_context(|| format!("no `VmHWM` in `{path}`"))?;
    Ok(kib / 1024.0)
}

fn kib(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_read_by_its_whole_name() {
        let status = "VmHWMx:\t 1 kB\nVmHWM:\t   61440 kB\nVmRSS:\t   2048 kB\n";
        assert_eq!(kib(status, "VmHWM"), Some(61_440.0));
        assert_eq!(kib(status, "VmPeak"), None);
        assert_eq!(kib("VmHWM:\t many kB\n", "VmHWM"), None);
    }

    #[test]
    fn this_process_takes_between_one_and_a_thousand_mib() {
        let mib = peak_mib(std::process::id()).unwrap();
        assert!((1.0..1000.0).contains(&mib), "{mib}");
    }
}
