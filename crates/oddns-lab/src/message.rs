//! The little of the DNS wire format the lab speaks: one question, at most one record in reply.
//!
//! Written here and not taken from a library because this is all the lab needs, and a full DNS
//! library costs two dozen crates to build. RFC 1035 is the source of every number.

/// Longest message the lab reads or writes over UDP; clients of the lab send no EDNS.
pub(crate) const MAX_MESSAGE_BYTES: usize = 4096;
const HEADER_BYTES: usize = 12;
const MAX_NAME_BYTES: usize = 255;
const MAX_LABEL_BYTES: usize = 63;
const CLASS_IN: u16 = 1;
/// Pointer to offset 12, where the only question of a message starts.
const QUESTION_POINTER: [u8; 2] = [0xC0, HEADER_BYTES as u8];
const FLAG_REPLY: u8 = 0x80;
const FLAG_TRUNCATED: u8 = 0x02;
const FLAG_RECURSION_DESIRED: u8 = 0x01;
const FLAG_RECURSION_AVAILABLE: u8 = 0x80;

/// Record types the lab asks for and answers, with their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum RecordType {
    A = 1,
    Soa = 6,
    Ptr = 12,
    Txt = 16,
    Aaaa = 28,
    Srv = 33,
}

/// Why a packet is not one the lab understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MessageError {
    #[error("message ends too early")]
    Short,
    #[error("message is not the kind that was expected")]
    Kind,
    #[error("name is longer than DNS allows or points elsewhere")]
    Name,
}

/// A name in wire form: labels with their lengths and the closing zero; at most 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name(Vec<u8>);

impl Name {
    /// From dotted text, with or without the last dot; escapes are not understood.
    pub(crate) fn parse(text: &str) -> Result<Self, MessageError> {
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in text.trim_end_matches('.').split('.').filter(|_| !text.is_empty()) {
            if label.is_empty() || label.len() > MAX_LABEL_BYTES {
                return Err(MessageError::Name);
            }
            wire.push(label.len() as u8);
            wire.extend_from_slice(label.as_bytes());
        }
        Self::closed(wire)
    }

    /// This name under `suffix`, as a search path does.
    pub(crate) fn under(&self, suffix: &Self) -> Result<Self, MessageError> {
        let mut wire = self.0.clone();
        wire.pop();
        wire.extend_from_slice(&suffix.0[..suffix.0.len() - 1]);
        Self::closed(wire)
    }

    fn closed(mut wire: Vec<u8>) -> Result<Self, MessageError> {
        wire.push(0);
        if wire.len() > MAX_NAME_BYTES { Err(MessageError::Name) } else { Ok(Self(wire)) }
    }
}

/// Writes a question as a stub resolver asks it: one question, recursion desired, no EDNS.
pub(crate) fn write_query(id: u16, name: &Name, record_type: RecordType, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&[FLAG_RECURSION_DESIRED, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&name.0);
    out.extend_from_slice(&(record_type as u16).to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
}

/// A question as it stands in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Query<'a> {
    pub(crate) id: u16,
    recursion_desired: bool,
    /// Name, type and class, to be echoed byte for byte (some resolvers mix the case of names).
    question: &'a [u8],
    pub(crate) record_type: u16,
}

impl Query<'_> {
    /// The name in lower case with a dot behind every label; the root is `.`. A dot within a label
    /// is not escaped: the upstream only compares names with its own.
    pub(crate) fn name(&self) -> String {
        let mut text = String::new();
        let mut rest = self.question;
        while let Some((&length, after)) = rest.split_first().filter(|(length, _)| **length > 0) {
            let (label, next) = after.split_at(usize::from(length).min(after.len()));
            text.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
            text.push('.');
            rest = next;
        }
        if text.is_empty() { ".".to_owned() } else { text }
    }
}

/// Reads a standard query with exactly one question; what follows the question is ignored.
pub(crate) fn read_query(packet: &[u8]) -> Result<Query<'_>, MessageError> {
    let header = packet.get(..HEADER_BYTES).ok_or(MessageError::Short)?;
    let one_question = header[4..6] == [0, 1];
    if header[2] & !FLAG_RECURSION_DESIRED != 0 || !one_question {
        return Err(MessageError::Kind);
    }
    let body = &packet[HEADER_BYTES..];
    let name_bytes = name_length(body)?;
    let question = body.get(..name_bytes + 4).ok_or(MessageError::Short)?;
    Ok(Query {
        id: u16::from_be_bytes([header[0], header[1]]),
        recursion_desired: header[2] & FLAG_RECURSION_DESIRED != 0,
        question,
        record_type: u16::from_be_bytes([question[name_bytes], question[name_bytes + 1]]),
    })
}

/// Bytes of the uncompressed name at the start of `body`, the closing zero included.
fn name_length(body: &[u8]) -> Result<usize, MessageError> {
    let mut at = 0;
    loop {
        match usize::from(*body.get(at).ok_or(MessageError::Short)?) {
            0 => return Ok(at + 1),
            length if length > MAX_LABEL_BYTES => return Err(MessageError::Name),
            length => at += length + 1,
        }
        if at >= MAX_NAME_BYTES {
            return Err(MessageError::Name);
        }
    }
}

/// What a reply says beside echoing its question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Response code, 0 to 15.
    pub(crate) rcode: u8,
    pub(crate) truncated: bool,
    /// Seconds the record may be kept.
    pub(crate) ttl_seconds: u32,
    pub(crate) record: Option<Record>,
}

/// The one record of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// Data of a record of the type that was asked for.
    Answer(Vec<u8>),
    /// The authority of the root zone: without it nobody caches that a name does not exist.
    NoSuchRecord,
}

/// Writes the reply to `query`.
pub(crate) fn write_reply(query: &Query<'_>, reply: &Reply, out: &mut Vec<u8>) {
    let truncated = if reply.truncated { FLAG_TRUNCATED } else { 0 };
    let desired = if query.recursion_desired { FLAG_RECURSION_DESIRED } else { 0 };
    let (answers, authorities) = match (&reply.record, reply.truncated) {
        (None, _) | (_, true) => (0, 0),
        (Some(Record::Answer(_)), false) => (1, 0),
        (Some(Record::NoSuchRecord), false) => (0, 1),
    };
    out.clear();
    out.extend_from_slice(&query.id.to_be_bytes());
    out.push(FLAG_REPLY | truncated | desired);
    out.push(FLAG_RECURSION_AVAILABLE | (reply.rcode & 0x0F));
    out.extend_from_slice(&[0, 1, 0, answers, 0, authorities, 0, 0]);
    out.extend_from_slice(query.question);
    match &reply.record {
        Some(Record::Answer(data)) if answers == 1 => {
            write_record(&QUESTION_POINTER, query.record_type, reply.ttl_seconds, data, out);
        }
        Some(Record::NoSuchRecord) if authorities == 1 => {
            let data = root_authority(reply.ttl_seconds);
            write_record(&[0], RecordType::Soa as u16, reply.ttl_seconds, &data, out);
        }
        _ => {}
    }
}

fn write_record(owner: &[u8], record_type: u16, ttl: u32, data: &[u8], out: &mut Vec<u8>) {
    let data = &data[..data.len().min(MAX_MESSAGE_BYTES / 2)];
    out.extend_from_slice(owner);
    out.extend_from_slice(&record_type.to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
}

/// Data of the root's SOA: two empty names, then serial, refresh, retry, expire and minimum.
fn root_authority(minimum_seconds: u32) -> Vec<u8> {
    let mut data = vec![0, 0];
    for number in [1, 1800, 900, 604_800, minimum_seconds] {
        data.extend_from_slice(&number.to_be_bytes());
    }
    data
}

/// The part of a reply that a client of the lab looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReplyHeader {
    pub(crate) id: u16,
    /// 0 to 15.
    pub(crate) rcode: u8,
    pub(crate) truncated: bool,
    pub(crate) n_answers: u16,
}

/// Reads the header of a reply.
pub(crate) fn read_reply(packet: &[u8]) -> Result<ReplyHeader, MessageError> {
    let header = packet.get(..HEADER_BYTES).ok_or(MessageError::Short)?;
    if header[2] & FLAG_REPLY == 0 {
        return Err(MessageError::Kind);
    }
    Ok(ReplyHeader {
        id: u16::from_be_bytes([header[0], header[1]]),
        rcode: header[3] & 0x0F,
        truncated: header[2] & FLAG_TRUNCATED != 0,
        n_answers: u16::from_be_bytes([header[6], header[7]]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query_packet(name: &str) -> Vec<u8> {
        let mut packet = Vec::new();
        write_query(7, &Name::parse(name).unwrap(), RecordType::A, &mut packet);
        packet
    }

    #[test]
    fn a_question_reads_back() {
        let packet = query_packet("API.example.com.");
        let query = read_query(&packet).unwrap();
        assert_eq!((query.id, query.record_type), (7, RecordType::A as u16));
        assert_eq!(query.name(), "api.example.com.");
        assert_eq!(read_query(&query_packet("")).unwrap().name(), ".");
    }

    #[test]
    fn a_search_domain_is_appended() {
        let name = Name::parse("api").unwrap().under(&Name::parse("cluster.local").unwrap());
        assert_eq!(name, Name::parse("api.cluster.local."));
    }

    #[test]
    fn names_beyond_the_limits_are_refused() {
        for text in [format!("{}.com", "x".repeat(64)), "x.".repeat(200), "a..b".to_owned()] {
            assert_eq!(Name::parse(&text), Err(MessageError::Name), "{text}");
        }
    }

    #[test]
    fn replies_say_what_was_asked_for() {
        let packet = query_packet("api.example.com");
        let query = read_query(&packet).unwrap();
        let mut reply = Reply {
            rcode: 0,
            truncated: false,
            ttl_seconds: 30,
            record: Some(Record::Answer(vec![198, 18, 0, 1])),
        };
        let mut out = Vec::new();
        write_reply(&query, &reply, &mut out);
        let header = ReplyHeader { id: 7, rcode: 0, truncated: false, n_answers: 1 };
        assert_eq!(read_reply(&out), Ok(header));
        assert_eq!(out.len(), packet.len() + 16);
        reply.truncated = true;
        write_reply(&query, &reply, &mut out);
        assert_eq!(read_reply(&out), Ok(ReplyHeader { truncated: true, n_answers: 0, ..header }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(packet in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = read_reply(&packet);
            if let Ok(query) = read_query(&packet) {
                let mut out = Vec::new();
                let reply = Reply { rcode: 3, truncated: false, ttl_seconds: 1,
                    record: Some(Record::NoSuchRecord) };
                write_reply(&query, &reply, &mut out);
                prop_assert_eq!(read_reply(&out).unwrap().id, query.id);
                let _ = query.name();
            }
        }

        /// Damage anywhere in a good packet is refused or read as another question.
        #[test]
        fn damaged_questions_are_read_without_panic(
            at in 0usize..33, byte in any::<u8>(), cut in 0usize..34,
        ) {
            let mut packet = query_packet("api.example.com");
            packet[at] = byte;
            packet.truncate(cut);
            let _ = read_query(&packet).map(|query| query.name());
        }
    }
}
