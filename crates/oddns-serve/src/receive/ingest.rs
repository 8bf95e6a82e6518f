//! The thread that decodes requests one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use oddns_collect::{Gathering, RemoteWrite, WriteBatch, WriteVersion, wall_clock};
use oddns_core::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::timeout;

use super::answer::Answer;
use super::judging::Judging;
use super::{Keep, KeepError, NewReceivedJudge, ReceiverSettings};
use crate::event::Event;
use crate::shared::Shared;
use crate::teller::Teller;

/// How often it is looked whether a scrape is over.
const TICK: Duration = Duration::from_millis(500);
/// How often series that came no more are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(600);

/// A request to decode.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) version: WriteVersion,
    pub(super) body: Vec<u8>,
    pub(super) reply: oneshot::Sender<Answer>,
    /// Given back when the request is answered.
    pub(super) _memory: OwnedSemaphorePermit,
}

/// All that the thread has.
pub(super) struct Ingest {
    remote: RemoteWrite,
    batch: WriteBatch,
    keep: Option<Box<dyn Keep>>,
    gathering: Gathering,
    judging: Option<Judging>,
    /// Servers that are judged at most.
    max_judged: usize,
    teller: Teller,
    forget_after: Duration,
    /// How many late and left-out samples have been counted.
    counted: (u64, u64),
}

impl Ingest {
    pub(super) fn new(
        settings: &ReceiverSettings,
        keep: Option<Box<dyn Keep>>,
        new_judge: Option<NewReceivedJudge>,
        shared: &Arc<Shared>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let teller = Teller::new(shared.clone(), events);
        let judging = new_judge.map(|new_judge| Judging::new(new_judge, teller.clone()));
        Self {
            remote: RemoteWrite::new(settings.limits),
            batch: WriteBatch::default(),
            keep,
            gathering: Gathering::new(settings.gather),
            judging,
            max_judged: settings.gather.max_servers,
            teller,
            forget_after: settings.forget_after,
            counted: (0, 0),
        }
    }

    /// Works until nobody can send a request any more.
    ///
    /// It blocks its thread, which has nothing else to do.
    pub(super) async fn run(mut self, mut waiting: mpsc::Receiver<Job>) -> Result<(), KeepError> {
        let (mut ticked, mut forgot) = (Instant::now(), Instant::now());
        loop {
            match timeout(TICK, waiting.recv()).await {
                Ok(Some(job)) => self.answer(job),
                Ok(None) => break,
                Err(_) => {}
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.tick(wall_clock());
            }
            if forgot.elapsed() >= FORGET_EVERY {
                forgot = Instant::now();
                self.forget(wall_clock());
            }
        }
        self.keep.map_or(Ok(()), |mut keep| keep.finish())
    }

    fn answer(&mut self, job: Job) {
        let answer = self.take(job.version, &job.body, wall_clock());
        // A sender that went away learns nothing, and sends again.
        let _ = job.reply.send(answer);
    }

    fn take(&mut self, version: WriteVersion, body: &[u8], now: Timestamp) -> Answer {
        if let Err(error) = self.remote.read(version, body, now, &mut self.batch) {
            return Answer::Refused(error);
        }
        let directory = self.remote.directory();
        match self.keep.as_mut().map(|keep| keep.keep(now, directory, &self.batch.samples)) {
            None => {}
            Some(Ok(n)) => self.teller.shared.metrics().receive().not_kept(n),
            Some(Err(error)) => {
                self.remote.undo(&self.batch);
                return Answer::NotKept(error);
            }
        }
        if self.judging.is_some() {
            self.gathering.take(directory, &self.batch.samples, now);
        }
        Answer::Taken(version, self.batch.counts)
    }

    fn tick(&mut self, now: Timestamp) {
        let directory = self.remote.directory();
        let counters = self.teller.shared.metrics().receive();
        counters.set_series(directory.len());
        let Some(judging) = &mut self.judging else { return };
        self.gathering.ready(now, |gathered| judging.take(directory, &gathered, now));
        judging.tell_silent(now);
        let counts = (self.gathering.n_late(), self.gathering.n_left_out());
        counters.left_aside("late", counts.0 - self.counted.0);
        counters.left_aside("too_many", counts.1 - self.counted.1);
        if counts.1 > self.counted.1 {
            let n = self.max_judged;
            self.teller.warn("too_many", || {
                format!(
                    "remote write: there are more than {n} CoreDNS servers, or too many series of \
                     one: what is beyond is not judged; send part of them to a second oddns, or raise \
                     `remote_write_receiver.max_servers`"
                )
            });
        }
        self.counted = counts;
    }

    fn forget(&mut self, now: Timestamp) {
        let after = i64::try_from(self.forget_after.as_millis()).unwrap_or(i64::MAX);
        let gone = self.remote.forget_before(now.millis().saturating_sub(after));
        self.gathering.forget(&gone);
        if let Some(keep) = &mut self.keep {
            keep.forget(&gone);
        }
    }
}
