#![doc = include_str!("../README.md")]

mod memory;
mod scratch;

use std::io::{Cursor, Write};

use oddns::Detector;
use oddns_collect::{
    Format, Limits, ParseError, Parser, PrometheusUrl, ReadFormat, ReadLimits, RemoteWrite,
    ReplayOptions, Target, WriteBatch, WriteLimits, WriteVersion, check_remote_read,
    parse_duration, read_recordings,
};
use oddns_core::{Labels, Sample, SeriesTable, Timestamp};
use oddns_store::{Dataset, HistoryFilter};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

pub use memory::bounded;
use scratch::Scratch;

/// Exposition text, read by a parser that has seen it before and by one that has not.
pub fn exposition_text(bytes: &[u8]) {
    agree(Format::Text, bytes);
}

/// OpenMetrics, read by a parser that has seen it before and by one that has not.
pub fn openmetrics(bytes: &[u8]) {
    agree(Format::OpenMetrics, bytes);
}

/// The protobuf exposition.
pub fn exposition_protobuf(bytes: &[u8]) {
    let (mut table, mut samples) = (SeriesTable::default(), Vec::new());
    let mut parser = Parser::new(Limits::default());
    if let Ok(summary) = parser.parse_protobuf(bytes, &mut table, &mut samples) {
        assert_eq!(summary.samples, samples.len());
    }
}

/// Two scrapes in a row, a line `# scrape` between them: what is remembered of the first must not
/// change what the second says.
pub fn two_scrapes(bytes: &[u8]) {
    const BETWEEN: &[u8] = b"# scrape\n";
    let split = bytes.windows(BETWEEN.len()).position(|window| window == BETWEEN);
    let Some(at) = split else { return };
    let (first, second) = (&bytes[..at], &bytes[at + BETWEEN.len()..]);
    let (mut parser, mut table) = (Parser::new(Limits::default()), SeriesTable::default());
    let _ = read(Format::Text, first, &mut parser, &mut table);
    let known = read(Format::Text, second, &mut parser, &mut table);
    assert_eq!(known, read_fresh(Format::Text, second));
}

type Read = Result<Vec<(String, u64)>, ParseError>;

fn agree(format: Format, bytes: &[u8]) {
    let (mut parser, mut table) = (Parser::new(Limits::default()), SeriesTable::default());
    let first = read(format, bytes, &mut parser, &mut table);
    assert_eq!(first, read(format, bytes, &mut parser, &mut table));
}

fn read_fresh(format: Format, bytes: &[u8]) -> Read {
    read(format, bytes, &mut Parser::new(Limits::default()), &mut SeriesTable::default())
}

fn read(format: Format, bytes: &[u8], parser: &mut Parser, table: &mut SeriesTable) -> Read {
    let mut samples = Vec::new();
    let summary = parser.parse_as(format, bytes, table, &mut samples)?;
    assert_eq!(summary.samples, samples.len());
    let named = |sample: &Sample| {
        let key = table.get(sample.series).map(ToString::to_string);
        (key.unwrap_or_default(), sample.value.to_bits())
    };
    Ok(samples.iter().map(named).collect())
}

/// Saved metrics of any kind: scrapes behind header lines, dumps of Prometheus's storage, answers
/// of its HTTP API, and all of them in gzip.
pub fn saved_metrics(bytes: &[u8]) {
    let options = ReplayOptions {
        max_bytes: 1 << 20,
        max_scrape_bytes: 1 << 20,
        max_samples: 200_000,
        ..ReplayOptions::default()
    };
    let _ = read_recordings("input", Cursor::new(bytes), &options);
}

/// A remote-write request of version 1.0; one that is no snappy block is tried as a message too.
pub fn remote_write_v1(bytes: &[u8]) {
    remote_write(WriteVersion::V1, bytes);
}

/// The same of version 2.0.
pub fn remote_write_v2(bytes: &[u8]) {
    remote_write(WriteVersion::V2, bytes);
}

/// Sent twice, a request gives no sample the second time.
fn remote_write(version: WriteVersion, bytes: &[u8]) {
    let now = Timestamp::from_millis(0);
    let max_past = std::time::Duration::MAX;
    let mut remote = RemoteWrite::new(WriteLimits { max_past, ..WriteLimits::default() });
    let mut batch = WriteBatch::default();
    let packed = snap::raw::Encoder::new().compress_vec(bytes).unwrap_or_default();
    for body in [bytes, &packed] {
        if remote.read(version, body, now, &mut batch).is_err() {
            continue;
        }
        let first = batch.counts;
        for sample in &batch.samples {
            let _ = remote.directory().key(sample.series);
        }
        remote.read(version, body, now, &mut batch).expect("it was sound before");
        assert_eq!((batch.counts.taken, batch.counts.series), (0, first.series));
    }
}

/// Answers to a remote read: the first byte tells samples from chunks; what is behind it is an answer,
/// and the message of one.
pub fn remote_read(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    let limits = ReadLimits { max_bytes: 16 << 20, max_samples: 200_000 };
    let mut framed = Vec::new();
    let format = match kind & 1 {
        0 => {
            framed = snap::raw::Encoder::new().compress_vec(body).unwrap_or_default();
            ReadFormat::Samples
        }
        _ => {
            let mut length = body.len();
            while length >= 0x80 {
                framed.push(length as u8 | 0x80);
                length >>= 7;
            }
            framed.push(length as u8);
            framed.extend(crc32c::crc32c(body).to_be_bytes());
            framed.extend_from_slice(body);
            ReadFormat::Chunks
        }
    };
    let _ = check_remote_read(format, body, limits);
    let _ = check_remote_read(format, &framed, limits);
}

/// Short texts of the command line and the configuration.
pub fn words(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let _ = parse_duration(text);
    let _ = text.parse::<Target>();
    let _ = text.parse::<PrometheusUrl>();
    let _ = text.parse::<Timestamp>();
    if let Ok(labels) = text.parse::<Labels>() {
        assert_eq!(labels.to_string().parse::<Labels>().ok(), Some(labels));
    }
}

/// A configuration file of the service.
pub fn config_yaml(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let _ = oddns_serve::check_config(text, std::path::Path::new(""));
}

/// A table of features in CSV.
pub fn frame_csv(bytes: &[u8]) {
    let file = Scratch::new("frame.csv", bytes);
    let _ = oddns_store::read_frame(file.path());
}

/// A table of scores in CSV.
pub fn scores_csv(bytes: &[u8]) {
    let file = Scratch::new("scores.csv", bytes);
    let _ = oddns_store::read_scores(file.path());
}

/// The labels of a data set.
pub fn labels_csv(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let _ = oddns_store::read_labels_text("labels.csv", text);
}

/// The description of a data set.
pub fn dataset_json(bytes: &[u8]) {
    let file = Scratch::new("dataset.json", bytes);
    let _ = Dataset::read(file.folder());
}

/// What kind of data a file holds.
pub fn sniff(bytes: &[u8]) {
    let file = Scratch::new("data", bytes);
    let _ = oddns_store::sniff(file.path());
}

/// A part of the metric history in Parquet. Panics of the library count only where they escape us.
pub fn history_parquet(bytes: &[u8]) {
    let bytes = bytes.to_vec();
    let _ = oddns_store::read_history_bytes("input.parquet", bytes, &HistoryFilter::default());
}

/// A segment of the write-ahead log of a history.
pub fn history_log(bytes: &[u8]) {
    let segment = Scratch::new("_wal/0000000000.log", bytes);
    let root = segment.folder();
    let _ = oddns_store::read_history(root, &HistoryFilter::default());
    let _ = oddns_store::validate(root);
}

/// A whole `.keras` file.
pub fn keras_file(bytes: &[u8]) {
    let _ = oddns_model::decode(bytes);
    let _ = oddns_model::decode_graph(bytes);
    let _ = Detector::decode(bytes);
}

/// The description of the layers in a `.keras` file.
pub fn keras_config(bytes: &[u8]) {
    let file = keras(&[("config.json", bytes)]);
    let _ = oddns_model::decode(&file);
    let _ = oddns_model::decode_graph(&file);
}

/// The weights in a `.keras` file, which are HDF5.
pub fn keras_weights(bytes: &[u8]) {
    const CONFIG: &[u8] = include_bytes!("../corpus/keras_config/dense.json");
    let _ =
        oddns_model::decode_graph(&keras(&[("config.json", CONFIG), ("model.weights.h5", bytes)]));
}

/// What oddns itself keeps in a `.keras` file.
pub fn keras_manifest(bytes: &[u8]) {
    let _ = Detector::decode(&keras(&[("oddns.json", bytes)]));
}

/// A network in ONNX; what was read is written and read again.
pub fn onnx_file(bytes: &[u8]) {
    if let Ok(graph) = oddns_model::decode_onnx(bytes) {
        let _ = oddns_model::decode_onnx(&oddns_model::encode_onnx(&graph));
    }
}

/// A `.keras` file of these entries; random bytes would never have the right checksums.
fn keras(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in entries {
        let written = zip.start_file(*name, options).map(|()| zip.write_all(content));
        assert!(matches!(written, Ok(Ok(()))), "memory takes all of it");
    }
    zip.finish().map(Cursor::into_inner).unwrap_or_default()
}
