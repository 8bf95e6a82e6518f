//! `POST /api/v1/write`.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Body as _;
use oddns_collect::{WriteVersion, wall_clock};
use tokio::sync::mpsc::error::TrySendError as TrySendEventError;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;

use super::answer::Answer;
use super::ingest::Job;
use super::{Receiver, Reception};
use crate::event::Event;
use crate::server::Peer;
use crate::shared::Shared;

/// Takes one remote-write request.
pub(crate) async fn write(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let receiver = match shared.reception() {
        Reception::Open(receiver) => receiver,
        Reception::Closed => return Answer::Closed.into_response(),
        Reception::Disabled => return Answer::Disabled.into_response(),
    };
    let sender = request.extensions().get::<Peer>().copied();
    let mut n_bytes = 0;
    receiver.show_waiting(&shared);
    let (version, answer) = receiver.answer(request, &mut n_bytes).await;
    receiver.show_waiting(&shared);
    let code = answer.status().as_u16();
    shared.metrics().receive().answered(version, code, n_bytes, answer.counts());
    for (cause, text) in answer.causes() {
        receiver.complain(&shared, cause, sender, &text);
    }
    answer.into_response()
}

impl Receiver {
    async fn answer(
        &self,
        request: Request,
        n_bytes: &mut usize,
    ) -> (Option<WriteVersion>, Answer) {
        let version = match version(request.headers()) {
            Ok(version) => version,
            Err(answer) => return (None, answer),
        };
        let reading = self.body(request.into_body());
        let (body, memory) = match timeout(self.settings.body_timeout, reading).await {
            Ok(Ok(read)) => read,
            Ok(Err(answer)) => return (Some(version), answer),
            Err(_) => return (Some(version), Answer::Slow),
        };
        *n_bytes = body.len();
        let (reply, replied) = oneshot::channel();
        let job = Job { version, body, reply, _memory: memory };
        if self.jobs.send_timeout(job, self.settings.patience).await.is_err() {
            return (Some(version), Answer::Busy);
        }
        (Some(version), replied.await.unwrap_or(Answer::Failed))
    }

    /// Reads a body piece by piece, as long as it is within its limit and there is memory for it.
    async fn body(&self, mut body: Body) -> Result<(Vec<u8>, OwnedSemaphorePermit), Answer> {
        let limit = self.settings.limits.max_compressed_bytes;
        if body.size_hint().lower() > limit as u64 {
            return Err(Answer::TooLong { limit });
        }
        let mut memory = self.memory(1).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = next_piece(&mut body).await? {
            if bytes.len() + piece.len() > limit {
                return Err(Answer::TooLong { limit });
            }
            memory.merge(self.memory(piece.len()).await?);
            bytes.extend_from_slice(&piece);
        }
        Ok((bytes, memory))
    }

    /// Room for so many bytes, once there is some.
    async fn memory(&self, n_bytes: usize) -> Result<OwnedSemaphorePermit, Answer> {
        let n = u32::try_from(n_bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.memory).acquire_many_owned(n);
        match timeout(self.settings.patience, room).await {
            Ok(Ok(memory)) => Ok(memory),
            _ => Err(Answer::Busy),
        }
    }
}

impl Receiver {
    fn show_waiting(&self, shared: &Shared) {
        let most = self.settings.max_waiting_bytes;
        let free = self.memory.available_permits() * 1024;
        shared.metrics().receive().set_waiting(most.saturating_sub(free), most);
    }

    /// Tells what is wrong with what is sent, of each cause once a minute.
    fn complain(&self, shared: &Shared, cause: &'static str, sender: Option<Peer>, text: &str) {
        let time = wall_clock();
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        if !throttle.allows("", cause, time) {
            return;
        }
        drop(throttle);
        let from = sender.map(|Peer(address)| format!(" from {}", address.ip()));
        let text = format!("remote write{}: {text}", from.unwrap_or_default());
        if let Err(TrySendEventError::Full(_)) = self.events.try_send(Event::Warning { time, text })
        {
            shared.metrics().event_dropped();
        }
    }
}

fn version(headers: &HeaderMap) -> Result<WriteVersion, Answer> {
    // A header that is no text is one that we do not know.
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    WriteVersion::of(text(header::CONTENT_TYPE), text(header::CONTENT_ENCODING))
        .map_err(Answer::Refused)
}

/// The next bytes; trailers are passed over.
async fn next_piece(body: &mut Body) -> Result<Option<Bytes>, Answer> {
    loop {
        match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
            None => return Ok(None),
            Some(Err(_)) => return Err(Answer::Broken),
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}
