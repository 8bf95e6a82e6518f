//! What was done to the servers and when: the truth a detection is judged against.

use std::fmt::Write;

use oddns_core::Timestamp;

/// One thing that was done, from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelInterval {
    /// Name in the fault table.
    pub kind: String,
    /// When it was applied.
    pub start: Timestamp,
    /// When it was taken back, not before `start`. What the servers feel may last longer.
    pub end: Timestamp,
    /// The server it was done to, as `host:port` of its metrics; `*` for all.
    pub instance: String,
    /// `false` for a benign change that must not raise an alarm.
    pub anomalous: bool,
}

/// The intervals as `labels.csv`: `kind,start,end,instance,anomalous`, times in Unix seconds.
pub fn labels_csv(labels: &[LabelInterval]) -> String {
    let mut text = "kind,start,end,instance,anomalous\n".to_owned();
    for label in labels {
        let (start, end) = (label.start.unix_seconds(), label.end.unix_seconds());
        let (instance, anomalous) = (&label.instance, u8::from(label.anomalous));
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{},{start:.3},{end:.3},{instance},{anomalous}", label.kind);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_written_as_the_data_set_wants_them() {
        let label = LabelInterval {
            kind: "upstream_outage".into(),
            start: Timestamp::from_millis(1_000_500),
            end: Timestamp::from_millis(1_060_000),
            instance: "*".into(),
            anomalous: true,
        };
        assert_eq!(
            labels_csv(&[label]),
            "kind,start,end,instance,anomalous\nupstream_outage,1000.500,1060.000,*,1\n"
        );
    }
}
