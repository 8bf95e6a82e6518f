//! Old normal rows that go with a detector: what an update learns again, so that it does not forget.
//!
//! Few and unlike each other: a month's end and a nightly batch are in it beside the usual hour.

use oddns_core::{Frame, Timestamp};
use oddns_features::Scaler;

use crate::column::Column;
use crate::detector::DetectorError;
use crate::stream::stretches;
use crate::training::model;

/// Windows that are kept, …
const MOST_KEPT: usize = 24;
/// … and of these those that are chosen for being unlike all others; the rest is spread over time.
const MOST_UNLIKE: usize = 16;
/// Numbers that are kept, of wide tables fewer windows: 2 MiB.
const MOST_NUMBERS: usize = 1 << 19;
/// Windows that are looked at when some are chosen.
const MOST_CANDIDATES: usize = 384;
/// Of windows that nobody has judged, one in so many is left out for being the furthest from all:
/// unlabelled trouble hides there.
const FURTHEST_PART: usize = 20;
/// Older windows are let go: a year and a month, so that a year's end is known a year later.
const MOST_AGE_SECONDS: f64 = 400.0 * 86_400.0;
/// What the bytes begin with: name and version of the format.
const MAGIC: [u8; 16] = *b"oddns kept 0001\n";
/// Most rows of a window in a file, and most columns: more is damage.
const MOST_ROWS: usize = 1 << 16;

/// Rows in a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Window {
    pub(crate) times: Vec<Timestamp>,
    /// In the features' units, NaN where missing; row-major.
    pub(crate) values: Vec<f32>,
}

/// The windows of a detector, oldest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Kept(pub(crate) Vec<Window>);

/// All windows of `n_rows` rows of frames, at most some hundreds of them, evenly spread.
pub(crate) fn windows(frames: &[&Frame], interval_seconds: f32, n_rows: usize) -> Vec<Window> {
    let mut places = Vec::new();
    for (at, frame) in frames.iter().enumerate() {
        for rows in stretches(frame, f64::from(interval_seconds)) {
            let starts = rows.clone().step_by(n_rows.max(1));
            let whole = starts.filter(|from| from + n_rows <= rows.end);
            places.extend(whole.map(|from| (at, from)));
        }
    }
    let every = places.len().div_ceil(MOST_CANDIDATES).max(1);
    let window = |(at, from): &(usize, usize)| {
        let rows = *from..from + n_rows;
        let values = rows.clone().flat_map(|row| frames[*at].row(row).to_vec()).collect();
        Window { times: frames[*at].timestamps()[rows].to_vec(), values }
    };
    places.iter().step_by(every).map(window).collect()
}

impl Kept {
    /// Chooses among new windows that nobody has judged.
    pub(crate) fn first(new: Vec<Window>, scaler: &Scaler, columns: &[Column]) -> Self {
        let places = places(&new, scaler, columns);
        let mut by_norm: Vec<usize> = (0..new.len()).collect();
        let norm = |at: &usize| places[*at].iter().map(|value| value * value).sum::<f32>();
        by_norm.sort_by(|a, b| norm(a).total_cmp(&norm(b)));
        by_norm.truncate(new.len() - new.len() / FURTHEST_PART);
        by_norm.sort_unstable();
        let near = by_norm.into_iter().map(|at| new[at].clone()).collect();
        Self::default().and(near, scaler, columns)
    }

    /// Chooses among its own windows and new ones that were found normal.
    pub(crate) fn and(&self, new: Vec<Window>, scaler: &Scaler, columns: &[Column]) -> Self {
        let mut candidates: Vec<Window> = self.0.iter().cloned().chain(new).collect();
        candidates.sort_by_key(|window| window.times.first().copied());
        candidates.dedup_by(|a, b| a.times == b.times && same(&a.values, &b.values));
        let newest = candidates.iter().filter_map(|window| window.times.last()).max().copied();
        candidates.retain(|window| match (window.times.last(), newest) {
            (Some(last), Some(newest)) => newest.seconds_since(*last) <= MOST_AGE_SECONDS,
            _ => false,
        });
        let size = candidates.first().map_or(1, |window| window.values.len().max(1));
        let most = (MOST_NUMBERS / size).clamp(1, MOST_KEPT);
        let chosen = chosen(&places(&candidates, scaler, columns), most);
        Self(chosen.into_iter().map(|at| candidates[at].clone()).collect())
    }

    /// Each window as a frame.
    pub(crate) fn frames(&self, columns: &[Column]) -> Vec<Frame> {
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let frame = |window: &Window| {
            let mut frame = Frame::new(names.clone());
            for (time, row) in window.times.iter().zip(window.values.chunks(names.len().max(1))) {
                // A row that does not fit was refused when the window was read.
                let _ = frame.push(*time, row);
            }
            frame
        };
        self.0.iter().map(frame).collect()
    }

    /// As bytes: column by column, runs of the same number as their length and the number.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend((self.0.len() as u32).to_le_bytes());
        for Window { times, values } in &self.0 {
            let width = values.len() / times.len().max(1);
            bytes.extend((times.len() as u32).to_le_bytes());
            bytes.extend((width as u32).to_le_bytes());
            times.iter().for_each(|time| bytes.extend(time.millis().to_le_bytes()));
            for column in 0..width {
                let values = values.iter().skip(column).step_by(width);
                write_runs(values.map(|value| value.to_bits()), &mut bytes);
            }
        }
        bytes
    }

    /// What [`Kept::encode`] wrote, for so many columns. Any bytes are fine as input.
    pub(crate) fn decode(bytes: &[u8], width: usize) -> Result<Self, DetectorError> {
        Reader(bytes).kept(width).ok_or_else(|| DetectorError::Manifest {
            reason: "the rows that are kept for updates cannot be read".to_owned(),
        })
    }
}

fn same(a: &[f32], b: &[f32]) -> bool {
    a.iter().map(|value| value.to_bits()).eq(b.iter().map(|value| value.to_bits()))
}

fn places(windows: &[Window], scaler: &Scaler, columns: &[Column]) -> Vec<Vec<f32>> {
    windows.iter().map(|window| place(window, scaler, columns)).collect()
}

/// Where a window lies: the mean of each feature, standardised; 0 for one that is missing.
fn place(window: &Window, scaler: &Scaler, columns: &[Column]) -> Vec<f32> {
    let width = columns.len();
    let (mut sums, mut n, mut row) = (vec![0.0; width], vec![0.0_f32; width], vec![0.0; width]);
    for values in window.values.chunks_exact(width.max(1)) {
        model(values, columns, &mut row);
        for (at, value) in row.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
            sums[at] += scaler.standardise(at, *value);
            n[at] += 1.0;
        }
    }
    sums.iter().zip(&n).map(|(sum, n)| sum / n.max(1.0)).collect()
}

/// Which windows are kept, `most` of them, by where they lie, in order.
fn chosen(places: &[Vec<f32>], most: usize) -> Vec<usize> {
    let mut found = spread(places.len(), (most * (MOST_KEPT - MOST_UNLIKE)).div_ceil(MOST_KEPT));
    let nearest = |place: &Vec<f32>| {
        found.iter().map(|other| apart(place, &places[*other])).fold(f32::MAX, f32::min)
    };
    let mut distance: Vec<f32> = places.iter().map(nearest).collect();
    // Farthest first (Gonzalez 1985).
    while found.len() < most.min(places.len()) {
        let furthest = (0..places.len()).max_by(|a, b| distance[*a].total_cmp(&distance[*b]));
        let Some(next) = furthest else { break };
        found.push(next);
        for (known, place) in distance.iter_mut().zip(places) {
            *known = known.min(apart(place, &places[next]));
        }
        distance[next] = -1.0;
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Evenly spread ones of so many, the last among them.
fn spread(of: usize, n: usize) -> Vec<usize> {
    let n = n.min(of);
    (1..=n).map(|at| at * of / n - 1).collect()
}

fn apart(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

fn write_runs(values: impl Iterator<Item = u32>, bytes: &mut Vec<u8>) {
    let mut run: Option<(u32, u8)> = None;
    let mut write = |run: (u32, u8)| {
        bytes.push(run.1);
        bytes.extend(run.0.to_le_bytes());
    };
    for value in values {
        match &mut run {
            Some((known, n)) if *known == value && *n < u8::MAX => *n += 1,
            _ => {
                run.into_iter().for_each(&mut write);
                run = Some((value, 1));
            }
        }
    }
    run.into_iter().for_each(&mut write);
}

/// Bytes that are being read; `None` where they are not what was written.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn kept(mut self, width: usize) -> Option<Kept> {
        if self.take::<16>()? != MAGIC {
            return None;
        }
        let n = u32::from_le_bytes(self.take()?) as usize;
        if n > MOST_KEPT {
            return None;
        }
        let windows = (0..n).map(|_| self.window(width)).collect::<Option<Vec<Window>>>()?;
        self.0.is_empty().then_some(Kept(windows))
    }

    fn window(&mut self, width: usize) -> Option<Window> {
        let n_rows = u32::from_le_bytes(self.take()?) as usize;
        let found = u32::from_le_bytes(self.take()?) as usize;
        // What is not there is not reserved.
        let n_values = n_rows.checked_mul(width)?;
        // A run of five bytes says 255 numbers at most.
        let most = self.0.len().saturating_mul(usize::from(u8::MAX)) / 5;
        if found != width || n_rows > MOST_ROWS || n_values > most {
            return None;
        }
        let time = |reader: &mut Self| {
            reader.take().map(|bytes| Timestamp::from_millis(i64::from_le_bytes(bytes)))
        };
        let times = (0..n_rows).map(|_| time(self)).collect::<Option<Vec<Timestamp>>>()?;
        let mut values = vec![f32::NAN; n_values];
        for column in 0..width {
            self.runs(values.iter_mut().skip(column).step_by(width))?;
        }
        let rises = times.is_sorted_by(|a, b| a < b);
        rises.then_some(Window { times, values })
    }

    fn runs<'v>(&mut self, mut values: impl ExactSizeIterator<Item = &'v mut f32>) -> Option<()> {
        while values.len() > 0 {
            let [n] = self.take()?;
            let value = f32::from_bits(u32::from_le_bytes(self.take()?));
            if n == 0 || usize::from(n) > values.len() {
                return None;
            }
            (0..n).for_each(|_| {
                if let Some(place) = values.next() {
                    *place = if value.is_finite() { value } else { f32::NAN };
                }
            });
        }
        Some(())
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: i64, value: f32) -> Window {
        let times = (0..4).map(|row| Timestamp::from_millis(1000 * (from + row))).collect();
        Window { times, values: vec![value, 1.0, value, f32::NAN, value, 2.0, value + 1.0, 2.0] }
    }

    #[test]
    fn saved_is_loaded_and_damage_is_refused() {
        let kept = Kept(vec![window(0, 1.0), window(50, 7.0)]);
        let bytes = kept.encode();
        let loaded = Kept::decode(&bytes, 2).unwrap();
        assert_eq!(loaded.encode(), bytes);
        assert!(Kept::decode(&bytes, 3).is_err());
        for at in 0..bytes.len() {
            assert!(Kept::decode(&bytes[..at], 2).is_err());
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x80;
            // Another number is another number; nothing else is to happen.
            let _ = Kept::decode(&damaged, 2);
        }
    }

    #[test]
    fn what_is_rare_is_kept() {
        let usual = |at: usize| vec![(at % 10) as f32 / 10.0, 0.0];
        let mut places: Vec<Vec<f32>> = (0..300).map(usual).collect();
        for at in [40, 140, 240] {
            places[at] = vec![0.0, 4.0];
        }
        let chosen = chosen(&places, MOST_KEPT);
        assert!((20..=MOST_KEPT).contains(&chosen.len()), "{chosen:?}");
        assert!(chosen.iter().any(|at| [40, 140, 240].contains(at)), "{chosen:?}");
        assert!(chosen.contains(&299), "the newest");
    }
}
