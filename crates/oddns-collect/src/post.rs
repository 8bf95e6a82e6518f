//! Sending something to a server, as a configuration describes how to speak to it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oddns_core::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use tokio::time::timeout;

use crate::http::{HttpClient, HttpConfig, HttpError};
use crate::scraping::wall_clock;
use crate::secret::{Secret, SecretSource};

/// Most bytes of a refusal that are read, to say why.
const MAX_REFUSAL_BYTES: usize = 1024;
/// Most letters of a refusal that are told.
const TOLD_LETTERS: usize = 200;

/// As HTTP writes them.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Why something could not be sent. No message shows the address: it may hold a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostError {
    /// The file with the address.
    #[error("cannot read the file with the address")]
    File(#[source] std::io::Error),
    /// The address.
    #[error("the address is no URL of http or https")]
    Address,
    /// Nothing came back.
    #[error("nobody took it")]
    Http(#[source] HttpError),
    /// It took too long.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// An answer other than 2xx.
    #[error("the answer is {status}: {text}")]
    Refused {
        /// Its status.
        status: u16,
        /// The beginning of what it says, without control characters.
        text: String,
        /// How long it asks us to wait, if it does.
        retry_after: Option<Duration>,
    },
}

impl PostError {
    /// Whether it makes sense to send the same again: not when the receiver says that it is wrong.
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::Refused { status: 400..=499, .. })
            || matches!(self, Self::Refused { status: 401 | 403 | 404 | 408 | 425 | 429, .. })
    }
}

/// Sends to one address over kept connections. Redirects are not followed.
#[derive(Debug)]
pub struct Poster {
    address: SecretSource,
    headers: Vec<(String, Secret)>,
    http: HttpConfig,
    /// The client of the address that was last used.
    client: Mutex<Option<(Secret, Arc<HttpClient>)>>,
}

impl Poster {
    /// Sends to `address`, which is looked at when something is sent: a file is read each time.
    pub fn new(address: SecretSource, http: HttpConfig) -> Self {
        Self { address, headers: Vec::new(), http, client: Mutex::default() }
    }

    /// The same, and sends these headers too.
    pub fn with_headers(self, headers: Vec<(String, Secret)>) -> Self {
        Self { headers, ..self }
    }

    /// Sends `body`, and waits for a good answer for `limit` at most.
    ///
    /// # Errors
    /// When nobody took it; [`PostError::may_pass`] says whether to try again.
    pub async fn post(
        &self,
        content_type: &'static str,
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<(), PostError> {
        let exchange = self.exchange(content_type, body);
        timeout(limit, exchange).await.map_err(|_| PostError::Timeout(limit))?
    }

    async fn exchange(&self, content_type: &'static str, body: Vec<u8>) -> Result<(), PostError> {
        let address = self.read().await?;
        let url = url_of(&address)?;
        let client = self.client(address, &url);
        let mut headers = self.headers()?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let response = client.post(&url, &headers, body).await.map_err(PostError::Http)?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(refusal(status, response).await),
        }
    }

    fn headers(&self) -> Result<HeaderMap, PostError> {
        let odd = || PostError::Http(HttpError::Credentials);
        let mut headers = HeaderMap::new();
        for (name, text) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| odd())?;
            let mut value = HeaderValue::from_str(text.expose()).map_err(|_| odd())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(headers)
    }

    async fn read(&self) -> Result<Secret, PostError> {
        let address = self.address.clone();
        match tokio::task::spawn_blocking(move || address.read()).await {
            Ok(read) => read.map_err(PostError::File),
            Err(gone) => Err(PostError::File(std::io::Error::other(gone))),
        }
    }

    fn client(&self, address: Secret, url: &Url) -> Arc<HttpClient> {
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, client)) = kept.as_ref()
            && *known == address
        {
            return Arc::clone(client);
        }
        let http = self.http.clone();
        let client = match (url.host_str(), &http.tls.server_name) {
            (Some(host), Some(_)) if url.scheme() == "https" => HttpClient::pinned(http, host),
            _ => HttpClient::new(http, url.scheme() == "https"),
        };
        let client = Arc::new(client);
        *kept = Some((address, Arc::clone(&client)));
        client
    }
}

/// Host, port and path of an address, to call it by: without credentials, scheme and query.
///
/// # Errors
/// When nothing can be sent there, as it is no URL of http or https.
pub fn address_name(address: &Secret) -> Result<String, PostError> {
    let url = url_of(address)?;
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("{host}{port}{}", url.path()))
}

fn url_of(address: &Secret) -> Result<Url, PostError> {
    let url = Url::parse(address.expose()).map_err(|_| PostError::Address)?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(PostError::Address),
    }
}

async fn refusal(status: StatusCode, mut response: Response) -> PostError {
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|text| wait_of(text.trim(), wall_clock()));
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(MAX_REFUSAL_BYTES - body.len())]);
        if body.len() >= MAX_REFUSAL_BYTES {
            break;
        }
    }
    let text = String::from_utf8_lossy(&body);
    let text = text.chars().filter(|c| !c.is_control()).take(TOLD_LETTERS).collect();
    PostError::Refused { status: status.as_u16(), text, retry_after }
}

/// What `Retry-After` says: seconds, or a date such as `Sun, 06 Nov 2026 08:49:37 GMT`, which is none
/// when it is over.
fn wait_of(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let parts: Vec<&str> = text.split(' ').collect();
    let [_, day, month, year, time, "GMT"] = parts[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let date: Timestamp = format!("{year}-{month:02}-{day}T{time}Z").parse().ok()?;
    Duration::try_from_secs_f64(date.seconds_since(now)).ok()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn poster(address: String) -> Poster {
        Poster::new(SecretSource::Inline(Secret::new(address)), HttpConfig::default())
    }

    async fn answering(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        format!("http://{address}/hook/s3cret")
    }

    #[tokio::test]
    async fn an_answer_decides() {
        let address = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        poster(address).post("text/plain", b"x".to_vec(), LIMIT).await.unwrap();
        let wrong = "HTTP/1.1 400 Bad\r\ncontent-length: 4\r\n\r\nno\n!";
        let error = poster(answering(wrong).await).post("text/plain", vec![], LIMIT).await;
        let error = error.unwrap_err();
        assert_eq!(error.to_string(), "the answer is 400: no!");
        assert!(!error.may_pass());
        let busy = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n";
        let error = poster(answering(busy).await).post("text/plain", vec![], LIMIT).await;
        assert!(error.unwrap_err().may_pass());
        let moved = "HTTP/1.1 302 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        let error = poster(answering(moved).await).post("text/plain", vec![], LIMIT).await;
        assert_eq!(error.unwrap_err().to_string(), "the answer is 302: ");
    }

    #[test]
    fn a_receiver_may_ask_for_time() {
        let now = "2026-11-23T21:00:00Z".parse().unwrap();
        let wait = |text| wait_of(text, now).map(|wait| wait.as_secs());
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait("Mon, 23 Nov 2026 21:01:30 GMT"), Some(90));
        assert_eq!(wait("Mon, 23 Nov 2026 20:59:00 GMT"), None);
        for odd in ["", "soon", "-1", "Mon, 23 Foo 2026 21:01:30 GMT", "a b c d e GMT"] {
            assert_eq!(wait(odd), None, "{odd}");
        }
    }

    #[test]
    fn an_address_is_called_by_what_is_no_secret() {
        let name = |url: &str| address_name(&Secret::new(url)).ok();
        let full = "https://me:s3cret@prom.example:9090/api/v1/write?token=s3cret#x";
        assert_eq!(name(full).as_deref(), Some("prom.example:9090/api/v1/write"));
        assert_eq!(name("http://[::1]").as_deref(), Some("[::1]/"));
        assert_eq!((name("ftp://a/"), name("prom:9090")), (None, None));
    }

    #[tokio::test]
    async fn silence_ends_and_no_message_shows_the_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/s3cret", listener.local_addr().unwrap());
        let soon = Duration::from_millis(30);
        let silent = poster(address).post("text/plain", vec![], soon).await.unwrap_err();
        assert_eq!(silent.to_string(), "no answer within 30 ms");
        for address in ["s3cret", "ftp://s3cret", "http://127.0.0.1:1/s3cret"] {
            let error = poster(address.to_owned()).post("text/plain", vec![], LIMIT).await;
            let error = error.unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        }
    }

    #[tokio::test]
    async fn an_address_in_a_file_may_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        let poster = Poster::new(SecretSource::File(file.clone()), HttpConfig::default());
        assert!(matches!(poster.post("text/plain", vec![], LIMIT).await, Err(PostError::File(_))));
        let address = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        std::fs::write(&file, format!("{address}\n")).unwrap();
        poster.post("text/plain", vec![], LIMIT).await.unwrap();
    }
}
