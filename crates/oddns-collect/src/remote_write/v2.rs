//! `io.prometheus.write.v2.Request`.

use std::ops::Range;

use super::fingerprint::Fingerprints;
use super::request::{RawLabels, Request, Rows};
use super::{WriteError, WriteLimits};
use crate::protobuf::Value::{Bytes, Varint};
use crate::protobuf::{Damage, Message};

pub(super) fn read(
    message: Message<'_>,
    rows: &mut Rows,
    limits: &WriteLimits,
    prints: &Fingerprints,
) -> Result<(), WriteError> {
    // Texts first, for a series may stand before those it speaks of.
    read_symbols(message, rows, limits, prints)?;
    let mut fields = message;
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (5, Bytes(series)) => read_series(series, rows, limits, prints)?,
            (5, _) => return fields.wrong_type().map_err(WriteError::from),
            _ => {}
        }
    }
    Ok(())
}

fn read_symbols(
    mut message: Message<'_>,
    rows: &mut Rows,
    limits: &WriteLimits,
    prints: &Fingerprints,
) -> Result<(), WriteError> {
    while let Some((number, value)) = message.next()? {
        match (number, value) {
            (4, Bytes(symbol)) => {
                if rows.symbols.len() == limits.max_symbols {
                    let limit = limits.max_symbols;
                    return Err(WriteError::TooLarge { what: "symbols", limit });
                }
                let Range { start, end } = symbol.range();
                rows.symbols.push(start as u32..end as u32);
                rows.symbol_prints.push(prints.of(symbol.as_bytes()));
            }
            (4, _) => return message.wrong_type().map_err(WriteError::from),
            _ => {}
        }
    }
    Ok(())
}

fn read_series(
    mut series: Message<'_>,
    rows: &mut Rows,
    limits: &WriteLimits,
    prints: &Fingerprints,
) -> Result<(), WriteError> {
    let start = rows.references.len();
    let mut n_samples = 0;
    while let Some((number, value)) = series.next()? {
        match (number, value) {
            (1, Bytes(packed)) => read_references(packed, start, rows, limits)?,
            (1, Varint(reference)) => push_reference(reference, start, rows, limits, &series)?,
            (2, Bytes(sample)) => {
                rows.sample(sample, limits)?;
                n_samples += 1;
            }
            (3, Bytes(_)) => rows.n_histograms += 1,
            (4, Bytes(_)) => rows.n_exemplars += 1,
            (5, Bytes(_)) => rows.n_metadata += 1,
            (1..=5, _) => return series.wrong_type().map_err(WriteError::from),
            _ => {}
        }
    }
    if n_samples == 0 {
        rows.references.truncate(start);
        return Ok(());
    }
    let end = rows.references.len();
    if (end - start) % 2 == 1 {
        let what = "the series before has a label name without a value";
        return Err(WriteError::Damaged { at: series.range().end, what });
    }
    let members = rows.references[start..].iter().map(|at| rows.symbol_prints[*at as usize]);
    let fingerprint = prints.joined(members);
    let labels = RawLabels::Referenced { start: start as u32, end: end as u32 };
    rows.end_series(fingerprint, labels, limits)
}

fn read_references(
    mut packed: Message<'_>,
    start: usize,
    rows: &mut Rows,
    limits: &WriteLimits,
) -> Result<(), WriteError> {
    while !packed.is_empty() {
        let reference = packed.varint()?;
        push_reference(reference, start, rows, limits, &packed)?;
    }
    Ok(())
}

#[inline]
fn push_reference(
    reference: u64,
    start: usize,
    rows: &mut Rows,
    limits: &WriteLimits,
    place: &Message<'_>,
) -> Result<(), WriteError> {
    if reference >= rows.symbols.len() as u64 {
        let what = "a label is a symbol that the request does not have";
        return Err(WriteError::Damaged { at: place.range().start, what });
    }
    // What is beyond is refused later, for this series alone.
    if rows.references.len() - start <= 2 * limits.labels.max_labels + 1 {
        rows.references.push(reference as u32);
    }
    Ok(())
}

/// The pairs behind `references`, one more than `max_labels` at most.
pub(super) fn pairs(
    request: &Request,
    references: Range<usize>,
    max_labels: usize,
) -> Result<Vec<(&str, &str)>, Damage> {
    let rows = &request.rows;
    let text = |reference: u32| {
        let range = rows.symbols.get(reference as usize).cloned().unwrap_or_default();
        let bytes = request.bytes.get(range.start as usize..range.end as usize).unwrap_or_default();
        str::from_utf8(bytes).map_err(|error| Damage {
            at: range.start as usize + error.valid_up_to(),
            what: "not valid UTF-8",
        })
    };
    let references = rows.references.get(references).unwrap_or_default();
    let pairs = references.chunks_exact(2).take(max_labels + 1);
    pairs.map(|pair| Ok((text(pair[0])?, text(pair[1])?))).collect()
}
