//! Work that takes a part of one processor, and ends when it is told to.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::setpriority_process;
use rustix::time::{ClockId, clock_gettime};

/// Work is stopped for a rest after so much of it: short beside the 100 ms over which the limits of
/// containers count.
const SLICE: Duration = Duration::from_millis(10);
/// The lowest priority: who scores comes first.
const NICENESS: i32 = 19;

/// Lets the work of one thread rest, so that it takes a part of one processor. What counts is time of
/// the processor: a thread that has to wait for it needs no rest beside.
#[derive(Debug)]
pub struct Pacer {
    share: f64,
    stop: Arc<Stop>,
    /// Time of the processor at the last rest.
    rested_at: Cell<Duration>,
}

impl Pacer {
    /// For the thread that calls it, whose priority becomes the lowest, for good. `share` is cut to
    /// 0.01 to 1; at 1 there is no rest.
    pub fn begin(share: f64) -> Self {
        Self::of(share, Arc::default())
    }

    pub(crate) fn of(share: f64, stop: Arc<Stop>) -> Self {
        // On Linux this is about the thread alone. Where it is refused, rests are all there is.
        let _ = setpriority_process(None, NICENESS);
        Self { share: share.clamp(0.01, 1.0), stop, rested_at: Cell::new(worked()) }
    }

    /// Called between pieces of work: rests when it is time to, and says whether to go on.
    pub fn rest(&self) -> ControlFlow<()> {
        let busy = worked().saturating_sub(self.rested_at.get());
        let ended = if busy < SLICE {
            self.stop.within(Duration::ZERO)
        } else {
            let ended = self.stop.within(rest_after(busy, self.share));
            self.rested_at.set(worked());
            ended
        };
        if ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// How long to rest after work.
fn rest_after(busy: Duration, share: f64) -> Duration {
    busy.mul_f64(1.0 / share - 1.0)
}

/// Time of the processor that this thread has used.
pub(super) fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let whole = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or_default());
    whole + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or_default())
}

/// Tells a thread to end.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    told: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(crate) fn tell(&self) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits; true as soon as it was told.
    pub(crate) fn within(&self, time: Duration) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told || time.is_zero() {
            return *told;
        }
        let waited = self.changed.wait_timeout_while(told, time, |told| !*told);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_leave_the_rest() {
        let busy = Duration::from_millis(20);
        assert_eq!(rest_after(busy, 1.0), Duration::ZERO);
        assert_eq!(rest_after(busy, 0.25), Duration::from_millis(60));
        assert_eq!(rest_after(busy, 0.01), Duration::from_millis(1980));
    }

    #[test]
    fn work_ends_when_it_is_told_to() {
        let stop = Arc::<Stop>::default();
        let told = Arc::clone(&stop);
        let working = std::thread::spawn(move || {
            let pacer = Pacer::of(0.5, told);
            let mut n = 0_u64;
            while pacer.rest().is_continue() {
                n += 1;
            }
            n
        });
        stop.tell();
        assert!(working.join().is_ok());
        assert!(stop.within(Duration::from_secs(3600)));
    }
}
