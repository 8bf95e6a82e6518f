//! What is held against a row: told before the row is seen.

use std::sync::Arc;

use oddns_model::{LiveState, Network, Reconstruction, Sequence};

use crate::detector::DetectorError;
use crate::ledger::{Ledger, damaged};
use crate::members::{SUSTAINED_ROWS, StandardRow};
use crate::normal::last_values;
use crate::reconstructed::{N_TOLD, outlooks};
use crate::training::{predict, sequence};

/// Who tells what a row should be.
#[derive(Debug, Clone)]
pub(crate) enum Forecaster {
    Network(Arc<Network>),
    /// What a window of the last rows should have been: residuals in place of a forecast, and how
    /// unusual the window is.
    Reconstruction(Arc<Reconstruction>),
    /// Each feature stays as it was last seen.
    LastValue,
    /// Nobody; the forecast is empty.
    Nobody,
}

impl Forecaster {
    /// Rows that must be seen before the first forecast that counts.
    pub(crate) fn warm_up_rows(&self) -> usize {
        match self {
            Self::Network(network) => network.receptive_field(),
            // Trailing members look back as far, whoever forecasts; and no detector shall be judged
            // on rows on which another is silent.
            Self::Reconstruction(network) => SUSTAINED_ROWS.max(network.window()),
            Self::LastValue | Self::Nobody => SUSTAINED_ROWS,
        }
    }

    /// Rows that decide what is told of a row, with itself.
    pub(crate) fn reach(&self) -> usize {
        match self {
            Self::Network(network) => network.receptive_field(),
            Self::Reconstruction(network) => network.window(),
            Self::LastValue => 2,
            Self::Nobody => 1,
        }
    }

    /// Values told of a row of so many features.
    pub(crate) fn n_told(&self, width: usize) -> usize {
        match self {
            Self::Network(_) | Self::LastValue => width,
            Self::Reconstruction(_) => width + N_TOLD,
            Self::Nobody => 0,
        }
    }

    /// Of each row of a stretch, row-major.
    pub(crate) fn forecast(&self, rows: &[&StandardRow]) -> Result<Vec<f32>, DetectorError> {
        match self {
            Self::Network(network) => {
                let sequence = sequence(rows)?;
                let mut told = predict(network, &sequence)?;
                let values = rows.iter().flat_map(|row| &row.values);
                let last = last_values(&sequence, 0..rows.len());
                for ((told, value), last) in told.iter_mut().zip(values).zip(last) {
                    *told = nearer(*value, *told, last);
                }
                Ok(told)
            }
            Self::Reconstruction(network) => {
                let scores = network.score(&sequence(rows)?, 1).map_err(DetectorError::Model)?;
                Ok(outlooks(&scores, network.n_features()))
            }
            Self::LastValue => Ok(last_values(&sequence(rows)?, 0..rows.len())),
            Self::Nobody => Ok(Vec::new()),
        }
    }

    /// The beginning of a stream of rows of this width.
    pub(crate) fn live(&self, width: usize) -> Past {
        let network = match self {
            // Nobody asks for completions.
            Self::Network(network) => Some(network.live(0)),
            Self::Reconstruction(_) | Self::LastValue | Self::Nobody => None,
        };
        Past {
            network,
            last_seen: vec![0.0; width],
            observed: vec![false; width],
            window: Window::default(),
            forecast: vec![0.0; width],
            n_rows: 0,
        }
    }
}

/// Of two forecasts the one that came nearer: what either foresaw is no surprise. The first where the
/// value is missing.
pub(crate) fn nearer(value: f32, one: f32, other: f32) -> f32 {
    if (value - other).abs() < (value - one).abs() { other } else { one }
}

/// What a stream of rows left behind.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    network: Option<LiveState>,
    /// The last known standardised value of each feature, 0 for none.
    last_seen: Vec<f32>,
    /// Whether the newest value of each feature was there.
    observed: Vec<bool>,
    /// The last rows, for who looks at them again.
    window: Window,
    forecast: Vec<f32>,
    n_rows: usize,
}

/// Values and what was seen of the last rows, row-major.
#[derive(Debug, Clone, Default)]
struct Window {
    values: Vec<f32>,
    observed: Vec<bool>,
}

impl Window {
    /// Takes a row in, and lets go of what is older than `n_rows` rows.
    fn push(&mut self, row: &[f32], observed: &[bool], n_rows: usize) {
        let surplus = (self.values.len() + row.len()).saturating_sub(n_rows * row.len());
        self.values.drain(..surplus);
        self.observed.drain(..surplus);
        self.values.extend_from_slice(row);
        self.observed.extend_from_slice(observed);
    }
}

impl Past {
    /// Writes down or reads what it is, for the forecaster that it belongs to.
    pub(crate) fn keep_for(
        &mut self,
        forecaster: &Forecaster,
        ledger: &mut Ledger<'_>,
    ) -> Result<(), DetectorError> {
        ledger.count(&mut self.n_rows, usize::MAX)?;
        ledger.numbers(&mut self.last_seen, f32::is_finite)?;
        if let (Forecaster::Network(network), Some(past)) = (forecaster, &mut self.network) {
            let (mut n_rows, mut memory) = (past.n_rows().cast_signed(), past.memory().to_vec());
            ledger.whole(&mut n_rows)?;
            ledger.numbers(&mut memory, f32::is_finite)?;
            let resumed = network.resume(past.n_groups(), n_rows.cast_unsigned(), &memory);
            *past = resumed.map_err(DetectorError::Model)?;
        }
        let Window { values, observed } = &mut self.window;
        let most = match forecaster {
            Forecaster::Reconstruction(network) => network.window() * network.n_features(),
            _ => 0,
        };
        ledger.list(values, most, f32::is_finite)?;
        if !values.len().is_multiple_of(self.last_seen.len().max(1)) {
            return Err(damaged("its rows are not whole"));
        }
        observed.resize(values.len(), false);
        ledger.flags(observed)
    }

    /// Rows since the beginning.
    pub(crate) fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Begins anew.
    pub(crate) fn clear(&mut self) {
        if let Some(network) = &mut self.network {
            network.clear();
        }
        self.last_seen.fill(0.0);
        self.window = Window::default();
        self.n_rows = 0;
    }

    /// Takes a row in, and gives what was to be expected of it: the same bits as from
    /// [`Forecaster::forecast`].
    pub(crate) fn push(
        &mut self,
        forecaster: &Forecaster,
        row: &StandardRow,
    ) -> Result<&[f32], DetectorError> {
        self.n_rows = self.n_rows.saturating_add(1);
        self.forecast.clone_from(&self.last_seen);
        for (last, value) in self.last_seen.iter_mut().zip(&row.values) {
            if !value.is_nan() {
                *last = *value;
            }
        }
        for (observed, value) in self.observed.iter_mut().zip(&row.values) {
            *observed = !value.is_nan();
        }
        match (forecaster, &mut self.network) {
            (Forecaster::Network(network), Some(past)) => {
                let predicted = network.push(past, &self.last_seen, &self.observed);
                let told = predicted.map_err(DetectorError::Model)?.forecast;
                for ((last, told), value) in self.forecast.iter_mut().zip(told).zip(&row.values) {
                    *last = nearer(*value, *told, *last);
                }
                Ok(&self.forecast)
            }
            (Forecaster::Reconstruction(network), _) => {
                self.window.push(&self.last_seen, &self.observed, network.window());
                let Window { values, observed } = self.window.clone();
                let window = Sequence::new(network.n_features(), values, observed);
                let scores = window.and_then(|window| network.score_last(&window));
                let scores = scores.map_err(DetectorError::Model)?;
                self.forecast = outlooks(&scores, network.n_features());
                Ok(&self.forecast)
            }
            (Forecaster::Nobody, _) => Ok(&[]),
            _ => Ok(&self.forecast),
        }
    }
}
