//! Why a request is refused as a whole.

use crate::protobuf::Damage;

/// Why nothing of a remote-write request was taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Another message than the two of remote write.
    #[error(
        "content type `{found}` is not known: send `application/x-protobuf`, with \
         `;proto=io.prometheus.write.v2.Request` for remote write 2.0"
    )]
    ContentType {
        /// The header.
        found: String,
    },
    /// Another compression than the one of remote write.
    #[error("content encoding `{found}` is not known: send `snappy`")]
    Encoding {
        /// The header.
        found: String,
    },
    /// The body is no snappy block, or a damaged one.
    #[error("the body is no snappy block")]
    Snappy(#[source] snap::Error),
    /// The body is no message of its type, or a damaged one.
    #[error("the message is damaged at byte {at}: {what}")]
    Damaged {
        /// Byte of the message, after decompression.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// More than a request may hold.
    #[error("the request has more than {limit} {what}: send less at once")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
}

impl From<Damage> for WriteError {
    fn from(damage: Damage) -> Self {
        Self::Damaged { at: damage.at, what: damage.what }
    }
}
