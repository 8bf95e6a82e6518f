//! Orders from outside: to read the configuration anew, and to end.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Orders that may wait; a second one of a kind adds nothing.
const QUEUE: usize = 4;
/// Who asked over HTTP waits for the answer so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// An order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Read the configuration anew.
    Reload,
    /// End, as after a signal.
    Quit,
}

/// An order, and who waits for what becomes of it.
#[derive(Debug)]
pub struct OrderTaken {
    /// What is to be done.
    pub order: Order,
    reply: oneshot::Sender<Result<(), String>>,
}

impl OrderTaken {
    /// Says what became of it: on failure why, in words.
    pub fn done(self, result: Result<(), String>) {
        // Whoever asked may have gone.
        let _ = self.reply.send(result);
    }
}

/// Where orders over HTTP go. Nowhere, until somebody takes them.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    orders: Mutex<Option<mpsc::Sender<OrderTaken>>>,
}

/// Why an order was not carried out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotDone {
    /// Orders are not taken over HTTP.
    Disabled,
    /// It was tried, or could not be; in words.
    Failed(String),
}

impl Lifecycle {
    /// From now on orders are taken; they come out of what is given.
    pub(crate) fn enable(&self) -> mpsc::Receiver<OrderTaken> {
        let (sender, orders) = mpsc::channel(QUEUE);
        *self.orders.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        orders
    }

    /// Gives an order and waits for what becomes of it.
    pub(crate) async fn give(&self, order: Order) -> Result<(), NotDone> {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let orders = orders.ok_or(NotDone::Disabled)?;
        let (reply, replied) = oneshot::channel();
        let busy = |_| NotDone::Failed("oddns is busy with orders: try again later".to_owned());
        orders.try_send(OrderTaken { order, reply }).map_err(busy)?;
        match timeout(PATIENCE, replied).await {
            Ok(Ok(result)) => result.map_err(NotDone::Failed),
            _ => Err(NotDone::Failed("no answer: oddns may be ending".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_order_is_answered_by_who_takes_it() {
        let lifecycle = Lifecycle::default();
        assert_eq!(lifecycle.give(Order::Reload).await, Err(NotDone::Disabled));
        let mut orders = lifecycle.enable();
        tokio::spawn(async move {
            while let Some(taken) = orders.recv().await {
                let result = match taken.order {
                    Order::Reload => Err("line 1".to_owned()),
                    Order::Quit => Ok(()),
                };
                taken.done(result);
            }
        });
        let failed = NotDone::Failed("line 1".to_owned());
        assert_eq!(lifecycle.give(Order::Reload).await, Err(failed));
        assert_eq!(lifecycle.give(Order::Quit).await, Ok(()));
    }
}
