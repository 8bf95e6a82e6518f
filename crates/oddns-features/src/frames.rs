//! Whole recordings at once.

use oddns_core::{Frame, Recording};

use crate::catalogue::schema;
use crate::extractor::{Extractor, Features};
use crate::fleet::Fleet;

/// The features of a server that is alone, as a frame with the columns of [`schema`]. Scrapes that
/// give no row (the first, repeated ones) are left out.
pub fn extract(recording: &Recording) -> Frame {
    let alone = extract_fleet(std::slice::from_ref(recording));
    alone.into_iter().next().unwrap_or_default()
}

/// The features of the servers of one fleet, one frame a recording and in their order: what a live
/// [`Fleet`] would have told of each. Servers of one instant are taken in the order of `recordings`,
/// which makes no difference.
pub fn extract_fleet(recordings: &[Recording]) -> Vec<Frame> {
    let columns = schema().columns().to_vec();
    let mut frames = vec![Frame::new(columns); recordings.len()];
    let mut extractors = vec![Extractor::default(); recordings.len()];
    let mut fleet = Fleet::default();
    let mut next = vec![0; recordings.len()];
    while let Some(at) = earliest(recordings, &next) {
        let recording = &recordings[at];
        let scrape = &recording.scrapes[next[at]];
        next[at] += 1;
        if let Features::Row(mut row) = extractors[at].push(&recording.series, scrape) {
            fleet.compare(&recording.instance, scrape.time, &mut row);
            // After a step of the clock a row may lie before the last one; a frame has no place
            // for it.
            let _ = frames[at].push(scrape.time, &row);
        }
    }
    frames
}

/// The recording whose next scrape is the earliest, the first of several; `None` at the end.
fn earliest(recordings: &[Recording], next: &[usize]) -> Option<usize> {
    let left = recordings.iter().zip(next).enumerate();
    let heads = left.filter_map(|(at, (recording, next))| {
        recording.scrapes.get(*next).map(|scrape| (scrape.time, at))
    });
    heads.min().map(|(_, at)| at)
}
