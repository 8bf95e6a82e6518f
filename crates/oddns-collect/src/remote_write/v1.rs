//! `prometheus.WriteRequest`.

use super::fingerprint::Fingerprints;
use super::request::{RawLabels, Rows};
use super::{WriteError, WriteLimits};
use crate::protobuf::Value::Bytes;
use crate::protobuf::{Damage, Message, put_bytes};

/// Field 1 with a length: a label of a series.
const LABEL: u8 = 0x0a;

pub(super) fn read(
    mut message: Message<'_>,
    rows: &mut Rows,
    limits: &WriteLimits,
    prints: &Fingerprints,
) -> Result<(), WriteError> {
    let buffer = message.as_bytes();
    while let Some((number, value)) = message.next()? {
        match (number, value) {
            (1, Bytes(series)) => read_series(buffer, series, rows, limits, prints)?,
            (3, Bytes(_)) => rows.n_metadata += 1,
            (1 | 3, _) => return message.wrong_type().map_err(WriteError::from),
            _ => {}
        }
    }
    Ok(())
}

fn read_series(
    buffer: &[u8],
    mut series: Message<'_>,
    rows: &mut Rows,
    limits: &WriteLimits,
    prints: &Fingerprints,
) -> Result<(), WriteError> {
    // Every known sender writes the labels first and side by side.
    let labels = series.skip_run(LABEL)?;
    let mut scattered: Option<usize> = None;
    while let Some((number, value)) = series.next()? {
        match (number, value) {
            (1, Bytes(label)) => {
                let start = *scattered.get_or_insert_with(|| {
                    let start = rows.scattered.len();
                    rows.scattered.extend_from_slice(&buffer[labels.clone()]);
                    start
                });
                put_bytes(&mut rows.scattered, 1, label.as_bytes());
                scattered = Some(start);
            }
            (2, Bytes(sample)) => rows.sample(sample, limits)?,
            (3, Bytes(_)) => rows.n_exemplars += 1,
            (4, Bytes(_)) => rows.n_histograms += 1,
            (1..=4, _) => return series.wrong_type().map_err(WriteError::from),
            _ => {}
        }
    }
    let (fingerprint, labels) = match scattered {
        None => {
            let place = RawLabels::Together { start: labels.start as u32, end: labels.end as u32 };
            (prints.of(&buffer[labels]), place)
        }
        Some(start) => {
            let end = rows.scattered.len();
            let place = RawLabels::Scattered { start: start as u32, end: end as u32 };
            (prints.of(&rows.scattered[start..end]), place)
        }
    };
    rows.end_series(fingerprint, labels, limits)
}

/// The label fields of these pairs, side by side.
pub(super) fn canonical(pairs: &[(&str, &str)]) -> Vec<u8> {
    let (mut fields, mut label) = (Vec::new(), Vec::new());
    for (name, value) in pairs {
        label.clear();
        put_bytes(&mut label, 1, name.as_bytes());
        put_bytes(&mut label, 2, value.as_bytes());
        put_bytes(&mut fields, 1, &label);
    }
    fields
}

/// The pairs of label fields in a row, one more than `max_labels` at most.
pub(super) fn pairs(
    mut labels: Message<'_>,
    max_labels: usize,
) -> Result<Vec<(&str, &str)>, Damage> {
    let mut pairs = Vec::new();
    while let Some((_, value)) = labels.next()? {
        let Bytes(mut label) = value else { return labels.wrong_type() };
        let (mut name, mut text) = ("", "");
        while let Some((number, value)) = label.next()? {
            match (number, value) {
                (1, Bytes(bytes)) => name = bytes.as_text()?,
                (2, Bytes(bytes)) => text = bytes.as_text()?,
                (1 | 2, _) => return label.wrong_type(),
                _ => {}
            }
        }
        pairs.push((name, text));
        if pairs.len() > max_labels {
            break;
        }
    }
    Ok(pairs)
}
