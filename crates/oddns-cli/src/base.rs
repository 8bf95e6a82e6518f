//! The models that the program brings along, for a site that has none of its own yet. They know how the
//! metrics of CoreDNS go together; what is normal at a site they learn there.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use flate2::read::GzDecoder;
use oddns::Detector;

/// A model for scrapes about so far apart.
struct Bundled {
    interval: Duration,
    /// Its file, packed by gzip. `cargo xtask base` makes it.
    packed: &'static [u8],
}

const BUNDLED: [Bundled; 2] = [
    Bundled {
        interval: Duration::from_secs(1),
        packed: include_bytes!("../data/base/every-1s.keras.gz"),
    },
    Bundled {
        interval: Duration::from_secs(15),
        packed: include_bytes!("../data/base/every-15s.keras.gz"),
    },
];

/// The interval of the base model for whoever watches a server by hand, and wants to see something soon.
pub(crate) const BY_HAND: Duration = Duration::from_secs(1);

/// The base model whose interval is nearest to this one, by ratio. Fails only when the program was
/// built with a damaged one.
pub(crate) fn nearest(interval: Duration) -> anyhow::Result<Arc<Detector>> {
    let apart = |bundled: &&Bundled| {
        let ratio = interval.as_secs_f64() / bundled.interval.as_secs_f64();
        ratio.max(1e-9).ln().abs()
    };
    let nearest = BUNDLED.iter().min_by(|a, b| apart(a).total_cmp(&apart(b)));
    let packed = nearest.context("there is no base model")?.packed;
    let mut bytes = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut bytes).context("the base model cannot be unpacked")?;
    Ok(Arc::new(Detector::decode(&bytes).context("the base model cannot be read")?))
}

#[cfg(test)]
mod tests {
    use oddns::{FEATURES, Pipeline};
    use oddns_core::{Schema, Scrape, SeriesTable, Timestamp};

    use super::*;

    #[test]
    fn the_base_models_are_of_these_features_and_have_rows_to_lend() {
        for bundled in &BUNDLED {
            let model = nearest(bundled.interval).unwrap();
            let names = FEATURES.iter().map(|feature| feature.name.to_owned()).collect();
            model.check_schema(&Schema::new(names)).expect("`cargo xtask base` makes it anew");
            let interval = f64::from(model.record().interval_seconds);
            assert!((interval / bundled.interval.as_secs_f64() - 1.0).abs() < 0.01, "{interval}");
            assert!(bundled.packed.len() <= 1 << 20, "{}", bundled.packed.len());
        }
    }

    #[test]
    fn the_nearest_interval_counts() {
        let seconds = |interval| {
            let model = nearest(Duration::from_millis(interval)).unwrap();
            model.record().interval_seconds.round()
        };
        assert_eq!([100, 1000, 3000].map(seconds), [1.0; 3]);
        assert_eq!([5000, 15_000, 60_000].map(seconds), [15.0; 3]);
    }

    #[test]
    fn a_base_model_follows_a_server() {
        let mut pipeline = Pipeline::new(nearest(BY_HAND).unwrap(), "dns:9153".into()).unwrap();
        let time = Timestamp::from_millis(0);
        let scrape = Scrape { time, up: false, duration_seconds: 0.1, samples: Vec::new() };
        let step = pipeline.push(&SeriesTable::default(), &scrape).unwrap();
        assert_eq!(step.state.name(), "no_data");
    }
}
