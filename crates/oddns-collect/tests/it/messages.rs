//! Prometheus's messages, declared for `prost`: the oracle of our own decoder, and its peer in
//! `cargo xtask bench ingest`.

/// `prometheus.*`, remote write 1.0 and remote read.
pub(crate) mod v1 {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        pub(crate) timeseries: Vec<TimeSeries>,
        #[prost(message, repeated, tag = "3")]
        pub(crate) metadata: Vec<Metadata>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Metadata {
        #[prost(int32, tag = "1")]
        pub(crate) kind: i32,
        #[prost(string, tag = "2")]
        pub(crate) name: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        pub(crate) labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        pub(crate) samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(crate) exemplars: Vec<Exemplar>,
        #[prost(message, repeated, tag = "4")]
        pub(crate) histograms: Vec<Histogram>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Label {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
        #[prost(string, tag = "2")]
        pub(crate) value: String,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(crate) struct Sample {
        #[prost(double, tag = "1")]
        pub(crate) value: f64,
        #[prost(int64, tag = "2")]
        pub(crate) timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Exemplar {
        #[prost(message, repeated, tag = "1")]
        pub(crate) labels: Vec<Label>,
        #[prost(double, tag = "2")]
        pub(crate) value: f64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Histogram {
        #[prost(double, tag = "3")]
        pub(crate) sum: f64,
        #[prost(int64, tag = "15")]
        pub(crate) timestamp: i64,
    }
}

/// `io.prometheus.write.v2.*`.
pub(crate) mod v2 {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Request {
        #[prost(string, repeated, tag = "4")]
        pub(crate) symbols: Vec<String>,
        #[prost(message, repeated, tag = "5")]
        pub(crate) timeseries: Vec<TimeSeries>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct TimeSeries {
        #[prost(uint32, repeated, tag = "1")]
        pub(crate) labels_refs: Vec<u32>,
        #[prost(message, repeated, tag = "2")]
        pub(crate) samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(crate) histograms: Vec<super::v1::Histogram>,
        #[prost(message, repeated, tag = "4")]
        pub(crate) exemplars: Vec<Exemplar>,
        #[prost(message, optional, tag = "5")]
        pub(crate) metadata: Option<Metadata>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(crate) struct Sample {
        #[prost(double, tag = "1")]
        pub(crate) value: f64,
        #[prost(int64, tag = "2")]
        pub(crate) timestamp: i64,
        #[prost(int64, tag = "3")]
        pub(crate) start_timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Exemplar {
        #[prost(uint32, repeated, tag = "1")]
        pub(crate) labels_refs: Vec<u32>,
        #[prost(double, tag = "2")]
        pub(crate) value: f64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(crate) struct Metadata {
        #[prost(int32, tag = "1")]
        pub(crate) kind: i32,
        #[prost(uint32, tag = "3")]
        pub(crate) help_ref: u32,
    }
}

/// A series as a test writes it: label pairs, then times and values.
pub(crate) type Series = (Vec<(String, String)>, Vec<(i64, f64)>);

/// The body of a 1.0 request.
pub(crate) fn body_v1(series: &[Series]) -> Vec<u8> {
    let timeseries = series.iter().map(|(labels, samples)| v1::TimeSeries {
        labels: labels
            .iter()
            .map(|(name, value)| v1::Label { name: name.clone(), value: value.clone() })
            .collect(),
        samples: samples
            .iter()
            .map(|(timestamp, value)| v1::Sample { value: *value, timestamp: *timestamp })
            .collect(),
        ..v1::TimeSeries::default()
    });
    compressed(&v1::WriteRequest { timeseries: timeseries.collect(), metadata: vec![] })
}

/// The body of a 2.0 request.
pub(crate) fn body_v2(series: &[Series]) -> Vec<u8> {
    let mut symbols = vec![String::new()];
    let mut known = std::collections::HashMap::from([(String::new(), 0)]);
    let mut reference = |text: &String| {
        *known.entry(text.clone()).or_insert_with(|| {
            symbols.push(text.clone());
            symbols.len() as u32 - 1
        })
    };
    let timeseries = series.iter().map(|(labels, samples)| v2::TimeSeries {
        labels_refs: labels.iter().flat_map(|(n, v)| [reference(n), reference(v)]).collect(),
        samples: samples
            .iter()
            .map(|(timestamp, value)| v2::Sample {
                value: *value,
                timestamp: *timestamp,
                start_timestamp: 7,
            })
            .collect(),
        ..v2::TimeSeries::default()
    });
    let timeseries = timeseries.collect();
    compressed(&v2::Request { symbols, timeseries })
}

/// A message as it is sent.
pub(crate) fn compressed(message: &impl prost::Message) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).unwrap_or_default()
}
