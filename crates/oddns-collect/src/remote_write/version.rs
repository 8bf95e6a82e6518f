//! Which of the two messages a request holds, as its headers say it.

use super::WriteError;

/// A version of Prometheus's remote-write protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteVersion {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

impl WriteVersion {
    /// From the headers `Content-Type` and `Content-Encoding`; without them it is 1.0 in snappy, as
    /// senders of the first days wrote it. Fails for any other type or encoding.
    pub fn of(
        content_type: Option<&str>,
        content_encoding: Option<&str>,
    ) -> Result<Self, WriteError> {
        match content_encoding.map(str::trim) {
            None | Some("") => {}
            Some(encoding) if encoding.eq_ignore_ascii_case("snappy") => {}
            Some(encoding) => return Err(WriteError::Encoding { found: shown(encoding) }),
        }
        let content_type = content_type.unwrap_or_default();
        Self::of_type(content_type)
            .ok_or_else(|| WriteError::ContentType { found: shown(content_type) })
    }

    fn of_type(content_type: &str) -> Option<Self> {
        let mut parts = content_type.split(';').map(str::trim);
        match parts.next()? {
            "" => return Some(Self::V1),
            media if media.eq_ignore_ascii_case("application/x-protobuf") => {}
            _ => return None,
        }
        let mut version = Self::V1;
        for part in parts.filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=')?;
            if key.trim().eq_ignore_ascii_case("proto") {
                version = match value.trim().trim_matches('"') {
                    "prometheus.WriteRequest" => Self::V1,
                    "io.prometheus.write.v2.Request" => Self::V2,
                    _ => return None,
                };
            }
        }
        Some(version)
    }
}

/// Short and without control characters.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_tell_the_version() {
        let of = |content_type, encoding| WriteVersion::of(content_type, encoding).ok();
        let (v1, v2) = (Some(WriteVersion::V1), Some(WriteVersion::V2));
        let plain = Some("application/x-protobuf");
        assert_eq!(of(None, None), v1);
        assert_eq!(of(plain, Some("snappy")), v1);
        assert_eq!(of(Some("application/x-protobuf;proto=prometheus.WriteRequest"), None), v1);
        let second = "Application/X-Protobuf; proto=io.prometheus.write.v2.Request";
        assert_eq!(of(Some(second), Some("Snappy")), v2);
        assert_eq!(of(Some("application/x-protobuf;proto=other"), None), None);
        assert_eq!(of(Some("application/json"), None), None);
        assert_eq!(of(Some("application/x-protobuf;proto"), None), None);
        let zstd = WriteVersion::of(plain, Some("zstd")).unwrap_err().to_string();
        assert!(zstd.contains("`zstd`"), "{zstd}");
    }
}
