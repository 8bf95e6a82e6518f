//! Joining small parts of a day into larger ones.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::StoreError;
use crate::compaction::{NewPart, Surplus, part_names};
use crate::part::PartWriter;
use crate::walk::{Rows, SeriesWalk};

/// So many parts of about one size become one.
const FAN_IN: usize = 8;
/// Parts below this size count as equally small.
const SMALL_BYTES: u64 = 64 << 10;
/// Parts are not joined into larger ones than this.
const MAX_BYTES: u64 = 1 << 30;

/// Which of a day's parts, from which one on, are to be joined; `sizes` in bytes, in the order of
/// the parts. Only the last ones are, so that the first of several values stays the first. When
/// nothing comes any more (`is_quiet`), all are, but for what would be too large.
pub(crate) fn first_to_join(sizes: &[u64], is_quiet: bool) -> Option<usize> {
    let tier = |size: u64| (size / SMALL_BYTES).checked_ilog(FAN_IN as u64).map_or(0, |t| t + 1);
    for most in 0..=tier(MAX_BYTES) {
        let from = sizes.iter().rposition(|size| tier(*size) > most).map_or(0, |at| at + 1);
        if sizes.len() - from >= FAN_IN {
            return Some(from.max(fitting(sizes))).filter(|from| sizes.len() - from >= FAN_IN);
        }
    }
    is_quiet.then(|| fitting(sizes)).filter(|from| sizes.len() - from >= 2)
}

/// From where on the parts together are not too large.
fn fitting(sizes: &[u64]) -> usize {
    let mut total = 0;
    let too_large = sizes.iter().rposition(|size| {
        total += size;
        total > MAX_BYTES
    });
    too_large.map_or(0, |at| at + 1)
}

/// Writes the rows of `parts`, which lie in `folder` of the history `root`, as one part with number
/// `number`, on disk for good and under a temporary name. Of samples of one series at one time that
/// of the first part stays; says what was left out. Each part must be sorted as the
/// format says; otherwise it is an error.
pub(crate) fn join(
    root: &Path,
    folder: &Path,
    parts: &[PathBuf],
    number: u64,
) -> Result<(NewPart, Surplus), StoreError> {
    let mut walk = SeriesWalk::open(parts, Rows::All)?;
    let names = part_names(folder, number);
    let path = root.join(&names.0);
    let file = File::create(&path).map_err(StoreError::write(&path))?;
    let mut part = PartWriter::new(&path, file)?;
    while let Some((series, samples)) = walk.next()? {
        part.add(series.each_ref().map(String::as_str), samples)?;
    }
    part.finish()?.sync_all().map_err(StoreError::write(&path))?;
    Ok((NewPart { names }, walk.surplus))
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: u64 = 1 << 10;

    #[test]
    fn eight_of_a_size_are_joined_and_larger_ones_before_them_left() {
        assert_eq!(first_to_join(&[K; 7], false), None);
        assert_eq!(first_to_join(&[K; 8], false), Some(0));
        let mut sizes = vec![800 * K];
        sizes.extend([K; 8]);
        assert_eq!(first_to_join(&sizes, false), Some(1));
    }

    #[test]
    fn a_quiet_day_becomes_one_part() {
        assert_eq!(first_to_join(&[900 * K, K], true), Some(0));
        assert_eq!(first_to_join(&[900 * K, K], false), None);
        assert_eq!(first_to_join(&[K], true), None);
        assert_eq!(first_to_join(&[], true), None);
        assert_eq!(first_to_join(&[MAX_BYTES, K, K], true), Some(1));
    }

    #[test]
    fn joining_ends() {
        let mut sizes: Vec<u64> = Vec::new();
        let mut n_joins = 0;
        for _ in 0..1000 {
            sizes.push(100 * K);
            while let Some(from) = first_to_join(&sizes, false) {
                let total = sizes.drain(from..).sum();
                sizes.push(total);
                n_joins += 1;
            }
            assert!(sizes.len() < 4 * FAN_IN, "{sizes:?}");
        }
        assert!(n_joins < 200, "{n_joins}");
    }
}
