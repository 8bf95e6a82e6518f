//! Times the networks for `cargo xtask bench model`, which runs it beside other libraries:
//! `stopwatch FOLDER FEATURES` writes a model and data for them, says `ready`, then answers each
//! line `CASE THREADS` with the seconds and the floating-point operations of one unit.
#![expect(clippy::print_stdout, reason = "its answers go to stdout")]

use std::hint::black_box;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use oddns_model::graph::FitOptions;
use oddns_model::{
    Config, Model, ModelError, Network, Reconstruction, ReconstructionConfig, Sequence,
    TrainOptions, encode, train,
};

/// Rows of the history.
const ROWS: usize = 24_000;
/// Rows of a window that is reconstructed.
const WINDOW: usize = 16;
/// Steps of a training of a reconstruction.
const FIT_STEPS: usize = 200;
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
    /// Reconstructions over time, and over the image.
    line: Reconstruction,
    image: Reconstruction,
    history: Sequence,
    windows: Vec<Sequence>,
}

impl Subject {
    fn new(n_features: usize) -> Result<Self, ModelError> {
        let network = Network::new(Config::recipe(n_features), 1)?;
        let line = ReconstructionConfig::one_dimensional(n_features, WINDOW);
        let image = ReconstructionConfig::two_dimensional(n_features, WINDOW);
        let history = waves(n_features, 0, ROWS)?;
        let n_rows = network.receptive_field();
        let windows =
            (0..WINDOWS).map(|at| waves(n_features, at, n_rows)).collect::<Result<_, _>>();
        let (line, image) = (Reconstruction::new(&line, 1)?, Reconstruction::new(&image, 1)?);
        Ok(Self { network, line, image, history, windows: windows? })
    }

    /// `model.keras`, `values.f32` (row-major) and the forecast of each row, `forecast.f32`; of the
    /// reconstructions `line.keras` and the residuals of each row, `line.f32`, and the same of
    /// `image`.
    fn write(&self, folder: &Path) -> Result<(), Failure> {
        std::fs::write(folder.join("model.keras"), encode(&self.network, "{}")?)?;
        for (name, network) in [("line", &self.line), ("image", &self.image)] {
            let residuals = network.score(&self.history, 1)?.residuals;
            std::fs::write(folder.join(format!("{name}.f32")), bytes(&residuals))?;
            let model = Model::Reconstruction(network.clone()).encode("{}")?;
            std::fs::write(folder.join(format!("{name}.keras")), model)?;
        }
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
            "live" => self.live()?,
            "fit-line" => self.fit(&self.line, threads)?,
            "fit-image" => self.fit(&self.image, threads)?,
            "score-line" => self.score(&self.line, threads)?,
            "score-image" => self.score(&self.image, threads)?,
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

    /// Clusters included; the unit is a step.
    fn fit(&self, network: &Reconstruction, threads: usize) -> Result<usize, ModelError> {
        let options =
            FitOptions { threads, steps: FIT_STEPS, stopping: None, ..Reconstruction::recipe() };
        let history = std::slice::from_ref(&self.history);
        let fitted = network.clone().fit(history, &options, &mut |_| ControlFlow::Continue(()))?;
        black_box(fitted);
        Ok(FIT_STEPS)
    }

    fn score(&self, network: &Reconstruction, threads: usize) -> Result<usize, ModelError> {
        black_box(network.score(&self.history, threads)?);
        Ok(ROWS)
    }

    fn windows(&self) -> Result<usize, ModelError> {
        for window in &self.windows {
            black_box(self.network.forecast_last(window)?);
        }
        Ok(self.windows.len())
    }

    fn live(&self) -> Result<usize, ModelError> {
        let mut state = self.network.live(0);
        for (values, observed) in rows(&self.history) {
            black_box(self.network.push(&mut state, values, observed)?);
        }
        Ok(ROWS)
    }

    /// Multiplications and additions that the layers of one unit need, without padding: what is
    /// computed twice, or for a row that nobody asked for, counts once. 0 where that says nothing.
    fn operations(&self, case: &str) -> f64 {
        let TrainOptions { batch, length, .. } = TrainOptions::default();
        let Products { history, visible, stack, linear } = Products::of(self.network.config());
        let windows = Reconstruction::recipe().batch;
        let products = match case {
            // Forward, by weight, and by input but for the two branches; the linear part is solved.
            "train" => batch * length * (2 * (history + visible) + 3 * stack + linear),
            "live" | "dense" => history + visible + stack + linear,
            "fit-line" => windows * fit_products(self.line_products()),
            "fit-image" => windows * fit_products(self.image_products()),
            "score-line" => self.line_products().iter().sum(),
            "score-image" => self.image_products().iter().sum(),
            // A window: most goes into rows that only help.
            _ => 0,
        };
        2.0 * products as f64
    }

    /// Of each layer for a window. Convolutions halve it, their transposes double it again.
    fn line_products(&self) -> [usize; 6] {
        let n = self.line.n_features();
        [8 * 5 * n * 64, 4 * 5 * 64 * 32, 128 * 8, 8 * 128, 4 * 5 * 32 * 64, 8 * 5 * 64 * n]
    }

    fn image_products(&self) -> [usize; 6] {
        let half = self.image.n_features().div_ceil(2);
        let quarter = half.div_ceil(2);
        let (outer, inner, flat) = (8 * half * 9 * 16, 4 * quarter * 9 * 256, 4 * quarter * 16);
        [outer, inner, flat * 32, 32 * flat, inner, 8 * 2 * quarter * 9 * 16]
    }
}

/// Forward, by weight, and by input but for the first layer.
fn fit_products(layers: [usize; 6]) -> usize {
    3 * layers.iter().sum::<usize>() - layers[0]
}

/// Multiplications that the parts of the masked network need for a row.
struct Products {
    history: usize,
    visible: usize,
    stack: usize,
    linear: usize,
}

impl Products {
    fn of(config: &Config) -> Self {
        let Config { n_features, channels, kernel, dilations, bottleneck, decoder, .. } = config;
        let mut stack = (dilations.len() - 1) * channels * channels * kernel;
        stack += channels * bottleneck * kernel;
        let mut n_in = bottleneck;
        for n_out in decoder.iter().chain([n_features]) {
            stack += n_in * n_out;
            n_in = n_out;
        }
        let linear = if config.linear { n_features * n_features * kernel } else { 0 };
        Self {
            history: n_features * channels * kernel,
            visible: 2 * n_features * channels,
            stack,
            linear,
        }
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
