//! What the process takes of its machine, under the names that every Prometheus program uses.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Ticks of a second in `/proc`; the same on every machine that Linux runs on.
const TICKS: f64 = 100.0;

/// Reads `/proc` when it is asked; what the system does not tell is left out.
#[derive(Debug)]
pub(crate) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: Option<f64>| match value {
            Some(value) => encode(&mut encoder, name, help, &ConstGauge::new(value)),
            None => Ok(()),
        };
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        gauge("process_resident_memory_bytes", "Resident memory size", bytes(&status, "VmRSS"))?;
        gauge("process_virtual_memory_bytes", "Virtual memory size", bytes(&status, "VmSize"))?;
        gauge("process_open_fds", "Open file descriptors", n_files())?;
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        gauge("process_max_fds", "File descriptors that may be open", max_files(&limits))?;
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let machine = fs::read_to_string("/proc/stat").unwrap_or_default();
        let start = start_seconds(&stat, &machine);
        gauge("process_start_time_seconds", "Time of the start", start)?;
        match cpu_seconds(&stat) {
            Some(seconds) => {
                let help = "Processor time, of user and system";
                encode(&mut encoder, "process_cpu_seconds", help, &ConstCounter::new(seconds))
            }
            None => Ok(()),
        }
    }
}

fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    value.encode(encoder.encode_descriptor(name, help, None, value.metric_type())?)
}

fn bytes(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn n_files() -> Option<f64> {
    // Listing them takes one more.
    let n_files = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(n_files.saturating_sub(1) as f64)
}

fn max_files(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The fields behind the name, which may hold anything; the first is the state, field 3 of `proc(5)`.
fn fields(stat: &str) -> Option<Vec<&str>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace().collect())
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    let fields = fields(stat)?;
    let ticks = |n: usize| fields.get(n - 3)?.parse::<f64>().ok();
    Some((ticks(14)? + ticks(15)?) / TICKS)
}

fn start_seconds(stat: &str, machine: &str) -> Option<f64> {
    let since_boot: f64 = fields(stat)?.get(22 - 3)?.parse().ok()?;
    let boot = machine.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(boot.trim().parse::<f64>().ok()? + since_boot / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_system_are_read() {
        assert_eq!(bytes("Name:\tx\nVmRSS:\t   12 kB\n", "VmRSS"), Some(12_288.0));
        assert_eq!(
            max_files("Max cpu time  1 2 s\nMax open files   1024  4096  files\n"),
            Some(1024.0)
        );
        assert_eq!(max_files("Max open files   unlimited  4096  files\n"), None);
        let stat =
            format!("7 (a) b) S {}", (4..60).map(|n| n.to_string() + " ").collect::<String>());
        assert_eq!(cpu_seconds(&stat), Some(0.29));
        assert_eq!(start_seconds(&stat, "cpu 1\nbtime 1000\n"), Some(1000.22));
        assert_eq!((cpu_seconds(""), start_seconds("", "")), (None, None));
    }

    #[test]
    fn this_process_has_started_and_holds_files() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let machine = fs::read_to_string("/proc/stat").unwrap();
        assert!(start_seconds(&stat, &machine).unwrap() > 1e9);
        assert!(n_files().unwrap() >= 3.0);
    }
}
