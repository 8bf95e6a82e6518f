//! The last things a server printed, kept to show when it fails.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

const MAX_BYTES: usize = 64 * 1024;
const TAIL_LINES: usize = 20;

/// A bounded memory of output; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<VecDeque<u8>>>);

impl Log {
    /// Reads `output` on a thread of its own until it ends, which it does with the process.
    pub(crate) fn follow(&self, mut output: impl Read + Send + 'static) {
        let log = self.clone();
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut chunk) {
                log.append(&chunk[..length]);
            }
        });
    }

    /// The last lines, without the first one if that was cut.
    pub(crate) fn tail(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&bytes.iter().copied().collect::<Vec<_>>()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn append(&self, chunk: &[u8]) {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.extend(chunk);
        let excess = bytes.len().saturating_sub(MAX_BYTES);
        bytes.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_much_output_is_kept() {
        let log = Log::default();
        for line in 0..20_000 {
            log.append(format!("line {line}\n").as_bytes());
        }
        let tail = log.tail();
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("line 19999"), "{tail}");
        assert!(log.0.lock().unwrap().len() <= MAX_BYTES);
    }
}
