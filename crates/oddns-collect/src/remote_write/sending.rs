//! A `prometheus.WriteRequest` of ours.

use crate::protobuf::{put_bytes, put_double, put_number};
use crate::relabel::LabelMap;

use super::v1::canonical;

/// A request of version 1.0 that is put together, to be sent to somebody who takes remote writes.
#[derive(Debug, Default)]
pub struct WriteRequest {
    message: Vec<u8>,
    n_samples: usize,
}

impl WriteRequest {
    /// Adds a sample of the series with these labels, `__name__` among them; those with an empty value
    /// are left out. `millis` is Unix time, `value` any f64: NaN keeps its bits.
    pub fn push(&mut self, labels: &LabelMap, millis: i64, value: f64) {
        let pairs = labels.iter().filter(|(_, value)| !value.is_empty());
        let pairs: Vec<_> = pairs.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut series = canonical(&pairs);
        let mut sample = Vec::with_capacity(20);
        put_double(&mut sample, 1, value);
        // As two's complement, as Protocol Buffers have it.
        put_number(&mut sample, 2, millis as u64);
        put_bytes(&mut series, 2, &sample);
        put_bytes(&mut self.message, 1, &series);
        self.n_samples += 1;
    }

    /// How many samples it has.
    pub fn n_samples(&self) -> usize {
        self.n_samples
    }

    /// The snappy block to send. Fails beyond 4 GiB.
    pub fn body(&self) -> std::io::Result<Vec<u8>> {
        snap::raw::Encoder::new().compress_vec(&self.message).map_err(std::io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use oddns_core::Timestamp;

    use super::*;
    use crate::remote_write::{RemoteWrite, WriteBatch, WriteLimits, WriteVersion};

    #[test]
    fn our_receiver_reads_what_is_written() {
        let labels = [("__name__", "up"), ("instance", "a:1"), ("empty", "")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let stale = f64::from_bits(0x7ff0_0000_0000_0002);
        let mut request = WriteRequest::default();
        request.push(&labels, 1_795_331_512_000, 1.5);
        request.push(&labels, 1_795_331_513_000, stale);
        assert_eq!(request.n_samples(), 2);
        let mut remote = RemoteWrite::new(WriteLimits::default());
        let (now, mut batch) = (Timestamp::from_millis(1_795_331_514_000), WriteBatch::default());
        remote.read(WriteVersion::V1, &request.body().unwrap(), now, &mut batch).unwrap();
        let samples: Vec<(i64, u64)> =
            batch.samples.iter().map(|sample| (sample.millis, sample.value.to_bits())).collect();
        let expected =
            [(1_795_331_512_000, 1.5_f64.to_bits()), (1_795_331_513_000, stale.to_bits())];
        assert_eq!(samples, expected);
    }
}
