//! Long work on a thread of its own, while Python's thread listens for Ctrl-C.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use oddns::Progress;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// How often Python's thread looks up: half of what a person takes for at once.
const TICK: Duration = Duration::from_millis(50);
/// How long stopped work may take to notice. What takes longer ends by itself, unheard.
const GRACE: Duration = Duration::from_millis(100);

/// Between the work and Python's thread.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    stop: AtomicBool,
    step: AtomicUsize,
    steps: AtomicUsize,
    /// Bits of an `f32`.
    loss: AtomicU32,
}

impl Signal {
    /// For the work: where it stands, and whether it goes on.
    pub(crate) fn tell(&self, progress: Progress) -> ControlFlow<()> {
        self.step.store(progress.step, Ordering::Relaxed);
        self.steps.store(progress.steps, Ordering::Relaxed);
        self.loss.store(progress.loss.to_bits(), Ordering::Relaxed);
        if self.stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Whether nobody waits for the work any more.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Calls `listener(step, steps, loss)` once there is a step.
    fn show(&self, listener: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let steps = self.steps.load(Ordering::Relaxed);
        let (Some(listener), true) = (listener, steps > 0) else { return Ok(()) };
        let loss = f32::from_bits(self.loss.load(Ordering::Relaxed));
        listener.call1((self.step.load(Ordering::Relaxed), steps, loss)).map(drop)
    }
}

/// Does `work` without the interpreter's lock. Ctrl-C, and an exception of `listener`, stop it
/// within the length of a step; work that hears of no stop goes on unheard, and its result is lost.
pub(crate) fn run<T: Send + 'static>(
    py: Python<'_>,
    listener: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&Signal) -> T + Send + 'static,
) -> PyResult<T> {
    let signal = Arc::new(Signal::default());
    let (sender, receiver) = channel();
    // A receiver is not `Sync`, which waiting without the interpreter's lock asks for.
    let receiver = Mutex::new(receiver);
    let heard = Arc::clone(&signal);
    let worker = thread::Builder::new().name("oddns".to_owned());
    worker.spawn(move || {
        // Nobody listens any more after a Ctrl-C.
        let _ = sender.send(work(&heard));
    })?;
    loop {
        match wait(py, &receiver, TICK) {
            Ok(result) => {
                signal.show(listener)?;
                return Ok(result);
            }
            Err(RecvTimeoutError::Disconnected) => {
                let message = "oddns failed, which is a bug: report it with the data";
                return Err(PyRuntimeError::new_err(message));
            }
            Err(RecvTimeoutError::Timeout) => {
                py.check_signals().and_then(|()| signal.show(listener)).inspect_err(|_| {
                    signal.stop.store(true, Ordering::Relaxed);
                    let _ = wait(py, &receiver, GRACE);
                })?;
            }
        }
    }
}

fn wait<T: Send>(
    py: Python<'_>,
    receiver: &Mutex<Receiver<T>>,
    time: Duration,
) -> Result<T, RecvTimeoutError> {
    py.detach(|| match receiver.lock() {
        Ok(receiver) => receiver.recv_timeout(time),
        Err(_) => Err(RecvTimeoutError::Disconnected),
    })
}
