//! What the tests scrape.

use oddns_collect::{HttpConfig, Job, JobConfig, Scraper, Target};

/// A scraper of the server at `url`, whose credentials, path and query count over `config`.
pub(crate) fn scraper(url: &str, config: JobConfig) -> Scraper {
    let target: Target = url.parse().unwrap();
    let of_url = JobConfig::of_target("test", &target);
    let auth = of_url.http.auth.or(config.http.auth);
    let http = HttpConfig { auth, ..config.http };
    let job = Job::new(JobConfig {
        scheme: of_url.scheme,
        metrics_path: of_url.metrics_path,
        discoveries: of_url.discoveries,
        http,
        ..config
    });
    Scraper::new(job.static_targets().unwrap().remove(0))
}
