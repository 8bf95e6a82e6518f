//! Many targets on few threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use oddns_collect::{
    Discovery, DiscoveryError, Gone, Job, JobConfig, LabelMap, Pace, RefusedTarget, ScrapeTarget,
    Scraped, Sink, Sinks, scrape_jobs,
};
use oddns_core::SeriesTable;
use tokio::time::sleep;

use crate::journal::{ok, serve};

const N_TARGETS: usize = 1000;

#[derive(Clone, Default)]
struct Counts {
    up: Arc<AtomicUsize>,
    down: Arc<AtomicUsize>,
}

impl Sink for Counts {
    fn take(&mut self, _: &SeriesTable, scraped: &Scraped) {
        let count = if scraped.scrape.up { &self.up } else { &self.down };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn forget_series(&mut self) {}
}

impl Sinks for Counts {
    fn open(&mut self, _: &ScrapeTarget) -> Option<Box<dyn Sink>> {
        Some(Box::new(self.clone()))
    }

    fn close(&mut self, _: &ScrapeTarget, _: Gone) {}
    fn discovered(&mut self, _: &Job, _: usize) {}
    fn discovery_failed(&mut self, _: &Job, _: &DiscoveryError) {}
    fn refused(&mut self, _: &Job, _: &RefusedTarget) {}
}

/// A number out of this process's status file.
fn status(key: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// 300 series, as a CoreDNS has.
fn page() -> String {
    let line = |n| format!("coredns_dns_requests_total{{zone=\".\",type=\"T{n}\"}} {n}\n");
    ok("text/plain", &(0..300).map(line).collect::<String>())
}

#[test]
fn a_thousand_targets_take_two_threads_and_little_memory() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let counts = Counts::default();
    let counted = counts.clone();
    runtime.block_on(async move {
        let page = page();
        let server = serve(move |_| page.clone()).await;
        let port = server.rsplit_once(':').unwrap().1;
        let target = |n: usize| {
            let address = format!("127.1.{}.{}:{port}", n / 250, n % 250 + 1);
            LabelMap::from([("__address__".to_owned(), address)])
        };
        let interval = Duration::from_secs(1);
        let job = Job::new(JobConfig {
            interval,
            timeout: interval,
            discoveries: vec![Discovery::targets((0..N_TARGETS).map(target).collect())],
            ..JobConfig::new("dns")
        });
        let (threads, kilobytes) = (status("Threads:"), status("VmRSS:"));
        scrape_jobs(vec![job], Pace::Spread, counts, sleep(Duration::from_millis(2500))).await;
        let (threads, kilobytes) = (
            status("Threads:").saturating_sub(threads),
            status("VmRSS:").saturating_sub(kilobytes),
        );
        println!("{N_TARGETS} targets: {threads} more threads, {kilobytes} kB more memory");
        // Other tests run at the same time: the bounds leave room for them.
        assert!(threads < 100, "{threads}");
        assert!(kilobytes < 600_000, "{kilobytes}");
    });
    let (up, down) = (counted.up.load(Ordering::Relaxed), counted.down.load(Ordering::Relaxed));
    println!("{up} scrapes worked, {down} failed");
    assert!(up > N_TARGETS, "{up} of {N_TARGETS} targets in two rounds, {down} failed");
}
