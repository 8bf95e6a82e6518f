//! How the fetching of history stands, as metrics.

use std::fmt;

use oddns_collect::wall_clock;
use oddns_core::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::board::{BackfillBoard, CAUSES, Stage, Standing};

/// A gauge without labels; it is left out where there is no value.
struct StandingGauge {
    name: &'static str,
    help: &'static str,
    value: fn(&Standing, Timestamp) -> Option<f64>,
}

#[rustfmt::skip]
const GAUGES: &[StandingGauge] = &[
    StandingGauge { name: "oddns_backfill_progress_ratio", help: "Part of the history of Prometheus that is fetched", value: |standing, _| {
        Some(standing.progress())
    } },
    StandingGauge { name: "oddns_backfill_eta_seconds", help: "Time until the history of Prometheus is fetched, as fast as so far", value: |standing, now| {
        standing.eta_seconds(now)
    } },
    StandingGauge { name: "oddns_backfill_servers", help: "Servers with a past in Prometheus", value: |standing, _| {
        Some(standing.n_servers as f64)
    } },
    StandingGauge { name: "oddns_backfill_servers_left_out", help: "Servers whose past does not fit, or that are too many", value: |standing, _| {
        Some(standing.n_left_out as f64)
    } },
    StandingGauge { name: "oddns_backfill_rows", help: "Rows of the past that servers were calibrated by", value: |standing, _| {
        Some(standing.n_rows as f64)
    } },
];

impl Collector for BackfillBoard {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (standing, now) = (self.standing(), wall_clock());
        stage(&mut encoder, standing.stage)?;
        if standing.stage == Stage::Off {
            return Ok(());
        }
        for gauge in GAUGES {
            if let Some(value) = (gauge.value)(&standing, now) {
                let metric = ConstGauge::new(value);
                let (name, help) = (gauge.name, gauge.help);
                let kind = metric.metric_type();
                metric.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
            }
        }
        let samples = ConstCounter::new(standing.n_samples);
        let help = "Samples of the past that were fetched since the start";
        let kind = samples.metric_type();
        samples.encode(encoder.encode_descriptor("oddns_backfill_samples", help, None, kind)?)?;
        failures(&mut encoder, &standing)
    }
}

fn stage(encoder: &mut DescriptorEncoder<'_>, stage: Stage) -> Result<(), fmt::Error> {
    let (name, help) = ("oddns_backfill_stage", "Where fetching history stands: 1 for the stage");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for each in Stage::ALL {
        let gauge = ConstGauge::new(f64::from(u8::from(each == stage)));
        gauge.encode(family.encode_family(&[("stage", each.name())])?)?;
    }
    Ok(())
}

fn failures(encoder: &mut DescriptorEncoder<'_>, standing: &Standing) -> Result<(), fmt::Error> {
    let help = "Times that history could not be fetched or used, by what failed";
    let mut family =
        encoder.encode_descriptor("oddns_backfill_failures", help, None, MetricType::Counter)?;
    for (cause, n) in CAUSES.into_iter().zip(standing.n_failed) {
        ConstCounter::new(n).encode(family.encode_family(&[("cause", cause)])?)?;
    }
    Ok(())
}
