//! Times steps of a live stream for `cargo xtask bench live`: `live_step FEATURES STEPS` trains the
//! default detector on a made-up table, follows it row by row, and prints one line: microseconds of
//! a step (median, 99 %, 99.9 %, most), bytes of a saved state, and bytes that each of some hundred
//! streams more takes.
#![expect(clippy::print_stdout, reason = "its answers go to stdout")]

use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use oddns::core::{Frame, Timestamp};
use oddns::{Detector, FEATURES, Follower, TrainOptions};

/// Rows that are learned.
const LEARNED: usize = 6_000;
/// Rows that are followed again and again.
const ROUND: usize = 4_096;
/// Times that they are followed.
const RUNS: usize = 5;
/// Streams that are counted by their memory.
const STREAMS: usize = 200;
/// Rows that each of these has followed: half a day, after which it holds a structure of its own.
const SETTLED: usize = 3_000;
/// Rows after which the memories of a stream are full.
const WARM: usize = 64;
/// Of the numbers in `/proc/self/statm`.
const PAGE_BYTES: usize = 4_096;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [n_features, steps] = arguments.as_slice() else {
        return Err("use: live_step FEATURES STEPS".into());
    };
    let (n_features, steps) = (n_features.parse()?, steps.parse()?);
    let normal = table(n_features, 0, LEARNED)?;
    let options = TrainOptions { epochs: Some(1), ..TrainOptions::default() };
    let fitted = Detector::fit(&[&normal], &options, &mut |_| ControlFlow::Continue(()))?;
    let detector = Arc::new(fitted);
    let follower = Follower::new(Arc::clone(&detector), "table".to_owned());
    let [median, high, higher, most] =
        times(&follower, &table(n_features, LEARNED, ROUND)?, steps)?;
    let (state, stream) = (follower.state()?.len(), bytes_of_a_stream(&detector, &normal)?);
    println!("{median} {high} {higher} {most} {state} {stream}");
    Ok(())
}

/// Microseconds of a step: median, 99 %, 99.9 %, and most. The same steps are taken several times, and
/// of each the fastest counts: what it takes by itself, without what else the machine does meanwhile.
fn times(follower: &Follower, rows: &Frame, steps: usize) -> Result<[f64; 4], Failure> {
    let mut nanos = vec![u128::MAX; steps];
    for _ in 0..RUNS {
        let mut follower = follower.clone();
        for step in 0..WARM + steps {
            let time = Timestamp::from_millis((LEARNED + step) as i64 * 15_000);
            let row = rows.row(step % ROUND);
            let begin = Instant::now();
            black_box(follower.push(time, row)?);
            if let Some(at) = step.checked_sub(WARM) {
                nanos[at] = nanos[at].min(begin.elapsed().as_nanos());
            }
        }
    }
    nanos.sort_unstable();
    let at = |share: f64| nanos[((steps - 1) as f64 * share) as usize] as f64 / 1e3;
    Ok([at(0.5), at(0.99), at(0.999), at(1.0)])
}

/// How much more memory the process holds with each stream.
fn bytes_of_a_stream(detector: &Arc<Detector>, rows: &Frame) -> Result<usize, Failure> {
    let before = resident_bytes()?;
    let mut streams = Vec::with_capacity(STREAMS);
    for at in 0..STREAMS {
        let mut follower = Follower::new(Arc::clone(detector), format!("table-{at}"));
        for (time, row) in rows.rows().take(SETTLED) {
            follower.push(time, row)?;
        }
        streams.push(follower);
    }
    let after = resident_bytes()?;
    black_box(&streams);
    Ok(after.saturating_sub(before) / STREAMS)
}

fn resident_bytes() -> Result<usize, Failure> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = statm.split_whitespace().nth(1).ok_or("no resident pages")?.parse()?;
    Ok(pages * PAGE_BYTES)
}

/// Waves of different periods with noise; the columns of CoreDNS where there are as many.
fn table(n_features: usize, from: usize, n_rows: usize) -> Result<Frame, Failure> {
    let of_coredns = FEATURES.iter().map(|feature| feature.name.to_owned());
    let columns = match n_features == FEATURES.len() {
        true => of_coredns.collect(),
        false => (0..n_features).map(|at| format!("column_{at}")).collect(),
    };
    let value = |step: usize, at: usize| {
        let noise = ((step * 7919 + at * 104_729) % 1009) as f32 / 1009.0;
        let (t, j) = (step as f32, at as f32);
        3.0 + (t / (4.0 + j)).sin() + 0.3 * (t / 3.0).cos() * (0.1 * j - 1.0) + 0.2 * noise
    };
    let mut frame = Frame::new(columns);
    for step in from..from + n_rows {
        let row: Vec<f32> = (0..n_features).map(|at| value(step, at)).collect();
        frame.push(Timestamp::from_millis(step as i64 * 15_000), &row)?;
    }
    Ok(frame)
}
