//! Times the parser for `cargo xtask bench parse`, which runs it beside others: `stopwatch FOLDER
//! FILE` writes each scrape of a saved recording into FOLDER as a file of its own, says `ready`, then
//! answers each line `CASE` with the processor seconds it took and the sample lines it read.
#![expect(clippy::print_stdout, reason = "its answers go to stdout")]

use std::fs::File;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::path::Path;

use flate2::read::GzDecoder;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use oddns_collect::{Format, Limits, Parser, SampleLines};
use oddns_core::SeriesTable;

/// Sample lines in one measurement of ours, and of the peer, which is slower.
const LINES: usize = 3_000_000;
const PEER_LINES: usize = 150_000;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, file] = arguments.as_slice() else {
        return Err("use: stopwatch FOLDER FILE".into());
    };
    let scrapes = scrapes(Path::new(file))?;
    for (number, scrape) in scrapes.iter().enumerate() {
        std::fs::write(Path::new(folder).join(format!("{number:04}.prom")), scrape)?;
    }
    println!("ready");
    for case in std::io::stdin().lines() {
        let (seconds, n_lines) = time(&case?, &scrapes)?;
        println!("{seconds} {n_lines}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// The text of each scrape of a recording in gzip, without its header line.
fn scrapes(file: &Path) -> Result<Vec<String>, Failure> {
    let mut text = String::new();
    GzDecoder::new(File::open(file)?).read_to_string(&mut text)?;
    let mut scrapes = Vec::new();
    for part in text.split("# scrape ").skip(1) {
        let (_, scrape) = part.split_once('\n').ok_or("a header without a scrape")?;
        scrapes.push(scrape.to_owned());
    }
    Ok(scrapes)
}

fn time(case: &str, scrapes: &[String]) -> Result<(f64, usize), Failure> {
    match case {
        "lines" => measure(scrapes, LINES, lines),
        "table" => measure(scrapes, LINES, |scrape| samples(&mut Parser::default(), scrape)),
        "repeated" => {
            let (mut parser, mut table) = (Parser::default(), SeriesTable::default());
            let mut out = Vec::new();
            measure(scrapes, LINES, |scrape| {
                out.clear();
                Ok(parser.parse_as(Format::Text, scrape.as_bytes(), &mut table, &mut out)?.samples)
            })
        }
        "prometheus-parse" => measure(scrapes, PEER_LINES, prometheus_parse),
        other => Err(format!("there is no case `{other}`").into()),
    }
}

/// Reads one scrape after the other until there were enough lines.
fn measure(
    scrapes: &[String],
    enough: usize,
    mut read: impl FnMut(&str) -> Result<usize, Failure>,
) -> Result<(f64, usize), Failure> {
    // What is read for the first time is not what is measured.
    for scrape in scrapes {
        read(scrape)?;
    }
    let begin = processor_seconds()?;
    let mut n_lines = 0;
    for scrape in scrapes.iter().cycle() {
        n_lines += read(scrape)?;
        if n_lines >= enough {
            break;
        }
    }
    Ok((processor_seconds()? - begin, n_lines))
}

/// Time on a processor: others on the same machine do not count.
fn processor_seconds() -> Result<f64, Failure> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let total = usage.user_time() + usage.system_time();
    Ok(total.num_microseconds() as f64 * 1e-6)
}

/// Names, labels and values, borrowed from the text.
fn lines(scrape: &str) -> Result<usize, Failure> {
    let mut lines = SampleLines::new(Format::Text, scrape.as_bytes(), Limits::default());
    let mut n_lines = 0;
    while let Some(sample) = lines.next_sample()? {
        black_box(&sample);
        n_lines += 1;
    }
    Ok(n_lines)
}

/// Samples of a table that has seen nothing before.
fn samples(parser: &mut Parser, scrape: &str) -> Result<usize, Failure> {
    let (mut table, mut out) = (SeriesTable::default(), Vec::new());
    Ok(parser.parse_as(Format::Text, scrape.as_bytes(), &mut table, &mut out)?.samples)
}

fn prometheus_parse(scrape: &str) -> Result<usize, Failure> {
    let lines = scrape.lines().map(|line| Ok(line.to_owned()));
    let n_lines = scrape.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    black_box(prometheus_parse::Scrape::parse(lines)?);
    Ok(n_lines)
}
