//! From the past of servers to a model that knows them, and to streams that have judged it.

use std::ops::ControlFlow;
use std::sync::Arc;

use oddns::{Detector, DetectorError, Follower, History, Progress};
use oddns_core::Frame;

/// Servers that a model is calibrated by: those with the most rows.
const MOST_SERVERS: usize = 16;
/// Rows of all of them together, the newest ones: of more, nothing comes but the network from
/// elsewhere.
const MOST_ROWS: usize = 8192;
/// Servers that have streams before they take over, tens of KiB each.
const MOST_STREAMS: usize = 256;

/// What may be interrupted between two pieces of work.
pub(super) type Rest<'a> = &'a dyn Fn() -> ControlFlow<()>;

/// `base` at a site with this past. Rows that it alarms after a first look are left out of a second
/// one, unless they are a third of all; `None` of a past without a window.
///
/// # Errors
/// Rows of another schema, and when `rest` says to end.
pub(super) fn calibrate(
    base: &Detector,
    past: &[(String, Frame)],
    rest: Rest<'_>,
) -> Result<Option<Detector>, DetectorError> {
    let chosen = chosen(past);
    let frames: Vec<&Frame> = chosen.iter().map(|(_, frame)| frame).collect();
    let Some(first) = settled(base.calibrate(&frames))? else { return Ok(None) };
    let first = Arc::new(first);
    let usual = chosen.iter().map(|(name, frame)| usual(&first, name, frame, rest));
    let usual = usual.collect::<Result<Vec<_>, _>>()?;
    let n_rows = |frames: &[&Frame]| frames.iter().map(|frame| frame.len()).sum::<usize>();
    let usual: Vec<&Frame> = usual.iter().filter(|frame| !frame.is_empty()).collect();
    let second = if n_rows(&usual) * 3 < n_rows(&frames) * 2 {
        None
    } else {
        settled(base.calibrate(&usual))?
    };
    Ok(Some(second.unwrap_or_else(|| Detector::clone(&first))))
}

fn settled(found: Result<Detector, DetectorError>) -> Result<Option<Detector>, DetectorError> {
    match found {
        Ok(model) => Ok(Some(model)),
        Err(DetectorError::TooShort { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The newest rows of the servers with most of them.
fn chosen(past: &[(String, Frame)]) -> Vec<(String, Frame)> {
    let mut servers: Vec<&(String, Frame)> = past.iter().filter(|(_, f)| !f.is_empty()).collect();
    servers.sort_by_key(|(_, frame)| std::cmp::Reverse(frame.len()));
    servers.truncate(MOST_SERVERS);
    let each = MOST_ROWS / servers.len().max(1);
    let newest = |frame: &Frame| {
        let first = frame.timestamps().get(frame.len().saturating_sub(each)).copied();
        frame.between(first, None)
    };
    servers.into_iter().map(|(name, frame)| (name.clone(), newest(frame))).collect()
}

/// The rows that a model does not alarm.
fn usual(
    model: &Arc<Detector>,
    instance: &str,
    frame: &Frame,
    rest: Rest<'_>,
) -> Result<Frame, DetectorError> {
    let mut follower = Follower::new(Arc::clone(model), instance.to_owned());
    let mut usual = Frame::new(frame.columns().to_vec());
    for (time, row) in frame.rows() {
        if rest().is_break() {
            return Err(DetectorError::Ended);
        }
        if !follower.push(time, row)?.score.alarm {
            // Times rise as they did.
            let _ = usual.push(time, row);
        }
    }
    Ok(usual)
}

/// A stream of `model` for each server that `is_wanted`, which has judged its past.
///
/// # Errors
/// Rows of another schema, and when `rest` says to end.
pub(super) fn streams(
    model: &Arc<Detector>,
    past: &[(String, Frame)],
    is_wanted: impl Fn(&str) -> bool,
    rest: Rest<'_>,
) -> Result<Vec<(String, Follower)>, DetectorError> {
    let wanted = past.iter().filter(|(name, frame)| !frame.is_empty() && is_wanted(name));
    let stream = |(instance, frame): &(String, Frame)| {
        let pulse = &mut |_: Option<Progress>| rest();
        let follower = Follower::after(Arc::clone(model), &History { instance, frame }, pulse)?;
        Ok((instance.clone(), follower))
    };
    wanted.take(MOST_STREAMS).map(stream).collect()
}
