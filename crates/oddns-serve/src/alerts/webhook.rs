//! Messages to webhooks: one when a group of incidents begins, worsens or is over.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use oddns_core::Timestamp;
use serde_json::{Value, json};

use super::alert::{Alert, Site, description, sign, summary};
use super::courier::{Courier, Delivery};
use super::{WebhookConfig, WebhookFormat};
use crate::desk::{IncidentGroup, Told};
use crate::words::shown_span;

/// The end of an alert that goes on, in the payload of Alertmanager's own webhooks.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Tells one webhook.
#[derive(Debug)]
pub(super) struct Webhook {
    pub courier: Courier,
    format: WebhookFormat,
    send_resolved: bool,
    group_wait: Duration,
    site: Site,
    /// When a group was first met that is not told yet.
    met: HashMap<String, Timestamp>,
}

/// A message, and what is told by it.
struct Message {
    id: String,
    told: Told,
    body: Vec<u8>,
    /// Whether all is over, and nobody was told of it.
    is_lost: bool,
}

impl Webhook {
    pub(super) fn new(courier: Courier, config: &WebhookConfig, site: Site) -> Self {
        let WebhookConfig { format, send_resolved, group_wait, .. } = *config;
        Self { courier, format, send_resolved, group_wait, site, met: HashMap::new() }
    }

    /// Sends what is new. Without a desk in a folder, what is told is known until the end of the
    /// process only.
    pub(super) async fn round(&mut self, now: Timestamp) {
        let messages = self.messages(now);
        let n = messages.len();
        for (at, message) in messages.into_iter().enumerate() {
            self.courier.shared.metrics().alerts().pending(&self.courier.name, n - at);
            if message.body.is_empty() && message.is_lost {
                self.courier.shared.metrics().alerts().dropped(&self.courier.name, 1);
            }
            if !message.body.is_empty()
                && self.courier.send(message.body, 1).await == Delivery::Failed
            {
                return;
            }
            let desk = self.courier.shared.desk();
            desk.set_told(&self.courier.name, &message.id, message.told);
        }
        self.courier.shared.metrics().alerts().pending(&self.courier.name, 0);
    }

    fn messages(&mut self, now: Timestamp) -> Vec<Message> {
        let ripe = self.ripe(now);
        let (desk, name) = (self.courier.shared.desk(), &self.courier.name);
        let news = |(id, face, over): (String, usize, bool)| {
            let (before, told) = (desk.told(name, &id), Told { face, over });
            (before != told).then(|| {
                let body = desk.groups(|mut groups| {
                    let group = groups.find(|group| group.id == id)?;
                    self.body(group, before, told)
                });
                let is_lost = over && before.face == 0;
                Message { id, told, body: body.unwrap_or_default(), is_lost }
            })
        };
        ripe.into_iter().filter_map(news).collect()
    }

    /// Groups that may be told: id, number of faces, and whether it is over. A new one has to wait.
    fn ripe(&mut self, now: Timestamp) -> Vec<(String, usize, bool)> {
        let (desk, name) = (self.courier.shared.desk(), &self.courier.name);
        let groups: Vec<(String, usize, bool)> = desk.groups(|groups| {
            let recent = groups.filter(|group| group.is_recent(now));
            recent.map(|g| (g.id.clone(), g.faces.len(), g.end.is_some())).collect()
        });
        self.met.retain(|id, _| groups.iter().any(|(known, ..)| known == id));
        let wait = self.group_wait.as_secs_f64();
        let met = &mut self.met;
        let is_ripe = |(id, _, over): &(String, usize, bool)| {
            let met = *met.entry(id.clone()).or_insert(now);
            *over || desk.told(name, id).face > 0 || now.seconds_since(met) >= wait
        };
        groups.into_iter().filter(is_ripe).collect()
    }

    /// The message, or nothing where none is due: what was over before anybody was told of it is no
    /// news.
    fn body(&self, group: &IncidentGroup, before: Told, told: Told) -> Option<Vec<u8>> {
        if told.over && (before.face == 0 || !self.send_resolved) {
            return None;
        }
        let body = match self.format {
            WebhookFormat::Slack => json!({ "text": self.slack(group, before, told) }),
            WebhookFormat::Alertmanager => self.alertmanager(group, told)?,
        };
        serde_json::to_vec(&body).ok()
    }

    fn slack(&self, group: &IncidentGroup, before: Told, told: Told) -> String {
        let url = format!("{}/#incident-{}", self.site.external_url, group.id);
        let head = escaped(&summary(group));
        if told.over {
            let lasted = group.end.map_or(0.0, |end| end.seconds_since(group.start));
            return format!("✅ *Over after {}* – {head} <{url}|Open>", shown_span(lasted));
        }
        let again = if before.face > 0 { " – more than before" } else { "" };
        let steps: Vec<String> =
            group.cause.next_steps.iter().map(|step| format!("• {}", escaped(step))).collect();
        let (sign, severity) = (sign(group.severity), group.severity.as_str());
        let words = escaped(&description(group));
        let next = match steps.is_empty() {
            true => String::new(),
            false => format!("\n*Next*\n{}", steps.join("\n")),
        };
        format!("{sign} *{severity}{again}: {head}*\n{words}{next}\n<{url}|Open>")
    }

    /// What Alertmanager itself would send.
    fn alertmanager(&self, group: &IncidentGroup, told: Told) -> Option<Value> {
        let alert = Alert::all_of(group, &self.site).pop()?;
        let status = if told.over { "resolved" } else { "firing" };
        let group_labels: BTreeMap<_, _> =
            alert.labels.iter().filter(|(name, _)| *name == "alertname").collect();
        Some(json!({
            "version": "4",
            "groupKey": format!("oddns:{}", group.id),
            "truncatedAlerts": 0,
            "status": status,
            "receiver": self.courier.name,
            "groupLabels": group_labels,
            "commonLabels": alert.labels,
            "commonAnnotations": alert.annotations,
            "externalURL": self.site.external_url,
            "alerts": [{
                "status": status,
                "labels": alert.labels,
                "annotations": alert.annotations,
                "startsAt": alert.start.to_string(),
                "endsAt": alert.end.map_or(NEVER.to_owned(), |end| end.to_string()),
                "generatorURL": alert.url,
                "fingerprint": group.id,
            }],
        }))
    }
}

/// Slack's own escapes, so that a name cannot make a link or a mention; no control characters.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}
