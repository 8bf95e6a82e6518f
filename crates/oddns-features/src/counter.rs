//! Counters that restart from zero.

/// How much a counter grew between two scrapes, as Prometheus's `increase` sees it: a lower value
/// means that the counter restarted from zero in between, so all of it is new.
///
/// `previous` is `None` for a series that was not there at the last successful scrape. CoreDNS
/// creates a series with its first event, so such a series began at zero.
pub(crate) fn increase(previous: Option<f64>, value: f64) -> f64 {
    match previous {
        Some(previous) if value >= previous => value - previous,
        // Below zero a counter says nothing.
        _ => value.max(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_and_birth_count_from_zero() {
        assert_eq!(increase(Some(10.0), 14.0), 4.0);
        assert_eq!(increase(Some(10.0), 10.0), 0.0);
        assert_eq!(increase(Some(10.0), 3.0), 3.0);
        assert_eq!(increase(None, 2.0), 2.0);
    }
}
