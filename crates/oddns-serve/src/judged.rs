//! One server whose scrapes others bring: its verdicts go to the view, the metrics and the events.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use oddns::{State, Step};
use oddns_core::{Scrape, SeriesTable, Timestamp};
use tokio::sync::mpsc;

use crate::event::Event;
use crate::shared::Shared;
use crate::watch::{Judge, chain};

/// One server, however its scrapes come in.
pub(crate) struct Judged {
    instance: String,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    judge: Box<dyn Judge>,
    state: Option<State>,
    /// Kind of the error that was last reported, while scrapes fail.
    failure: Option<&'static str>,
}

impl Judged {
    pub(crate) fn new(
        instance: String,
        judge: Box<dyn Judge>,
        shared: Arc<Shared>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self { instance, shared, events, judge, state: None, failure: None }
    }

    /// Judges the next scrape; `failure` is the kind of why it failed, and why.
    pub(crate) fn take(
        &mut self,
        series: &SeriesTable,
        scrape: &Scrape,
        failure: Option<(&'static str, &dyn Error)>,
    ) {
        let kind = failure.map(|(kind, _)| kind);
        self.shared.metrics().received(&self.instance, scrape, kind);
        match failure {
            Some((kind, error)) => self.report_failure(scrape.time, kind, error),
            None => self.report_recovery(scrape.time),
        }
        let start = Instant::now();
        match self.judge.push(series, scrape) {
            Ok(step) => self.show(step, start.elapsed()),
            Err(error) => self.report_failure(scrape.time, "judging", &error),
        }
    }

    /// Tells once that scrapes fail in this way.
    pub(crate) fn report_failure(
        &mut self,
        time: Timestamp,
        kind: &'static str,
        error: &dyn Error,
    ) {
        let text = chain(error);
        self.shared.change(|view| view.set_trouble(&self.instance, Some(text.clone())));
        if self.failure != Some(kind) {
            self.failure = Some(kind);
            self.send(Event::ScrapeFailed { instance: self.instance.clone(), time, error: text });
        }
    }

    fn report_recovery(&mut self, time: Timestamp) {
        if self.failure.take().is_some() {
            self.shared.change(|view| view.set_trouble(&self.instance, None));
            self.send(Event::ScrapeRecovered { instance: self.instance.clone(), time });
        }
    }

    fn show(&mut self, step: Step, took: Duration) {
        self.shared.change(|view| view.push(&self.instance, &step));
        self.shared.read(|view| {
            self.shared.metrics().stepped(&self.instance, &step, view.features(), took);
        });
        self.tell(step);
    }

    fn tell(&mut self, step: Step) {
        let Step { time, state, score, incident, .. } = step;
        if self.state.as_ref() != Some(&state) {
            self.state = Some(state.clone());
            self.send(Event::State { instance: self.instance.clone(), time, state });
        }
        if let Some(score) = score {
            self.send(Event::Score { instance: self.instance.clone(), score });
        }
        if let Some(incident) = incident {
            self.send(Event::Incident(incident));
        }
    }

    fn send(&self, event: Event) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(event) {
            self.shared.metrics().event_dropped();
        }
    }
}
