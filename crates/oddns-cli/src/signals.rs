//! The signals that ask the program to end.

use std::sync::OnceLock;

use anyhow::Context;
use nix::sys::signal::Signal;

use crate::exit::Exit;

/// The first signal that came since [`listen`] was first called.
static SEEN: OnceLock<Exit> = OnceLock::new();
static LISTENS: OnceLock<()> = OnceLock::new();

/// Ends with the first interrupt or request to terminate from now on, polled or not.
pub(crate) fn interrupted() -> impl Future<Output = ()> + Send {
    let signalled = signalled();
    async move {
        signalled.await;
    }
}

/// The same, and says how a program ends whose work the signal has cut short.
pub(crate) fn signalled() -> impl Future<Output = Exit> + Send {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => Exit::Interrupted,
            _ = terminate.recv() => Exit::Terminated,
        }
    }
}

/// From now on a signal does not end the program at once: work without a runtime asks [`seen`] between
/// two pieces, and ends by itself.
pub(crate) fn listen() -> anyhow::Result<()> {
    if LISTENS.set(()).is_err() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot listen for signals")?;
    let signalled = {
        let _entered = runtime.enter();
        signalled()
    };
    std::thread::spawn(move || SEEN.set(runtime.block_on(signalled)));
    Ok(())
}

/// From now on a file that may not grow any more (`ulimit -f`) is an error of whoever writes it, as on a
/// full disk; the signal that would end the program without a word has no effect.
pub(crate) fn keep_file_size_an_error() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot listen for signals")?;
    let _entered = runtime.enter();
    // Who has once asked for a signal has taken its effect away for good.
    let file_size = SignalKind::from_raw(Signal::SIGXFSZ as i32);
    signal(file_size).map(drop).context("cannot listen for signals")
}

/// The signal that came since [`listen`].
pub(crate) fn seen() -> Option<Exit> {
    SEEN.get().copied()
}
