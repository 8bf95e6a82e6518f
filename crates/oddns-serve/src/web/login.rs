//! Names and passwords of those who ask.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oddns_collect::Secret;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

/// Hashes computed at a time: each takes a tenth of a second of a core.
const AT_ONCE: usize = 2;
/// Wrong passwords from one address …
const MAX_FAILURES: u32 = 10;
/// … within this time, before it has to wait for the rest of it.
const FAILURE_WINDOW: Duration = Duration::from_secs(60);
/// Addresses remembered for their failures; with more, all begin anew.
const MAX_ADDRESSES: usize = 10_000;
/// Good pairs of name and password that are remembered; with more, all are looked at anew.
const MAX_KNOWN: usize = 100;
/// What a password is compared with when nobody has the name, so that it takes as long. Its cost is
/// what `htpasswd` and the documentation of Prometheus use.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuuMAKuaSEKuPxGdiaGzUe/xhnl0QBBJYy";
/// No password is longer.
const MAX_HEADER: usize = 1024;

/// Who is known, and who guesses.
#[derive(Debug)]
pub(crate) struct Login {
    state: Mutex<State>,
    turns: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    /// Digests of pairs that were right.
    known: HashSet<[u8; 32]>,
    failures: HashMap<IpAddr, (u32, Instant)>,
}

/// What is made of somebody who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Welcome,
    /// Name or password is wrong or missing.
    Unknown,
    /// Too many wrong ones came from there.
    Wait,
}

impl Default for Login {
    fn default() -> Self {
        Self { state: Mutex::default(), turns: Semaphore::new(AT_ONCE) }
    }
}

impl Login {
    /// Looks at the header `Authorization` of somebody at `from`.
    pub(crate) async fn judge(
        &self,
        users: &BTreeMap<String, Secret>,
        authorization: Option<&[u8]>,
        from: IpAddr,
        now: Instant,
    ) -> Verdict {
        let Some((name, password)) = authorization.and_then(pair) else { return Verdict::Unknown };
        let hash = users.get(&name).map_or(NOBODY, Secret::expose).to_owned();
        let digest = digest(&name, &password, &hash);
        if self.knows(&digest) {
            return Verdict::Welcome;
        }
        if self.must_wait(from, now) {
            return Verdict::Wait;
        }
        let is_user = users.contains_key(&name);
        let is_right = self.compare(password, hash).await && is_user;
        self.note(digest, from, is_right, now);
        if is_right { Verdict::Welcome } else { Verdict::Unknown }
    }

    async fn compare(&self, password: Vec<u8>, hash: String) -> bool {
        let Ok(_turn) = self.turns.acquire().await else { return false };
        let compare = move || bcrypt::verify(password, &hash).unwrap_or(false);
        tokio::task::spawn_blocking(compare).await.unwrap_or(false)
    }

    fn knows(&self, digest: &[u8; 32]) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).known.contains(digest)
    }

    fn must_wait(&self, from: IpAddr, now: Instant) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures.get(&from).is_some_and(|(n, since)| {
            *n >= MAX_FAILURES && now.saturating_duration_since(*since) < FAILURE_WINDOW
        })
    }

    fn note(&self, digest: [u8; 32], from: IpAddr, is_right: bool, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if is_right {
            if state.known.len() >= MAX_KNOWN {
                state.known.clear();
            }
            state.known.insert(digest);
            return;
        }
        if state.failures.len() >= MAX_ADDRESSES {
            state.failures.clear();
        }
        let (n, since) = state.failures.entry(from).or_insert((0, now));
        if now.saturating_duration_since(*since) >= FAILURE_WINDOW {
            (*n, *since) = (0, now);
        }
        *n = n.saturating_add(1);
    }
}

/// Name and password of `Basic …`.
fn pair(authorization: &[u8]) -> Option<(String, Vec<u8>)> {
    let text = std::str::from_utf8(authorization).ok().filter(|text| text.len() <= MAX_HEADER)?;
    let (scheme, credentials) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = STANDARD.decode(credentials.trim()).ok()?;
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let name = String::from_utf8(bytes[..colon].to_vec()).ok()?;
    let password = bytes[colon + 1..].to_vec();
    // A NUL ends a password of bcrypt: what comes after it would not count.
    (!password.contains(&0)).then_some((name, password))
}

/// Of a pair and of the hash that it was right for, so that a new password makes the old one wrong.
fn digest(name: &str, password: &[u8], hash: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in [name.as_bytes(), password, hash.as_bytes()] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(pair: &str) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(pair)).into_bytes()
    }

    fn users() -> BTreeMap<String, Secret> {
        let hash = bcrypt::hash("hunter2", 4).unwrap();
        [("alice".to_owned(), Secret::new(hash))].into()
    }

    #[tokio::test]
    async fn the_right_pair_is_welcome_and_no_other() {
        let (login, users, now) = (Login::default(), users(), Instant::now());
        let from: IpAddr = "192.0.2.1".parse().unwrap();
        let judge = async |text: &[u8]| login.judge(&users, Some(text), from, now).await;
        for wrong in ["alice:hunter3", "alice:", "bob:hunter2", "alice", ":", "alice:hunter2\0"] {
            assert_eq!(judge(&header(wrong)).await, Verdict::Unknown, "{wrong}");
        }
        for wrong in ["", "Basic", "Basic !", "Bearer abc", "Basic \u{ff}"] {
            assert_eq!(judge(wrong.as_bytes()).await, Verdict::Unknown, "{wrong}");
        }
        assert_eq!(login.judge(&users, None, from, now).await, Verdict::Unknown);
        assert_eq!(judge(&header("alice:hunter2")).await, Verdict::Welcome);
        assert_eq!(judge(&header("alice:hunter2")).await, Verdict::Welcome);
        let renewed = [("alice".to_owned(), Secret::new(bcrypt::hash("new", 4).unwrap()))].into();
        let old = header("alice:hunter2");
        assert_eq!(login.judge(&renewed, Some(&old), from, now).await, Verdict::Unknown);
    }

    #[tokio::test]
    async fn who_guesses_has_to_wait_and_others_do_not() {
        let (login, users, now) = (Login::default(), users(), Instant::now());
        let (guesser, other): (IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let (right, wrong) = (header("alice:hunter2"), header("alice:guess"));
        for _ in 0..MAX_FAILURES {
            assert_eq!(login.judge(&users, Some(&wrong), guesser, now).await, Verdict::Unknown);
        }
        assert_eq!(login.judge(&users, Some(&right), guesser, now).await, Verdict::Wait);
        assert_eq!(login.judge(&users, Some(&wrong), other, now).await, Verdict::Unknown);
        let later = now + FAILURE_WINDOW;
        assert_eq!(login.judge(&users, Some(&right), guesser, later).await, Verdict::Welcome);
    }

    #[test]
    fn nobody_has_a_hash_that_takes_as_long() {
        assert!(!bcrypt::verify("", NOBODY).unwrap());
    }
}
