//! When to scrape: at the same places of every interval, each target at a place of its own.

use std::time::Duration;

use oddns_core::Timestamp;

/// The first instant after `now` that is `offset` into an interval counted from the Unix epoch.
///
/// `offset` counts modulo `interval`; an interval below a millisecond is one millisecond. Missed
/// instants are skipped, and after a step of the clock the next one fits the new time.
pub fn next_scrape(now: Timestamp, interval: Duration, offset: Duration) -> Timestamp {
    let interval = whole_millis(interval).max(1);
    let offset = whole_millis(offset) % interval;
    let into = (now.millis().rem_euclid(interval) - offset).rem_euclid(interval);
    Timestamp::from_millis(now.millis().saturating_add(interval - into))
}

/// Where in the interval `target` has its place: the same at every start, spread evenly over
/// targets. Below `interval`, in whole milliseconds; zero for an interval of zero.
pub fn target_offset(target: &str, interval: Duration) -> Duration {
    let interval = whole_millis(interval).max(1) as u64;
    Duration::from_millis(spread(target) % interval)
}

fn whole_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// FNV-1a, 64 bit, and the finaliser of MurmurHash3: FNV alone leaves like names close together.
fn spread(text: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INTERVAL: Duration = Duration::from_secs(15);

    fn next(now: i64, interval: u64, offset: u64) -> i64 {
        let (interval, offset) = (Duration::from_millis(interval), Duration::from_millis(offset));
        next_scrape(Timestamp::from_millis(now), interval, offset).millis()
    }

    #[test]
    fn is_aligned_and_later() {
        assert_eq!(next(0, 15_000, 0), 15_000);
        assert_eq!(next(14_999, 15_000, 0), 15_000);
        assert_eq!(next(15_000, 15_000, 4_000), 19_000);
        assert_eq!(next(19_000, 15_000, 4_000), 34_000);
        assert_eq!(next(-1, 15_000, 0), 0);
        assert_eq!(next(7, 0, 5), 8);
    }

    #[test]
    fn targets_spread_over_the_interval() {
        let mut thirds = [0; 3];
        for n in 0..300 {
            let offset = target_offset(&format!("http://10.0.0.{n}:9153/metrics"), INTERVAL);
            thirds[(offset.as_secs() / 5) as usize] += 1;
        }
        assert!(thirds.iter().all(|count| (70..130).contains(count)), "{thirds:?}");
        assert_eq!(target_offset("a", INTERVAL), target_offset("a", INTERVAL));
        assert_eq!(target_offset("a", Duration::ZERO), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn next_is_within_one_interval(now: i64, interval in 0..1_u64 << 62, offset: u64) {
            let then = next(now, interval, offset);
            let step = interval.max(1) as i128;
            prop_assert!(then == i64::MAX || (1..=step).contains(&(then as i128 - now as i128)));
            prop_assert!(then == i64::MAX
                || (then as i128 - (offset.min(i64::MAX as u64) as i128)).rem_euclid(step) == 0);
        }
    }
}
