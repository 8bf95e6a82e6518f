//! Files of saved metrics, gzip or plain: exposition text with a header line
//! `# scrape <unix seconds> [instance]` before each scrape, dumps of Prometheus's storage, and
//! answers of its HTTP API.

mod dump;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use memchr::memmem;
use oddns_core::{Recording, Scrape, Timestamp};

use crate::answer::{Answer, AnswerError, Matrix};
use crate::exposition::{Limits, ParseError, Parser, Reason, looks_like_json};
use crate::transpose::Transpose;
use dump::{Dump, Judge, Verdict};

/// What a scrape's header line begins with.
const HEADER: &[u8] = b"# scrape ";

/// How much of a file is looked at to tell what it is.
const HEAD_BYTES: u64 = 512;

/// How to read saved scrapes.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayOptions {
    /// Limits of each scrape.
    pub limits: Limits,
    /// Bytes of all text, after decompression.
    pub max_bytes: u64,
    /// Bytes of one scrape.
    pub max_scrape_bytes: usize,
    /// Samples of a dump, or of answers of the HTTP API; 40 bytes of memory each.
    pub max_samples: usize,
    /// Instance of scrapes whose header names none, and of series without the label `instance`.
    pub instance: String,
    /// Time of a file that is one scrape without a header; without it such a file is an error.
    pub time: Option<Timestamp>,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            max_bytes: 8 << 30,
            max_scrape_bytes: 64 << 20,
            max_samples: 100_000_000,
            instance: "unknown".to_owned(),
            time: None,
        }
    }
}

/// Why saved scrapes could not be read. `file` is the name given by the caller.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The file does not open.
    #[error("cannot open `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Reading or decompressing failed.
    #[error("cannot read `{file}` after line {line}: it is damaged or went away")]
    Read {
        /// The file.
        file: String,
        /// Whole lines read before.
        line: usize,
        /// Why.
        source: io::Error,
    },
    /// The gzip stream has no end.
    #[error("`{file}` ends in the middle of its gzip stream, after line {line}: copy it again")]
    Truncated {
        /// The file.
        file: String,
        /// Whole lines read before.
        line: usize,
    },
    /// More than [`ReplayOptions::max_bytes`] of text.
    #[error("`{file}` has more than {limit} bytes of text: split it")]
    TooLarge {
        /// The file.
        file: String,
        /// Bytes allowed.
        limit: u64,
    },
    /// One scrape of more than [`ReplayOptions::max_scrape_bytes`].
    #[error("`{file}`, line {line}: the scrape that begins here has more than {limit} bytes")]
    ScrapeTooLarge {
        /// The file.
        file: String,
        /// Where the scrape begins.
        line: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A header line without a time.
    #[error(
        "`{file}`, line {line}: `{text}` is no scrape header: write `# scrape <unix seconds> [instance]`"
    )]
    Header {
        /// The file.
        file: String,
        /// Line of the header.
        line: usize,
        /// Its start.
        text: String,
    },
    /// Metrics without a header, and no time for them.
    #[error(
        "`{file}`, line {line}: metrics before the first `# scrape <unix seconds>` line: when were they taken?"
    )]
    NoTime {
        /// The file.
        file: String,
        /// First line with metrics.
        line: usize,
    },
    /// A scrape that does not parse.
    #[error("`{file}`, line {line}, column {column}: {reason}")]
    Parse {
        /// The file.
        file: String,
        /// Line in the file, counted from 1.
        line: usize,
        /// Byte in the line, counted from 1.
        column: usize,
        /// What is wrong there.
        reason: Reason,
    },
    /// A header line in a text whose lines carry their own times.
    #[error(
        "`{file}`, line {line}: a `# scrape` header after lines with times of their own: is this two files in one?"
    )]
    Mixed {
        /// The file.
        file: String,
        /// Line of the header.
        line: usize,
    },
    /// An answer of Prometheus's HTTP API that cannot be used.
    #[error("cannot read `{file}`")]
    Answer {
        /// The file.
        file: String,
        /// Where and why.
        source: AnswerError,
    },
    /// Answers of Prometheus's HTTP API without a sample.
    #[error("`{file}` holds no sample: Prometheus found nothing")]
    NoSample {
        /// The file.
        file: String,
    },
    /// No scrape at all.
    #[error("`{file}` holds no scrape: it is empty")]
    Empty {
        /// The file.
        file: String,
    },
}

/// Reads the file at `path`; see [`read_recordings`].
pub fn replay_file(path: &Path, options: &ReplayOptions) -> Result<Vec<Recording>, ReplayError> {
    let file =
        File::open(path).map_err(|source| ReplayError::Open { path: path.to_owned(), source })?;
    read_recordings(&path.display().to_string(), BufReader::with_capacity(1 << 18, file), options)
}

/// Reads all scrapes of `input`, gzip (also several streams in a row) or plain; `file` is its name
/// in messages.
///
/// One recording an instance, sorted by instance, its scrapes by time; of two scrapes of one
/// instance at the same millisecond the first stays. All or nothing: one damaged scrape is an
/// error. What the text is shows in itself:
///
/// - With `# scrape` headers: a header with nothing behind it is a failed scrape (`up == false`);
///   durations are NaN, since the format has none.
/// - Without a header, sample lines with different times of their own (or `{__name__="…"}` in
///   front): a dump, in seconds when it ends with `# EOF` and in milliseconds otherwise. Samples of
///   one `instance` label and one time are one scrape; `up` and `scrape_duration_seconds` become
///   fields of it. Of several jobs of one instance those with `coredns_` series count.
/// - JSON: answers of `query_range`, one or several in a row, read as a dump is.
/// - Without headers otherwise: one scrape, at [`ReplayOptions::time`], or at the one time that all
///   its lines carry.
pub fn read_recordings(
    file: &str,
    input: impl BufRead,
    options: &ReplayOptions,
) -> Result<Vec<Recording>, ReplayError> {
    let (head, input) = with_head(file, input)?;
    if head.starts_with(&[0x1f, 0x8b]) {
        let text = BufReader::with_capacity(1 << 18, MultiGzDecoder::new(input));
        let (head, text) = with_head(file, text)?;
        return read_text(file, &head, text, options);
    }
    read_text(file, &head, input, options)
}

/// The first bytes of `input`, and the whole of it.
fn with_head(file: &str, mut input: impl BufRead) -> Result<(Vec<u8>, impl BufRead), ReplayError> {
    let mut head = Vec::new();
    let read = input.by_ref().take(HEAD_BYTES).read_to_end(&mut head);
    read.map_err(|source| unreadable(file, 0, source))?;
    Ok((head.clone(), Cursor::new(head).chain(input)))
}

fn read_text(
    file: &str,
    head: &[u8],
    text: impl BufRead,
    options: &ReplayOptions,
) -> Result<Vec<Recording>, ReplayError> {
    if looks_like_json(head) {
        return read_answers(file, text, options);
    }
    let mut replay = Replay::new(file, options);
    replay.read(text)?;
    replay.finish()
}

fn read_answers(
    file: &str,
    text: impl BufRead,
    options: &ReplayOptions,
) -> Result<Vec<Recording>, ReplayError> {
    let mut text = text.take(options.max_bytes.saturating_add(1));
    let mut out = Transpose::new(&options.instance);
    let read = fill_from_answers(&mut text, &mut out, options);
    if text.limit() == 0 {
        return Err(ReplayError::TooLarge { file: file.to_owned(), limit: options.max_bytes });
    }
    match read {
        Err(AnswerError::Json(error)) if error.is_io() => {
            let line = error.line();
            return Err(unreadable(file, line, error.into()));
        }
        Err(source) => return Err(ReplayError::Answer { file: file.to_owned(), source }),
        Ok(()) => {}
    }
    let recordings = out.finish();
    if recordings.is_empty() {
        return Err(ReplayError::NoSample { file: file.to_owned() });
    }
    Ok(recordings)
}

fn fill_from_answers(
    text: &mut impl BufRead,
    out: &mut Transpose,
    options: &ReplayOptions,
) -> Result<(), AnswerError> {
    for answer in serde_json::Deserializer::from_reader(text).into_iter::<Answer<Matrix>>() {
        let matrix = answer.map_err(AnswerError::Json)?.data()?;
        matrix.fill(out, &options.limits, options.max_samples, |_| true)?;
    }
    Ok(())
}

fn unreadable(file: &str, line: usize, source: io::Error) -> ReplayError {
    let file = file.to_owned();
    match source.kind() {
        io::ErrorKind::UnexpectedEof => ReplayError::Truncated { file, line },
        _ => ReplayError::Read { file, line, source },
    }
}

/// Writes one scrape so that [`read_recordings`] reads it back. An empty `body` stands for a
/// failed scrape. Fails with `InvalidInput`, before anything is written, when `instance` has a
/// line break or blanks at an end, or `body` a line that looks like a header.
pub fn write_scrape(
    out: &mut impl Write,
    time: Timestamp,
    instance: &str,
    body: &[u8],
) -> io::Result<()> {
    if instance.contains(['\n', '\r']) || instance.trim() != instance {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "instance name of several lines"));
    }
    if body.starts_with(HEADER) || memmem::find(body, b"\n# scrape ").is_some() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "scrape with a header inside"));
    }
    let millis = time.millis();
    let sign = if millis < 0 { "-" } else { "" };
    let (seconds, fraction) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
    write!(out, "# scrape {sign}{seconds}.{fraction:03}")?;
    if !instance.is_empty() {
        write!(out, " {instance}")?;
    }
    out.write_all(b"\n")?;
    out.write_all(body)?;
    if body.last().is_some_and(|last| *last != b'\n') {
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// The scrape whose lines are being gathered.
struct Open {
    time: Timestamp,
    instance: String,
    /// Line of its header.
    line: usize,
}

struct Replay<'a> {
    file: &'a str,
    options: &'a ReplayOptions,
    recordings: BTreeMap<String, (Parser, Recording)>,
    open: Option<Open>,
    /// As long as the text may be a dump.
    judge: Option<Judge>,
    dumped: Option<Vec<Recording>>,
    body: Vec<u8>,
    n_lines: usize,
    n_bytes: u64,
}

impl<'a> Replay<'a> {
    fn new(file: &'a str, options: &'a ReplayOptions) -> Self {
        Self {
            file,
            options,
            recordings: BTreeMap::new(),
            open: None,
            judge: Some(Judge::new(options)),
            dumped: None,
            body: Vec::new(),
            n_lines: 0,
            n_bytes: 0,
        }
    }

    fn read(&mut self, mut input: impl BufRead) -> Result<(), ReplayError> {
        loop {
            let start = self.body.len();
            if self.read_line(&mut input)? == 0 {
                return self.close();
            }
            self.n_lines += 1;
            if self.body[start..].starts_with(HEADER) {
                let header = self.body.split_off(start);
                self.judge = None;
                self.close()?;
                self.open = Some(self.header(&header)?);
            } else if let Some(judge) = &mut self.judge {
                match judge.look(&self.body[start..]) {
                    Verdict::Open => {}
                    Verdict::Scrape => self.judge = None,
                    Verdict::Dump => return self.read_dump(input),
                }
            }
        }
    }

    /// Reads the rest of a text whose first lines, in the body, showed that it is a dump.
    fn read_dump(&mut self, mut input: impl BufRead) -> Result<(), ReplayError> {
        let mut dump = self.begin_dump()?;
        while self.read_line(&mut input)? > 0 {
            self.n_lines += 1;
            if self.body.starts_with(HEADER) {
                return Err(ReplayError::Mixed { file: self.name(), line: self.n_lines });
            }
            dump.line(&self.body).map_err(|error| self.parse_error(error, 0))?;
            self.body.clear();
        }
        self.end_dump(dump)
    }

    fn begin_dump(&mut self) -> Result<Dump, ReplayError> {
        let mut dump = Dump::new(self.options);
        for line in std::mem::take(&mut self.body).split_inclusive(|byte| *byte == b'\n') {
            dump.line(line).map_err(|error| self.parse_error(error, 0))?;
        }
        Ok(dump)
    }

    fn end_dump(&mut self, dump: Dump) -> Result<(), ReplayError> {
        self.dumped = Some(dump.finish().map_err(|error| self.parse_error(error, 0))?);
        Ok(())
    }

    /// Appends the next line to the body; how many bytes it has, 0 at the end.
    fn read_line(&mut self, input: &mut impl BufRead) -> Result<usize, ReplayError> {
        let room = self.options.max_scrape_bytes.saturating_sub(self.body.len()) as u64;
        let left = self.options.max_bytes - self.n_bytes;
        let n_read = input
            .by_ref()
            .take(room.min(left) + 1)
            .read_until(b'\n', &mut self.body)
            .map_err(|source| self.read_error(source))?;
        self.n_bytes += n_read as u64;
        if self.n_bytes > self.options.max_bytes {
            return Err(ReplayError::TooLarge { file: self.name(), limit: self.options.max_bytes });
        }
        if self.body.len() > self.options.max_scrape_bytes {
            return Err(ReplayError::ScrapeTooLarge {
                file: self.name(),
                line: self.open.as_ref().map_or(1, |open| open.line),
                limit: self.options.max_scrape_bytes,
            });
        }
        Ok(n_read)
    }

    fn read_error(&self, source: io::Error) -> ReplayError {
        unreadable(self.file, self.n_lines, source)
    }

    fn header(&self, line: &[u8]) -> Result<Open, ReplayError> {
        let text = String::from_utf8_lossy(line);
        let rest = text[HEADER.len()..].trim();
        let (seconds, instance) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        let instance = match instance.trim() {
            "" => self.options.instance.clone(),
            name => name.to_owned(),
        };
        match seconds.parse().ok().and_then(Timestamp::from_unix_seconds) {
            Some(time) => Ok(Open { time, instance, line: self.n_lines }),
            None => Err(ReplayError::Header {
                file: self.name(),
                line: self.n_lines,
                text: text.trim_end().chars().take(80).collect(),
            }),
        }
    }

    /// Ends the scrape whose lines were gathered.
    fn close(&mut self) -> Result<(), ReplayError> {
        let has_one_time = self.judge.as_ref().is_some_and(Judge::has_seen_one_time);
        if has_one_time && self.options.time.is_none() {
            let dump = self.begin_dump()?;
            return self.end_dump(dump);
        }
        let body = std::mem::take(&mut self.body);
        match self.open.take() {
            Some(open) => self.add(open, &body),
            None => self.close_headless(&body),
        }
    }

    /// Text before the first header: comments are let pass; metrics are one scrape, if their time
    /// is known.
    fn close_headless(&mut self, body: &[u8]) -> Result<(), ReplayError> {
        let says_something = |line: &[u8]| !line.trim_ascii().is_empty() && !line.starts_with(b"#");
        let Some(first) = body.split(|byte| *byte == b'\n').position(says_something) else {
            return Ok(());
        };
        let Some(time) = self.options.time else {
            // What is no exposition at all is better called so than asked for its time.
            Parser::new(self.options.limits)
                .parse(body, &mut Default::default(), &mut Vec::new())
                .map_err(|error| self.parse_error(error, 0))?;
            return Err(ReplayError::NoTime { file: self.name(), line: first + 1 });
        };
        self.add(Open { time, instance: self.options.instance.clone(), line: 0 }, body)
    }

    fn add(&mut self, open: Open, body: &[u8]) -> Result<(), ReplayError> {
        let limits = self.options.limits;
        let (parser, recording) = self.recordings.entry(open.instance).or_insert_with_key(|name| {
            (Parser::new(limits), Recording { instance: name.clone(), ..Recording::default() })
        });
        let mut samples = Vec::new();
        let up = !body.trim_ascii().is_empty();
        if up && let Err(error) = parser.parse(body, &mut recording.series, &mut samples) {
            return Err(self.parse_error(error, open.line));
        }
        let duration_seconds = f64::NAN;
        recording.scrapes.push(Scrape { time: open.time, up, duration_seconds, samples });
        Ok(())
    }

    fn parse_error(&self, error: ParseError, lines_before: usize) -> ReplayError {
        ReplayError::Parse {
            file: self.name(),
            line: lines_before + error.line,
            column: error.column,
            reason: error.reason,
        }
    }

    fn finish(self) -> Result<Vec<Recording>, ReplayError> {
        if let Some(dumped) = self.dumped.filter(|dumped| !dumped.is_empty()) {
            return Ok(dumped);
        }
        if self.recordings.is_empty() {
            return Err(ReplayError::Empty { file: self.file.to_owned() });
        }
        let recordings = self.recordings.into_values().map(|(_, mut recording)| {
            recording.scrapes.sort_by_key(|scrape| scrape.time);
            recording.scrapes.dedup_by_key(|scrape| scrape.time);
            recording
        });
        Ok(recordings.collect())
    }

    fn name(&self) -> String {
        self.file.to_owned()
    }
}

#[cfg(test)]
mod tests;
