//! When the configuration is read anew: on a signal, by an order over HTTP, and when a file changed.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use oddns_collect::wall_clock;
use oddns_serve::{Event, Order, OrderTaken, Shared};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::World;
use super::setup::Setup;
use crate::args::Watch;

/// Time that the targets of a new configuration have to be found, before others are forgotten.
const SETTLE: Duration = Duration::from_secs(60);

/// What is to be done next.
pub(super) enum Next {
    /// End.
    End,
    /// Read the configuration anew; `None` when nobody waits for what becomes of it.
    Reload(Option<OrderTaken>),
    /// The targets of the new configuration should be there by now.
    Settled,
}

/// Waits for reasons to do something.
pub(super) struct Reloads {
    interrupted: Pin<Box<dyn Future<Output = ()> + Send>>,
    hangup: Option<Signal>,
    orders: Option<mpsc::Receiver<OrderTaken>>,
    file: Option<PathBuf>,
    poll_every: Option<Duration>,
    /// Hash of the file when it was last looked at.
    content: Option<u64>,
    settled_at: Option<Instant>,
}

impl Reloads {
    /// Listens for signals from now on.
    pub(super) fn new(args: &Watch, shared: &Arc<Shared>) -> Self {
        let file = args.config_file.clone();
        let content = file.as_deref().and_then(hash);
        Self {
            interrupted: Box::pin(crate::signals::interrupted()),
            hangup: signal(SignalKind::hangup()).ok(),
            orders: args.enable_lifecycle.then(|| shared.enable_lifecycle()),
            file,
            poll_every: args.auto_reload_interval,
            content,
            settled_at: None,
        }
    }

    /// The next thing to do.
    pub(super) async fn next(&mut self) -> Next {
        loop {
            let settled_at = self.settled_at.unwrap_or_else(Instant::now);
            tokio::select! {
                () = &mut self.interrupted => return Next::End,
                () = hung_up(&mut self.hangup) => return Next::Reload(None),
                Some(order) = ordered(&mut self.orders) => match order.order {
                    Order::Reload => return Next::Reload(Some(order)),
                    Order::Quit => {
                        order.done(Ok(()));
                        return Next::End;
                    }
                },
                () = sleep(self.poll_every.unwrap_or(SETTLE)), if self.poll_every.is_some() => {
                    if self.has_changed() {
                        return Next::Reload(None);
                    }
                }
                () = sleep_until(settled_at), if self.settled_at.is_some() => {
                    self.settled_at = None;
                    return Next::Settled;
                }
            }
        }
    }

    /// Whether the file is another than when this was last asked; one that cannot be read is not.
    fn has_changed(&mut self) -> bool {
        let content = self.file.as_deref().and_then(hash);
        let changed = content.is_some() && content != self.content;
        self.content = content.or(self.content);
        changed
    }

    /// Takes a configuration that was read, or says why the one before goes on to hold.
    pub(super) fn judge(
        &mut self,
        world: &World<'_>,
        before: &Setup,
        read: anyhow::Result<Setup>,
        order: Option<OrderTaken>,
    ) -> Option<Setup> {
        let time = wall_clock();
        self.has_changed();
        world.shared.metrics().config_read(read.is_ok().then_some(time));
        let text = match &read {
            Ok(new) if new.listen_address != before.listen_address => {
                "the configuration was read anew; to listen elsewhere takes a restart".to_owned()
            }
            Ok(_) => "the configuration was read anew".to_owned(),
            Err(error) => format!("the configuration of before goes on to hold: {error:#}"),
        };
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        if let Some(order) = order {
            order.done(read.as_ref().map(|_| ()).map_err(|_| text.clone()));
        }
        let event = match read {
            Ok(_) => Event::Notice { time, text },
            Err(_) => Event::Warning { time, text },
        };
        let _ = world.events.try_send(event);
        let new = read.ok()?;
        self.settled_at = Some(Instant::now() + SETTLE);
        Some(Setup { listen_address: before.listen_address, ..new })
    }
}

async fn hung_up(hangup: &mut Option<Signal>) {
    if let Some(signal) = hangup
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}

async fn ordered(orders: &mut Option<mpsc::Receiver<OrderTaken>>) -> Option<OrderTaken> {
    match orders {
        Some(orders) => orders.recv().await,
        None => std::future::pending().await,
    }
}

fn hash(file: &Path) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    std::fs::read(file).ok()?.hash(&mut hasher);
    Some(hasher.finish())
}
