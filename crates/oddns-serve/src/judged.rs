//! One server that is judged: its verdicts go to the view, the metrics and the events.

use std::error::Error;
use std::time::{Duration, Instant};

use oddns::{State, Step};
use oddns_core::{Scrape, SeriesTable, Timestamp};

use crate::event::Event;
use crate::teller::Teller;
use crate::watch::{Judge, chain};

/// One server, however its scrapes come in.
pub(crate) struct Judged {
    job: String,
    instance: String,
    teller: Teller,
    judge: Box<dyn Judge>,
    state: Option<State>,
    /// Kind of the error that was last told, while scrapes fail.
    failure: Option<&'static str>,
}

impl Judged {
    pub(crate) fn new(
        (job, instance): (String, String),
        judge: Box<dyn Judge>,
        teller: Teller,
    ) -> Self {
        Self { job, instance, teller, judge, state: None, failure: None }
    }

    /// Judges the next scrape; `failure` is the kind of why it failed, and why.
    pub(crate) fn take(
        &mut self,
        series: &SeriesTable,
        scrape: &Scrape,
        failure: Option<(&'static str, &dyn Error)>,
    ) {
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

    /// Goes on with a judge that knows nothing of the series so far.
    pub(crate) fn begin_anew(&mut self, judge: Box<dyn Judge>) {
        self.judge = judge;
    }

    /// Tells that scrapes fail in this way: once, and of all servers of the job one a minute.
    pub(crate) fn report_failure(
        &mut self,
        time: Timestamp,
        kind: &'static str,
        error: &dyn Error,
    ) {
        let text = chain(error);
        self.teller.shared.change(|view| view.set_trouble(&self.instance, Some(text.clone())));
        if self.failure != Some(kind) && self.teller.may_tell(&self.job, kind) {
            self.failure = Some(kind);
            let instance = self.instance.clone();
            self.teller.send(Event::ScrapeFailed { instance, time, error: text });
        }
    }

    fn report_recovery(&mut self, time: Timestamp) {
        self.teller.shared.change(|view| view.set_trouble(&self.instance, None));
        if self.failure.take().is_some() {
            let instance = self.instance.clone();
            self.teller.send(Event::ScrapeRecovered { instance, time });
        }
    }

    fn show(&mut self, step: Step, took: Duration) {
        let step = self.teller.shared.take(&self.job, &self.instance, step, took);
        self.tell(step);
    }

    fn tell(&mut self, step: Step) {
        let Step { time, state, score, incident, .. } = step;
        if self.state.as_ref() != Some(&state) {
            self.state = Some(state.clone());
            self.teller.send(Event::State { instance: self.instance.clone(), time, state });
        }
        if let Some(score) = score {
            self.teller.send(Event::Score { instance: self.instance.clone(), score });
        }
        if let Some(incident) = incident {
            self.teller.send(Event::Incident(incident));
        }
    }
}
