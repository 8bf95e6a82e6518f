//! Whether the files that we are configured by are good, as metrics.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use oddns_core::Timestamp;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::budget::Shares;
use crate::metrics::{Labels, add, add_as};
use crate::web::WebSecurity;

/// What is known of the configuration.
#[derive(Debug)]
pub(crate) struct ConfigGauges {
    successful: Gauge<f64, AtomicU64>,
    time: Gauge<f64, AtomicU64>,
    web_successful: Gauge<f64, AtomicU64>,
    /// False alerts that the fleet may have in a week, by urgency.
    budget: Family<Labels, Gauge<f64, AtomicU64>>,
    lift: Gauge<f64, AtomicU64>,
    /// Where the rules of our own server come from.
    web: OnceLock<Arc<WebSecurity>>,
}

impl ConfigGauges {
    pub(crate) fn new(r: &mut Registry) -> Self {
        Self {
            successful: add(
                r,
                "oddns_config_last_reload_successful",
                "Whether the configuration was good when it was last read; else the one before holds",
            ),
            time: add(
                r,
                "oddns_config_last_reload_success_timestamp_seconds",
                "Time when the configuration in use was read",
            ),
            web_successful: add(
                r,
                "oddns_web_config_last_reload_successful",
                "Whether the file of --web.config.file is good; else what it said before holds",
            ),
            budget: add(
                r,
                "oddns_alert_budget_per_week",
                "False alerts that the whole fleet may have in a week, by urgency",
            ),
            lift: add_as(
                r,
                "oddns_alarm_line_lift_ratio",
                "How many times as high the alarm line lies as the model was trained for",
                at_one(),
            ),
            web: OnceLock::new(),
        }
    }

    /// Notes that the configuration was read, `now` when it was good.
    pub(crate) fn read(&self, now: Option<Timestamp>) {
        self.successful.set(if now.is_some() { 1.0 } else { 0.0 });
        if let Some(now) = now {
            self.time.set(now.unix_seconds());
        }
    }

    /// Shows from now on whether the rules of our own server are good.
    pub(crate) fn watch_web(&self, security: Arc<WebSecurity>) {
        let _ = self.web.set(security);
    }

    /// Shows the alert budget; `None` leaves only where the line lies.
    pub(crate) fn set_budget(&self, shares: Option<Shares>) {
        self.budget.clear();
        self.lift.set(shares.map_or(1.0, |shares| f64::from(shares.lifts.tickets)));
        let Some(Shares { budget, .. }) = shares else { return };
        for (urgency, per_week) in
            [("ticket", budget.tickets_per_week), ("page", budget.pages_per_week)]
        {
            let labels = vec![("urgency", urgency.to_owned())];
            self.budget.get_or_create(&labels).set(per_week);
        }
    }

    /// Brings what changes by itself up to date.
    pub(crate) fn look(&self) {
        let is_good = self.web.get().is_none_or(|security| security.is_good());
        self.web_successful.set(if is_good { 1.0 } else { 0.0 });
    }
}

fn at_one() -> Gauge<f64, AtomicU64> {
    let gauge = Gauge::default();
    gauge.set(1.0);
    gauge
}
