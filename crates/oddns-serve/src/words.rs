//! Numbers as an operator reads them.

use oddns_features::{FEATURES, Transform};

/// A value with its unit, in three significant digits; `missing` for NaN.
pub fn shown_value(value: f32, unit: &str) -> String {
    if value.is_nan() {
        return "missing".to_owned();
    }
    match unit {
        "s" if value.abs() < 1e-3 => format!("{} µs", digits(value * 1e6)),
        "s" if value.abs() < 1.0 => format!("{} ms", digits(value * 1e3)),
        "s" => format!("{} s", digits(value)),
        "B" if value.abs() >= 1048576.0 => format!("{} MiB", digits(value / 1048576.0)),
        "B" if value.abs() >= 1024.0 => format!("{} KiB", digits(value / 1024.0)),
        "B" => format!("{} B", digits(value)),
        unit => format!("{}{unit}", digits(value)),
    }
}

/// Three significant digits, without an exponent where that can be read.
fn digits(value: f32) -> String {
    let size = value.abs();
    match size {
        // Below what anybody acts on.
        _ if size < 5e-4 => "0".to_owned(),
        _ if size >= 100_000.0 => format!("{value:.2e}"),
        _ if size >= 100.0 => format!("{value:.0}"),
        _ if size >= 10.0 => format!("{value:.1}"),
        _ => {
            let text = format!("{value:.*}", if size >= 1.0 { 2 } else { 3 });
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

/// The value of a feature of CoreDNS, by its name; without a unit when it is none of these.
pub(crate) fn shown_feature(name: &str, value: f32) -> String {
    let feature = FEATURES.iter().find(|feature| feature.name == name);
    match feature {
        // What is expected of a share that is always zero may be a hair less.
        Some(feature) if feature.transform == Transform::Linear && name.ends_with("_ratio") => {
            shown_value(if value.is_nan() { value } else { 100.0 * value.max(0.0) }, " %")
        }
        Some(feature) => shown_value(value, feature.unit.as_str()),
        None => shown_value(value, ""),
    }
}

/// Seconds as `76 s` or `4 min 10 s`.
pub fn shown_span(seconds: f64) -> String {
    let seconds = seconds.round().max(0.0) as u64;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        120..7200 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A probability as `92 %`, never as certain: it is only inferred.
pub(crate) fn shown_probability(probability: f32) -> String {
    match (100.0 * probability).round() {
        percent if percent >= 1.0 => format!("{} %", percent.min(99.0)),
        _ => "<1 %".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_well() {
        for (number, unit, expected) in [
            (0.0, "", "0"),
            (0.18, "", "0.18"),
            (0.000_25, "s", "250 µs"),
            (0.0345, "s", "34.5 ms"),
            (2.5, "s", "2.5 s"),
            (94_371_840.0, "B", "90.0 MiB"),
            (87.26, "/s", "87.3/s"),
            (f32::NAN, "s", "missing"),
        ] {
            assert_eq!(shown_value(number, unit), expected);
        }
        assert_eq!(shown_value(41.26, " %"), "41.3 %");
        assert_eq!((shown_span(250.0), shown_span(76.4)), ("4 min 10 s".into(), "76 s".into()));
        assert_eq!(shown_feature("servfail_ratio", 0.954), "95.4 %");
        assert_eq!(shown_feature("servfail_ratio", f32::NAN), "missing");
        let shown = [1.0, 0.918, 0.001, f32::NAN].map(shown_probability);
        assert_eq!(shown, ["99 %", "92 %", "<1 %", "<1 %"]);
    }
}
