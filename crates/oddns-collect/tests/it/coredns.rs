//! The scraper against a real CoreDNS.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use oddns_collect::{JobConfig, ScrapeError, Scraped, Scraper};
use oddns_core::{SeriesTable, Timestamp};

use crate::peer::peers;
use crate::target::scraper;

/// A CoreDNS that is killed when the test ends.
struct CoreDns(Child);

impl Drop for CoreDns {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start(binary: &Path, folder: &Path, dns_port: u16, metrics_port: u16) -> CoreDns {
    let corefile = folder.join("Corefile");
    let text = format!(
        ".:{dns_port} {{\n  bind 127.0.0.1\n  prometheus 127.0.0.1:{metrics_port}\n  whoami\n}}\n"
    );
    fs::write(&corefile, text).unwrap();
    let child = Command::new(binary)
        .arg("-conf")
        .arg(&corefile)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    CoreDns(child)
}

/// Scrapes until the server is there, at most half a minute.
async fn first_scrape(scraper: &mut Scraper, table: &mut SeriesTable) -> Scraped {
    for _ in 0..600 {
        let scraped = scraper.scrape(Timestamp::default(), table).await;
        if scraped.scrape.up {
            return scraped;
        }
        let error = scraped.error.unwrap();
        assert!(matches!(error, ScrapeError::Refused { .. }), "{error:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("CoreDNS did not start within half a minute");
}

/// Asks `example.org A` and waits for the answer.
fn ask(dns_port: u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let query =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00\x01\x00\x01";
    socket.send_to(query, ("127.0.0.1", dns_port)).unwrap();
    socket.recv(&mut [0; 512]).unwrap();
}

fn requests(table: &SeriesTable, scraped: &Scraped) -> f64 {
    let is_requests = |name: &str| {
        matches!(name, "coredns_dns_requests_total" | "coredns_dns_request_count_total")
    };
    let samples = scraped.scrape.samples.iter();
    samples.filter(|s| is_requests(&table.get(s.series).unwrap().name)).map(|s| s.value).sum()
}

/// CoreDNS counts a query after it has answered, so the last one may show a little later.
async fn scrape_until_requests(wanted: f64, scraper: &mut Scraper, table: &mut SeriesTable) {
    let mut seen = 0.0;
    for _ in 0..200 {
        let scraped = scraper.scrape(Timestamp::from_millis(1000), table).await;
        assert!(scraped.error.is_none(), "{:?}", scraped.error);
        seen = requests(table, &scraped);
        if seen >= wanted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(seen, wanted);
}

async fn scrape_around_queries(binary: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let (dns_port, metrics_port) = (free_port(), free_port());
    let server = start(binary, folder.path(), dns_port, metrics_port);
    let target = format!("127.0.0.1:{metrics_port}");
    let mut scraper = scraper(&target, JobConfig::new("dns"));
    let mut table = SeriesTable::default();
    let before = first_scrape(&mut scraper, &mut table).await;
    assert!(before.scrape.has_coredns(&table));
    assert_eq!(requests(&table, &before), 0.0);
    (0..3).for_each(|_| ask(dns_port));
    scrape_until_requests(3.0, &mut scraper, &mut table).await;
    drop(server);
    let gone = scraper.scrape(Timestamp::from_millis(2000), &mut table).await;
    assert!(!gone.scrape.up && gone.scrape.samples.is_empty());
    assert!(matches!(gone.error, Some(ScrapeError::Refused { .. })), "{:?}", gone.error);
}

#[tokio::test]
async fn three_generations_of_coredns_are_scraped() {
    let Some(peers) = peers("three_generations_of_coredns_are_scraped") else { return };
    for version in ["1.15.0", "1.10.1", "1.6.9"] {
        let binary = peers.join(format!("coredns-{version}/coredns"));
        assert!(binary.exists(), "no {}", binary.display());
        scrape_around_queries(&binary).await;
    }
}
