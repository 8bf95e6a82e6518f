//! What is old goes.

use std::path::PathBuf;

use crate::history::MILLIS_PER_DAY;

/// A Parquet file of a history, for deciding whether it stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptFile {
    pub(crate) path: PathBuf,
    /// First millisecond of its day; `None` for a folder that is no day, which is left alone.
    pub(crate) midnight: Option<i64>,
    pub(crate) n_bytes: u64,
}

/// The files, given oldest first, that go: those of days that were over before `oldest`, and then
/// the oldest ones until all together have at most `max_bytes`. The newest file stays.
pub(crate) fn expired(
    files: &[KeptFile],
    oldest: Option<i64>,
    max_bytes: Option<u64>,
) -> Vec<&KeptFile> {
    let is_old = |file: &KeptFile| match (file.midnight, oldest) {
        (Some(midnight), Some(oldest)) => midnight.saturating_add(MILLIS_PER_DAY) <= oldest,
        _ => false,
    };
    let mut total: u64 = files.iter().map(|file| file.n_bytes).sum();
    let mut gone = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let is_too_much = max_bytes.is_some_and(|most| total > most) && at + 1 < files.len();
        if file.midnight.is_some() && (is_old(file) || is_too_much) {
            total -= file.n_bytes;
            gone.push(file);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Vec<KeptFile> {
        let file = |day: i64| KeptFile {
            path: format!("{day}").into(),
            midnight: Some(day * MILLIS_PER_DAY),
            n_bytes: 10,
        };
        (0..4).map(file).collect()
    }

    fn gone(oldest: Option<i64>, max_bytes: Option<u64>) -> Vec<String> {
        let files = files();
        let gone = expired(&files, oldest, max_bytes);
        gone.iter().map(|file| file.path.display().to_string()).collect()
    }

    #[test]
    fn a_day_goes_when_all_of_it_is_too_old() {
        assert_eq!(gone(Some(2 * MILLIS_PER_DAY), None), ["0", "1"]);
        assert_eq!(gone(Some(2 * MILLIS_PER_DAY - 1), None), ["0"]);
        assert_eq!(gone(None, None), [] as [&str; 0]);
    }

    #[test]
    fn the_oldest_go_until_the_rest_fits_and_the_newest_stays() {
        assert_eq!(gone(None, Some(20)), ["0", "1"]);
        assert_eq!(gone(None, Some(0)), ["0", "1", "2"]);
        assert_eq!(gone(Some(MILLIS_PER_DAY), Some(29)), ["0", "1"]);
    }

    #[test]
    fn folders_that_are_no_day_are_left_alone() {
        let mut files = files();
        files[0].midnight = None;
        assert_eq!(expired(&files, None, Some(20)).len(), 2);
    }
}
