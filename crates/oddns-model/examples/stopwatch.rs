//! Times the network for `cargo xtask bench model`, which runs it beside other libraries:
//! `stopwatch FOLDER FEATURES` writes a model and data for them, says `ready`, then answers each
//! line `CASE THREADS` with the seconds and the floating-point operations of one unit.
#![expect(clippy::print_stdout, reason = "its answers go to stdout")]

use std::hint::black_box;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use oddns_model::{Config, ModelError, Network, Sequence, TrainOptions, encode, train};

/// Rows of the history.
const ROWS: usize = 24_000;
/// Groups of the completion.
const GROUPS: usize = 4;
/// Windows in one measurement.
const WINDOWS: usize = 2_000;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, n_features] = arguments.as_slice() else {
        return Err("use: stopwatch FOLDER FEATURES".into());
    };
    let subject = Subject::new(n_features.parse()?)?;
    subject.write(Path::new(folder))?;
    println!("ready");
    for line in std::io::stdin().lines() {
        let line = line?;
        let (case, threads) = line.split_once(' ').ok_or("expected `CASE THREADS`")?;
        let (seconds, operations) = subject.time(case, threads.parse()?)?;
        println!("{seconds} {operations}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// What is timed, always the same.
struct Subject {
    network: Network,
    history: Sequence,
    windows: Vec<Sequence>,
}

impl Subject {
    fn new(n_features: usize) -> Result<Self, ModelError> {
        // The other libraries compute the network without its linear part.
        let config = Config { linear: false, ..Config::recipe(n_features) };
        let network = Network::new(config, 1)?;
        let history = waves(n_features, 0, ROWS)?;
        let n_rows = network.receptive_field();
        let windows =
            (0..WINDOWS).map(|at| waves(n_features, at, n_rows)).collect::<Result<_, _>>();
        Ok(Self { network, history, windows: windows? })
    }

    /// `model.keras`, `values.f32` (row-major) and the forecast of each row, `forecast.f32`.
    fn write(&self, folder: &Path) -> Result<(), Failure> {
        std::fs::write(folder.join("model.keras"), encode(&self.network, "{}")?)?;
        let values: Vec<f32> =
            rows(&self.history).flat_map(|(values, _)| values.to_vec()).collect();
        std::fs::write(folder.join("values.f32"), bytes(&values))?;
        Ok(std::fs::write(
            folder.join("forecast.f32"),
            bytes(&self.network.forecast(&self.history)?),
        )?)
    }

    /// Seconds and operations of one unit of `case`.
    fn time(&self, case: &str, threads: usize) -> Result<(f64, f64), Failure> {
        let begin = Instant::now();
        let n_units = match case {
            "train" => self.train(threads)?,
            "window" => self.windows()?,
            "dense" => {
                black_box(self.network.forecast(&self.history)?);
                ROWS
            }
            "dense-passes" => {
                black_box(self.network.forecast(&self.history)?);
                black_box(self.network.complete(&self.history, GROUPS)?);
                ROWS
            }
            "live" => self.live()?,
            _ => return Err(format!("there is no case `{case}`").into()),
        };
        Ok((begin.elapsed().as_secs_f64() / n_units as f64, self.operations(case)))
    }

    /// The recipe, validation included; the unit is a step.
    fn train(&self, threads: usize) -> Result<usize, ModelError> {
        let options = TrainOptions { threads, ..TrainOptions::default() };
        let config = self.network.config().clone();
        let history = std::slice::from_ref(&self.history);
        black_box(train(config, history, &options, &mut |_| ControlFlow::Continue(()))?);
        Ok(options.steps)
    }

    fn windows(&self) -> Result<usize, ModelError> {
        for window in &self.windows {
            black_box(self.network.forecast_last(window)?);
        }
        Ok(self.windows.len())
    }

    fn live(&self) -> Result<usize, ModelError> {
        let mut state = self.network.live(GROUPS);
        for (values, observed) in rows(&self.history) {
            black_box(self.network.push(&mut state, values, observed)?);
        }
        Ok(ROWS)
    }

    /// Multiplications and additions that the convolutions of one unit need, without padding: what
    /// is computed twice, or for a row that nobody asked for, counts once. 0 where that says nothing.
    fn operations(&self, case: &str) -> f64 {
        let Config { n_features, channels, kernel, ref dilations, bottleneck, ref decoder, .. } =
            *self.network.config();
        let (history, visible) = (n_features * channels * kernel, 2 * n_features * channels);
        let mut stack = (dilations.len() - 1) * channels * channels * kernel;
        stack += channels * bottleneck * kernel;
        let mut n_in = bottleneck;
        for n_out in decoder.iter().copied().chain([n_features]) {
            stack += n_in * n_out;
            n_in = n_out;
        }
        let TrainOptions { batch, length, .. } = TrainOptions::default();
        let products = match case {
            // Forward, by weight, and by input but for the two branches.
            "train" => batch * length * (2 * (history + visible) + 3 * stack),
            "live" | "dense-passes" => history + (1 + GROUPS) * (visible + stack),
            "dense" => history + visible + stack,
            // A window: most goes into rows that only help.
            _ => 0,
        };
        2.0 * products as f64
    }
}

fn rows(sequence: &Sequence) -> impl Iterator<Item = (&[f32], &[bool])> {
    (0..sequence.len()).map(|at| (sequence.row(at), sequence.observed(at)))
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Waves of different periods, all values observed.
fn waves(n_features: usize, from: usize, n_rows: usize) -> Result<Sequence, ModelError> {
    let value = |t: usize, j: usize| {
        let (t, j) = (t as f32, j as f32);
        (t / (4.0 + j)).sin() + 0.3 * (t / 3.0).cos() * (0.1 * j - 1.0)
    };
    let rows = from..from + n_rows;
    let values = rows.flat_map(|t| (0..n_features).map(move |j| value(t, j))).collect();
    Sequence::new(n_features, values, vec![true; n_rows * n_features])
}
