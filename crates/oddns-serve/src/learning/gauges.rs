//! How learning stands, as metrics.

use std::fmt;

use oddns_collect::wall_clock;
use oddns_core::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use oddns::FEATURES;

use super::status::{Ending, Status};
use super::succession::Succession;

/// A gauge without labels; it is left out where there is no value.
struct StatusGauge {
    name: &'static str,
    help: &'static str,
    value: fn(&Status, Timestamp) -> Option<f64>,
}

#[rustfmt::skip]
const GAUGES: &[StatusGauge] = &[
    StatusGauge { name: "oddns_model_generation", help: "Generation of the model in use", value: |status, _| {
        status.generation.map(|generation| generation as f64)
    } },
    StatusGauge { name: "oddns_model_age_seconds", help: "Time since the model in use was made", value: |status, now| {
        status.made.map(|made| now.seconds_since(made).max(0.0))
    } },
    StatusGauge { name: "oddns_learning_enabled", help: "Whether the model is updated by itself", value: |status, _| {
        Some(f64::from(u8::from(status.enabled)))
    } },
    StatusGauge { name: "oddns_learning_active", help: "Whether an update is under way", value: |status, _| {
        Some(f64::from(u8::from(status.active_since.is_some())))
    } },
    StatusGauge { name: "oddns_learning_next_timestamp_seconds", help: "Time when the next update is due", value: |status, _| {
        status.next.map(Timestamp::unix_seconds)
    } },
    StatusGauge { name: "oddns_learning_last_timestamp_seconds", help: "Time when the last update ended", value: |status, _| {
        status.last.as_ref().map(|last| last.ended.unix_seconds())
    } },
    StatusGauge { name: "oddns_learning_last_duration_seconds", help: "How long the last update took", value: |status, _| {
        status.last.as_ref().map(|last| last.seconds)
    } },
];

impl Collector for Succession {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (status, now) = (self.status(), wall_clock());
        for gauge in GAUGES {
            if let Some(value) = (gauge.value)(&status, now) {
                let metric = ConstGauge::new(value);
                let (name, help) = (gauge.name, gauge.help);
                let kind = metric.metric_type();
                metric.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
            }
        }
        updates(&mut encoder, &status)?;
        gate(&mut encoder, &status)?;
        fits(&mut encoder, &status)?;
        drift(&mut encoder, &self.drift())
    }
}

fn updates(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), fmt::Error> {
    let cpu = ConstCounter::new(status.cpu_seconds);
    let help = "Time of the processor that updates took";
    cpu.encode(encoder.encode_descriptor(
        "oddns_learning_cpu_seconds",
        help,
        None,
        cpu.metric_type(),
    )?)?;
    let (name, help) = ("oddns_learning_updates", "Updates that ended, by how");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (ending, n) in Ending::ALL.into_iter().zip(status.n_ended) {
        ConstCounter::new(n).encode(family.encode_family(&[("result", ending.name())])?)?;
    }
    Ok(())
}

/// The last trial of a challenger.
fn gate(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), fmt::Error> {
    let figures = status.last.as_ref().map(|last| last.gate.as_slice()).unwrap_or_default();
    if figures.is_empty() {
        return Ok(());
    }
    let (name, help) =
        ("oddns_model_gate", "Figures of the last challenger and what they had to be");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for figure in figures {
        let of = [
            ("champion", figure.champion),
            ("challenger", figure.challenger),
            ("limit", figure.limit),
        ];
        for (whose, value) in of {
            let labels = [("check", figure.name.as_str()), ("of", whose)];
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
    }
    let (name, help) = ("oddns_model_gate_passed", "Whether the last challenger passed the check");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for figure in figures {
        let labels = [("check", figure.name.as_str())];
        let passed = f64::from(u8::from(figure.passed));
        ConstGauge::new(passed).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// The worst ones, and those with a model of their own: a fleet may have thousands.
fn fits(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), fmt::Error> {
    let n_own = status.fits.iter().filter(|fit| fit.own.is_some()).count();
    let (name, help) = ("oddns_own_models", "Servers that are judged by a model of their own");
    let gauge = ConstGauge::new(n_own as f64);
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
    let name = "oddns_model_misfit_ratio";
    let help = "How far the middle of the server's scores by the shared model lies from the fleet's, \
                as a part; of those with a model of their own, and the 20 worst others";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for fit in &status.fits {
        if let Some(misfit) = fit.misfit {
            let judge = if fit.own.is_some() { "own" } else { "shared" };
            let labels = [("instance", fit.instance.as_str()), ("judge", judge)];
            ConstGauge::new(f64::from(misfit)).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn drift(encoder: &mut DescriptorEncoder<'_>, drift: &[f32]) -> Result<(), fmt::Error> {
    if drift.len() != FEATURES.len() {
        return Ok(());
    }
    let name = "oddns_feature_drift_deviations";
    let help =
        "How far a feature has moved since training, over all servers, in standard deviations";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (feature, moved) in FEATURES.iter().zip(drift).filter(|(_, moved)| moved.is_finite()) {
        let labels = [("feature", feature.name)];
        ConstGauge::new(f64::from(*moved)).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
