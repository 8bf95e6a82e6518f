//! Pods of a cluster as they come and go: what a simulated cluster, or a real one, did.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};
use flate2::bufread::MultiGzDecoder;
use oddns_core::Timestamp;
use oddns_sim::{Load, LoadStep};
use serde::Deserialize;

use crate::LabError;

/// Longest line that is read; a tick of k8s-cluster-simulator with 100,000 pods is shorter.
const MAX_LINE_BYTES: u64 = 64 << 20;
/// Longest table that is read; one of a million pods is shorter.
const MAX_TABLE_BYTES: u64 = 256 << 20;
/// Spreadsheets begin a CSV file with it.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Pods that are told apart.
const MAX_PODS: usize = 1_000_000;
/// Longest stretch that is played, a year of seconds.
const MAX_SECONDS: usize = 366 * 86_400;
/// A pod that starts looks up as much as it does in so many seconds else: its configuration,
/// images, databases, peers.
const STARTUP_LOOKUPS_SECONDS: f64 = 30.0;
/// It does so within this time.
const STARTUP_SECONDS: usize = 2;

/// A pod that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// What it is one of: pods of a class are the endpoints of one service.
    pub class: String,
    /// When it began to run.
    pub start: Timestamp,
    /// When it was gone, or how far is known.
    pub end: Timestamp,
}

/// Pods of a cluster over a stretch of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Pods {
    start: Timestamp,
    end: Timestamp,
    pods: Vec<Pod>,
    cut: Option<u64>,
}

/// A pod that comes or goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PodEvent {
    /// Seconds after the start, as played.
    pub(crate) at: f64,
    /// Place among the pods.
    pub(crate) pod: usize,
    pub(crate) starts: bool,
}

/// What is read of a tick of k8s-cluster-simulator; it has more.
#[derive(Deserialize)]
struct Tick {
    #[serde(rename = "Clock")]
    clock: String,
    #[serde(rename = "Pods", default)]
    pods: HashMap<String, TickPod>,
}

#[derive(Deserialize)]
struct TickPod {
    #[serde(rename = "BoundAt")]
    bound_at: Option<String>,
}

fn wrong(line: u64, message: impl Into<String>) -> LabError {
    LabError::Pods { line, message: message.into() }
}

impl Pods {
    /// Reads the JSON lines of k8s-cluster-simulator, or a CSV file `name,start,end,class` with times
    /// in RFC 3339 or seconds; either may be packed by gzip. The class may be left out: it is then
    /// the pod's name up to its last `-`, without its namespace. A pod without an end still runs at
    /// the latest time in the file.
    ///
    /// A file that is cut off within its last line is used as far as it goes, see [`Pods::cut`]; so
    /// is a packed one that is cut off anywhere.
    pub fn read(path: &Path) -> Result<Self, LabError> {
        let failed = |source| LabError::Read { path: path.to_owned(), source };
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        let packed = file.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
        let plain: Box<dyn Read> =
            if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        Self::parse(plain).map_err(|error| match error {
            LabError::Read { source, .. } => failed(source),
            other => other,
        })
    }

    /// The same of plain text.
    pub fn parse(text: impl Read) -> Result<Self, LabError> {
        let mut lines = Lines::new(text);
        let Some(first) = lines.next()? else {
            let cut = "it is cut off before its first line: copy it again";
            return Err(wrong(0, if lines.is_cut() { cut } else { "the file is empty" }));
        };
        let pods = if first.starts_with(b"{") { ticks(lines)? } else { table(lines)? };
        let before = pods.cut.map_or_else(String::new, |line| format!(" before line {line}"));
        if pods.pods.is_empty() {
            return Err(wrong(0, format!("there is no pod in it{before}")));
        }
        if pods.end <= pods.start {
            let reason = format!("all of it{before} is one instant: nothing comes or goes");
            return Err(wrong(0, reason));
        }
        Ok(pods)
    }

    /// The line that was cut off; what comes before it is there.
    pub fn cut(&self) -> Option<u64> {
        self.cut
    }

    /// When it begins and ends.
    pub fn span(&self) -> (Timestamp, Timestamp) {
        (self.start, self.end)
    }

    /// Every pod, in no order; one that came again is there again.
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// What comes and goes, in time order, when a second stands for `speed` of the log.
    pub(crate) fn events(&self, speed: f64) -> Vec<PodEvent> {
        let at = |time: Timestamp| time.seconds_since(self.start).max(0.0) / speed;
        let both = |(pod, of): (usize, &Pod)| {
            [
                PodEvent { at: at(of.start), pod, starts: true },
                PodEvent { at: at(of.end), pod, starts: false },
            ]
        };
        let mut events: Vec<PodEvent> = self.pods.iter().enumerate().flat_map(both).collect();
        // One that ends makes room for one that starts.
        events.sort_by(|a, b| a.at.total_cmp(&b.at).then(a.starts.cmp(&b.starts)));
        // Pods that are there at the end have not ended.
        let end = at(self.end);
        events.retain(|event| event.starts || event.at < end);
        events
    }

    /// How busy the pods make their servers, when a second stands for `speed` of the log. Each asks
    /// alike, and half a minute's worth when it starts. The mean over all is 1.
    ///
    /// Fails when `speed` is not positive and finite, or the log is shorter than a second or longer
    /// than a year as played.
    pub fn load(&self, speed: f64) -> Result<Load, LabError> {
        let seconds = self.end.seconds_since(self.start) / speed;
        if !(speed > 0.0 && (1.0..=MAX_SECONDS as f64).contains(&seconds)) {
            return Err(LabError::Setting {
                name: "speed",
                value: speed.to_string(),
                expected: "above 0, so that all of the log takes a second to a year",
            });
        }
        let n = (seconds.ceil() as usize).max(1);
        let (mut busy, mut changes) = (vec![0.0; n], vec![0.0; n]);
        let mut running = vec![0.0; n + 1];
        for event in self.events(speed) {
            let second = (event.at as usize).min(n - 1);
            running[second] += if event.starts { 1.0 } else { -1.0 };
            // What runs at the beginning has not started then.
            if event.at > 0.0 {
                changes[second] += 1.0;
                for late in busy.iter_mut().skip(second).take(STARTUP_SECONDS) {
                    let burst = STARTUP_LOOKUPS_SECONDS / STARTUP_SECONDS as f64;
                    *late += if event.starts { burst } else { 0.0 };
                }
            }
        }
        let mut n_running = 0.0;
        for (busy, change) in busy.iter_mut().zip(running) {
            n_running += change;
            *busy += n_running;
        }
        let mean = (busy.iter().sum::<f64>() / n as f64).max(f64::MIN_POSITIVE);
        let steps = busy.into_iter().zip(changes).map(|(busy, changes_per_second)| LoadStep {
            rate_ratio: busy / mean,
            changes_per_second,
        });
        Load::new(steps).ok_or_else(|| wrong(0, "it has no length"))
    }
}

/// Text that ends where a packed file is cut off: what came before counts.
struct UntilCut<R> {
    text: R,
    is_cut: bool,
}

impl<R: Read> Read for UntilCut<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.text.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.is_cut = true;
                Ok(0)
            }
            read => read,
        }
    }
}

/// Lines that are not empty, one at a time, none without end.
struct Lines<R> {
    text: BufReader<UntilCut<R>>,
    number: u64,
    line: Vec<u8>,
}

impl<R: Read> Lines<R> {
    fn new(text: R) -> Self {
        let text = BufReader::new(UntilCut { text, is_cut: false });
        Self { text, number: 0, line: Vec::new() }
    }

    /// Whether the file behind was cut off; known at its end.
    fn is_cut(&self) -> bool {
        self.text.get_ref().is_cut
    }

    /// The next line, or the one before again where it was not taken.
    fn next(&mut self) -> Result<Option<&[u8]>, LabError> {
        if self.line.is_empty() {
            self.advance()?;
        }
        Ok(Some(&*self.line).filter(|line| !line.is_empty()))
    }

    fn advance(&mut self) -> Result<(), LabError> {
        loop {
            self.line.clear();
            let mut bounded = Read::take(&mut self.text, MAX_LINE_BYTES);
            let n = bounded.read_until(b'\n', &mut self.line).map_err(unreadable)?;
            if n == 0 {
                return Ok(());
            }
            self.number += 1;
            if n as u64 == MAX_LINE_BYTES {
                return Err(wrong(self.number, "the line is longer than 64 MiB"));
            }
            if self.number == 1 && self.line.starts_with(BYTE_ORDER_MARK) {
                self.line.drain(..BYTE_ORDER_MARK.len());
            }
            if self.line.iter().any(|byte| !byte.is_ascii_whitespace()) {
                return Ok(());
            }
        }
    }

    fn taken(&mut self) {
        self.line.clear();
    }

    /// The line that was not taken yet and all that follows, as one text.
    fn rest(&mut self) -> Result<Vec<u8>, LabError> {
        let mut text = std::mem::take(&mut self.line);
        let mut bounded = Read::take(&mut self.text, MAX_TABLE_BYTES);
        let n = bounded.read_to_end(&mut text).map_err(unreadable)?;
        if n as u64 == MAX_TABLE_BYTES {
            return Err(wrong(0, "it is longer than 256 MiB"));
        }
        Ok(text)
    }
}

fn unreadable(source: io::Error) -> LabError {
    LabError::Read { path: "".into(), source }
}

/// A pod that was there at the last tick.
struct Running {
    bound_at: Timestamp,
    seen: Timestamp,
}

fn ticks(mut lines: Lines<impl Read>) -> Result<Pods, LabError> {
    let (mut running, mut pods): (HashMap<String, Running>, Vec<Pod>) = Default::default();
    let (mut start, mut end, mut cut): (Option<Timestamp>, _, _) =
        (None, Timestamp::default(), None);
    while let Some(line) = lines.next()? {
        let whole = line.ends_with(b"\n");
        let tick = serde_json::from_slice::<Tick>(line);
        let number = lines.number;
        lines.taken();
        let tick = match tick {
            Ok(tick) => tick,
            Err(error) if error.is_eof() && (!whole || lines.next()?.is_none()) => {
                cut = Some(number);
                break;
            }
            Err(error) => {
                let place = error.column();
                return Err(wrong(
                    number,
                    format!("column {place}: not a tick of k8s-cluster-simulator: {error}"),
                ));
            }
        };
        let now = time(&tick.clock, number, "Clock")?;
        if start.is_some() && now < end {
            return Err(wrong(number, "`Clock` goes backwards: a log is of one run"));
        }
        if running.len() + tick.pods.len() + pods.len() > MAX_PODS {
            return Err(wrong(number, "there are more than a million pods"));
        }
        for (name, pod) in tick.pods {
            let bound_at = pod.bound_at.map_or(Ok(now), |at| time(&at, number, "BoundAt"))?;
            let known = running.get_mut(&name).filter(|known| known.bound_at == bound_at);
            if let Some(known) = known {
                known.seen = now;
            } else if let Some(before) =
                running.insert(name.clone(), Running { bound_at, seen: now })
            {
                pods.push(ended(&name, &before, bound_at));
            }
        }
        let gone: Vec<String> = running
            .iter()
            .filter(|(_, pod)| pod.seen < now)
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(pod) = running.remove(&name) {
                pods.push(ended(&name, &pod, now));
            }
        }
        (start, end) = (start.or(Some(now)), now);
    }
    if lines.is_cut() {
        cut = cut.or(Some(lines.number + 1));
    }
    pods.extend(running.iter().map(|(name, pod)| ended(name, pod, end)));
    pods.sort_by(|a, b| (a.start, &a.class, a.end).cmp(&(b.start, &b.class, b.end)));
    Ok(Pods { start: start.unwrap_or(end), end, pods, cut })
}

fn ended(name: &str, pod: &Running, end: Timestamp) -> Pod {
    Pod { class: class(name).to_owned(), start: pod.bound_at, end: end.max(pod.bound_at) }
}

/// `default/api-1014` is an `api`.
fn class(name: &str) -> &str {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.rsplit_once('-').map_or(name, |(class, _)| class)
}

fn time(text: &str, line: u64, what: &str) -> Result<Timestamp, LabError> {
    text.parse().map_err(|_| {
        wrong(line, format!("`{what}` is `{text}`: it must be a time, in RFC 3339 or seconds"))
    })
}

/// Places of the columns name, start, end, class.
type Columns = (usize, usize, usize, Option<usize>);

fn table(mut lines: Lines<impl Read>) -> Result<Pods, LabError> {
    let before = lines.number - 1;
    let mut text = lines.rest()?;
    let mut cut = None;
    if lines.is_cut() {
        // What stands in the last line may be half of it.
        text.truncate(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1));
        cut = Some(before + text.iter().filter(|byte| **byte == b'\n').count() as u64 + 1);
    }
    let mut records =
        ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(&*text);
    let (mut columns, mut pods, mut running) = (None, Vec::new(), Vec::new());
    for record in records.byte_records() {
        let record = record.map_err(|error| wrong(0, format!("not a CSV file: {error}")))?;
        let line = before + record.position().map_or(0, |at| line_of(&text, at));
        let cells = StringRecord::from_byte_record_lossy(record);
        let Some(columns) = columns else {
            columns = Some(columns_of(&cells, line)?);
            continue;
        };
        if cells.iter().all(str::is_empty) {
            continue;
        }
        let (pod, is_running) = match pod_of(&cells, line, columns) {
            Ok(read) => read,
            // Only a last line without an end may be half of one.
            Err(_) if !pods.is_empty() && cut.is_none() && is_open_end(&text, line - before) => {
                cut = Some(line);
                break;
            }
            Err(error) => return Err(error),
        };
        if is_running {
            running.push(pods.len());
        }
        pods.push(pod);
        if pods.len() > MAX_PODS {
            return Err(wrong(line, "there are more than a million pods"));
        }
    }
    let start = pods.iter().map(|pod| pod.start).min().unwrap_or_default();
    let end = pods.iter().map(|pod| pod.end).max().unwrap_or_default();
    running.into_iter().for_each(|pod: usize| pods[pod].end = end);
    Ok(Pods { start, end, pods, cut })
}

/// Whether a line, from 1, is the last of a text and has no line break at its end.
fn is_open_end(text: &[u8], line: u64) -> bool {
    !text.ends_with(b"\n") && text.iter().filter(|byte| **byte == b'\n').count() as u64 + 1 == line
}

/// The line of a record, whose position is before the empty lines that were passed over.
fn line_of(text: &[u8], at: &csv::Position) -> u64 {
    let before = text.iter().skip(at.byte() as usize).take_while(|byte| b"\r\n".contains(byte));
    at.line() + before.filter(|byte| **byte == b'\n').count() as u64
}

fn columns_of(header: &StringRecord, line: u64) -> Result<Columns, LabError> {
    let place = |name: &str| header.iter().position(|column| column == name);
    let needed = |name: &str| {
        let advice = "give JSON lines of k8s-cluster-simulator or CSV `name,start,end,class`";
        place(name).ok_or_else(|| wrong(line, format!("no column `{name}`: {advice}")))
    };
    Ok((needed("name")?, needed("start")?, needed("end")?, place("class")))
}

/// The pod of a row, and whether it still runs, as one without an end does: it ends where it starts
/// then, until the end of all is known.
fn pod_of(
    cells: &StringRecord,
    line: u64,
    (name, start, end, class_at): Columns,
) -> Result<(Pod, bool), LabError> {
    let cell = |place: usize| {
        cells.get(place).ok_or_else(|| wrong(line, "has fewer cells than the header"))
    };
    let named = class_at.map(cell).transpose()?.filter(|class| !class.is_empty());
    let class = named.unwrap_or(class(cell(name)?)).to_owned();
    let start = time(cell(start)?, line, "start")?;
    let written = Some(cell(end)?).filter(|text| !text.is_empty());
    let end = written.map(|text| time(text, line, "end")).transpose()?;
    if end.is_some_and(|end| end < start) {
        return Err(wrong(line, "the pod ends before it starts"));
    }
    Ok((Pod { class, start, end: end.unwrap_or(start) }, end.is_none()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOG: &str = r#"{"Clock":"2026-01-01T00:00:00Z","Pods":{"default/web-1":{"BoundAt":"2026-01-01T00:00:00Z"}},"Queue":{}}
{"Clock":"2026-01-01T00:01:00Z","Pods":{"default/web-1":{"BoundAt":"2026-01-01T00:00:00Z"},"default/cron-7":{"BoundAt":"2026-01-01T00:00:30Z"}}}

{"Clock":"2026-01-01T00:02:10Z","Pods":{"default/web-1":{"BoundAt":"2026-01-01T00:02:00Z"}}}
"#;

    fn seconds(pods: &Pods) -> Vec<(&str, f64, f64)> {
        let since = |time: Timestamp| time.seconds_since(pods.start);
        pods.pods.iter().map(|pod| (&*pod.class, since(pod.start), since(pod.end))).collect()
    }

    #[test]
    fn pods_of_a_log_last_from_tick_to_tick() {
        let pods = Pods::parse(LOG.as_bytes()).unwrap();
        // The first `web-1` is replaced by one of the same name.
        let expected = [("web", 0.0, 120.0), ("cron", 30.0, 130.0), ("web", 120.0, 130.0)];
        assert_eq!(seconds(&pods), expected);
        assert_eq!(pods.cut(), None);
        assert_eq!(pods.events(10.0).len(), 4, "what is there at the end has not ended");
    }

    #[test]
    fn a_table_says_the_same() {
        let text = "name,class,start,end\ndefault/web-1,,100,220\nx,cron,130,200\n";
        let pods = Pods::parse(text.as_bytes()).unwrap();
        assert_eq!(seconds(&pods), [("web", 0.0, 120.0), ("cron", 30.0, 100.0)]);
    }

    #[test]
    fn a_log_that_is_cut_off_is_used_as_far_as_it_goes() {
        for end in [LOG.len() - 3, LOG.len() - 60] {
            let pods = Pods::parse(&LOG.as_bytes()[..end]).unwrap();
            assert_eq!(pods.cut(), Some(4));
            assert_eq!(seconds(&pods), [("web", 0.0, 60.0), ("cron", 30.0, 60.0)]);
        }
    }

    #[test]
    fn a_table_that_is_cut_off_is_used_as_far_as_it_goes() {
        let text = "name,start,end\nweb-1,0,60\nweb-2,10,";
        assert_eq!(Pods::parse(text.as_bytes()).unwrap().cut(), None, "it may still run");
        for cut in ["web-1,0,60\nweb-2,1", "web-1,0,60\nweb-2", "web-1,0,60\nweb-2,10,-"] {
            let pods = Pods::parse(format!("name,start,end\n{cut}").as_bytes()).unwrap();
            assert_eq!((pods.cut(), pods.pods().len()), (Some(3), 1), "{cut}");
            // With its end it is whole, and wrong.
            let message = Pods::parse(format!("name,start,end\n{cut}\n").as_bytes()).unwrap_err();
            assert!(message.to_string().starts_with("line 3: "), "{message}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let table = "name,start,end\n";
        for (text, told) in [
            (String::new(), "the file is empty"),
            ("a,b\n".to_owned(), "no column `name`"),
            (format!("{table}web-1,0\n"), "line 2: has fewer cells"),
            (format!("{table}web-1,5,4\n"), "line 2: the pod ends before it starts"),
            (format!("{table}web-1,noon,4\n"), "`start` is `noon`"),
            (table.to_owned(), "there is no pod"),
            (format!("{table}web-1,5,5\nweb-2,5,\n"), "all of it is one instant"),
            (format!("\n\n{table}\nweb-1,noon,4\n"), "line 5: `start` is `noon`"),
            (format!("{table}\"a\nb\",1,2\nweb-1,noon,4\n"), "line 4: `start` is `noon`"),
            (LOG.replace("\"Queue\":{}}", "\"Queue\":{}"), "line 1: column"),
            (LOG.replace("00:02:10Z\",\"P", "soon\",\"P"), "line 4: `Clock` is"),
            (LOG.replace("00:02:10Z\",\"P", "00:00:10Z\",\"P"), "line 4: `Clock` goes backwards"),
        ] {
            let message = Pods::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(message.contains(told), "{text}\n{message}");
            assert!(!message.contains("line 0"), "{message}");
        }
    }

    #[test]
    fn a_table_of_a_spreadsheet_is_read() {
        let text = "\u{feff}\"name\",\"start\",\"end\",\"class\"\r\n\"default/web-1\",\"100\",\
                    \"220\",\"web, \"\"old\"\"\"\r\nx, 130 ,200,cron\r\n";
        let pods = Pods::parse(text.as_bytes()).unwrap();
        assert_eq!(seconds(&pods), [("web, \"old\"", 0.0, 120.0), ("cron", 30.0, 100.0)]);
        let log = format!("\u{feff}{LOG}");
        assert_eq!(Pods::parse(log.as_bytes()).unwrap(), Pods::parse(LOG.as_bytes()).unwrap());
    }

    #[test]
    fn a_pod_without_an_end_still_runs() {
        let text = "name,start,end\na-1,0,\nb-1,10,60\na-2,20,\n";
        let pods = Pods::parse(text.as_bytes()).unwrap();
        assert_eq!(seconds(&pods), [("a", 0.0, 60.0), ("b", 10.0, 60.0), ("a", 20.0, 60.0)]);
        assert_eq!(pods.events(1.0).len(), 3, "who still runs has not ended");
    }

    fn packed(text: &str) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        io::Write::write_all(&mut packer, text.as_bytes()).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn a_packed_log_that_is_cut_off_is_used_as_far_as_it_goes() {
        let table: String = (0..2000).map(|pod| format!("web-{pod},{pod},90000\n")).collect();
        let log = LOG.replace("\n\n", "\n");
        for (text, whole) in [(format!("name,start,end\n{table}"), false), (log, true)] {
            let bytes = packed(&text);
            let read = |length: usize| {
                let file = tempfile::NamedTempFile::new().unwrap();
                std::fs::write(file.path(), &bytes[..length]).unwrap();
                Pods::read(file.path())
            };
            let all = read(bytes.len()).unwrap();
            assert_eq!(all.cut(), None);
            // Without its checksum.
            let cut = read(bytes.len() - 8).unwrap();
            assert!(cut.cut().is_some() && cut.pods() == all.pods());
            if !whole {
                let cut = read(bytes.len() / 2).unwrap();
                assert!(all.pods().starts_with(cut.pods()) && cut.pods().len() > 500);
                assert_eq!(cut.cut(), Some(cut.pods().len() as u64 + 2));
            }
            let message = read(12).unwrap_err().to_string();
            assert_eq!(message, "it is cut off before its first line: copy it again");
        }
    }

    #[test]
    fn the_load_follows_the_pods() {
        let text = "name,start,end\na-1,0,1000\na-2,500,1000\n";
        let load = Pods::parse(text.as_bytes()).unwrap().load(1.0).unwrap();
        assert_eq!(load.seconds(), 1000.0);
        let ratio = |at: f64| load.at(at).rate_ratio;
        assert_eq!(ratio(900.0) / ratio(100.0), 2.0);
        assert_eq!(ratio(500.0) / ratio(100.0), 17.0, "two pods, one of which starts");
        assert!((load.mean(0.0, 1000.0).rate_ratio - 1.0).abs() < 1e-9);
        assert_eq!(load.at(500.0).changes_per_second, 1.0);
        for speed in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, 1e-9, 1e9] {
            assert!(Pods::parse(text.as_bytes()).unwrap().load(speed).is_err(), "{speed}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_panic(text in proptest::collection::vec(any::<u8>(), 0..300), log in any::<bool>()) {
            let text = if log { [LOG.as_bytes(), &text].concat() } else { text };
            if let Ok(pods) = Pods::parse(&*text) {
                let _ = pods.load(60.0);
            }
        }

        #[test]
        fn a_changed_byte_makes_no_panic(at in 0..LOG.len(), byte: u8) {
            let mut text = LOG.as_bytes().to_vec();
            text[at] = byte;
            if let Ok(pods) = Pods::parse(&*text) {
                let _ = pods.load(60.0);
            }
        }
    }
}
