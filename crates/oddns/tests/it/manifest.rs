//! A damaged model file is refused with a reason.

use oddns::{Detector, DetectorError};
use serde_json::{Value, json};

use crate::recording::detector;

/// The reason for refusing a model whose `oddns.json` is `text`.
fn reason(text: &str) -> String {
    let (network, _) = oddns_model::decode(&detector().encode().unwrap()).unwrap();
    let bytes = oddns_model::encode(&network, text).unwrap();
    match Detector::decode(&bytes) {
        Err(DetectorError::Manifest { reason }) => reason,
        other => panic!("{text:.60}: {other:?}"),
    }
}

/// A detector without a network whose `oddns.json` is tampered with.
pub(crate) struct Altered(Value);

impl Altered {
    pub(crate) fn of(detector: &Detector) -> Self {
        let text = oddns_model::decode_extra(&detector.encode().unwrap()).unwrap();
        Self(serde_json::from_str(&text.unwrap()).unwrap())
    }

    pub(crate) fn kind(&self) -> &str {
        self.0["detector"].as_str().unwrap()
    }

    pub(crate) fn decoded(&self, place: &str, value: Value) -> Result<Detector, DetectorError> {
        let mut manifest = self.0.clone();
        *manifest.pointer_mut(place).unwrap() = value;
        Detector::decode(&oddns_model::encode_extra(&manifest.to_string()).unwrap())
    }

    /// Why it is refused.
    pub(crate) fn reason(&self, place: &str, value: Value) -> String {
        match self.decoded(place, value) {
            Err(DetectorError::Manifest { reason }) => reason,
            other => panic!("{place}: {other:?}"),
        }
    }
}

fn manifest() -> Value {
    let (_, text) = oddns_model::decode(&detector().encode().unwrap()).unwrap();
    serde_json::from_str(&text.unwrap()).unwrap()
}

/// The reason for refusing a manifest with one value set, or taken away.
fn reason_with(place: &str, value: Option<Value>) -> String {
    let mut manifest = manifest();
    match value {
        Some(value) => *manifest.pointer_mut(place).unwrap() = value,
        None => {
            let (parent, key) = place.rsplit_once('/').unwrap();
            manifest.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key).unwrap();
        }
    }
    reason(&manifest.to_string())
}

#[test]
fn what_is_no_manifest_is_refused() {
    for text in ["", "{", "[]", "null", "3", "{}", "{\"format\":\"1\"}", "{\"format\":1}", "\u{0}"]
    {
        assert!(!reason(text).is_empty(), "{text}");
    }
    assert!(reason("{\"format\":5}").contains("missing field `detector`"));
    let deep = "[".repeat(100_000);
    assert!(reason(&deep).contains("recursion limit") || reason(&deep).contains("invalid type"));
}

#[test]
fn a_manifest_cut_anywhere_is_refused() {
    let whole = manifest().to_string();
    for part in 1..20 {
        let mut end = whole.len() * part / 20;
        while !whole.is_char_boundary(end) {
            end -= 1;
        }
        assert!(!reason(&whole[..end]).is_empty());
    }
}

#[test]
fn another_format_says_who_can_read_it() {
    let found = reason_with("/format", Some(json!(6)));
    assert_eq!(found, "format 6 is not format 5: use the oddns that wrote it");
}

#[test]
fn a_missing_or_unknown_entry_is_named() {
    for place in ["/columns", "/calibration/unit", "/training/seed", "/columns/3/mean"] {
        let key = place.rsplit_once('/').unwrap().1;
        let found = reason_with(place, None);
        assert!(found.contains(&format!("missing field `{key}`")), "{found}");
    }
    let mut manifest = manifest();
    manifest["surprise"] = json!(1);
    assert!(reason(&manifest.to_string()).contains("unknown field `surprise`"));
}

#[test]
fn columns_that_are_not_those_of_the_network_are_refused() {
    let mut manifest = manifest();
    manifest["columns"].as_array_mut().unwrap().pop();
    let width = detector().columns().len();
    let found = reason(&manifest.to_string());
    assert_eq!(found, format!("{} columns for a network of {width} features", width - 1));
    let found = reason_with("/columns/0/name", Some(json!("renamed")));
    assert_eq!(found, "schema_id does not belong to the columns");
    let found = reason_with("/schema_id", Some(json!("0000000000000000")));
    assert_eq!(found, "schema_id does not belong to the columns");
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    for key in ["scale", "floor", "resolution", "members/sustained", "members/level"] {
        for value in [json!(0.0), json!(-1.0), json!(1e300), json!(null), json!("1")] {
            reason_with(&format!("/columns/2/{key}"), Some(value));
        }
    }
    for (place, value) in [
        ("/columns/0/log_offset", json!(0.0)),
        ("/columns/0/log_offset", json!(1e300)),
        ("/columns/2/mean", json!(-1e300)),
        ("/columns/2/missing_ratio", json!(-0.5)),
        ("/columns/2/missing_ratio", json!(1.5)),
        ("/n_rows", json!(-1)),
        ("/n_rows", json!(1.5)),
        ("/calibration/unit", json!([1.0])),
        ("/calibration/unit/0", json!(0.0)),
        ("/calibration/unit/1", json!(1e300)),
        ("/calibration/fresh", json!(-1.0)),
        ("/calibration/level_weight", json!(1e300)),
        ("/calibration/scale_weight", json!(1.5)),
        ("/columns/2/members/level_gain", json!(1.5)),
        ("/columns/2/members/reach_half", json!(0.0)),
        ("/columns/2/members/reach_middle", json!(1e300)),
        ("/calibration/outside_weight", json!(-1.0)),
        ("/columns/2/members/surprise", json!(-1.0)),
        ("/calibration/line", json!([1.0])),
        ("/calibration/change", json!([])),
        ("/calibration/structure", json!([0.0, 1.0])),
        ("/training/seed", json!(-1)),
    ] {
        assert!(!reason_with(place, Some(value)).is_empty(), "{place}");
    }
}

#[test]
fn a_keras_file_without_our_entry_is_not_ours() {
    let (network, _) = oddns_model::decode(&detector().encode().unwrap()).unwrap();
    let bytes = oddns_model::encode(&network, "").unwrap();
    assert!(matches!(Detector::decode(&bytes), Err(DetectorError::Manifest { .. })));
}

#[test]
fn a_file_cut_or_changed_anywhere_is_an_error_or_a_detector() {
    let bytes = detector().encode().unwrap();
    for part in 0..40 {
        assert!(Detector::decode(&bytes[..bytes.len() * part / 40]).is_err());
    }
    for at in (0..bytes.len()).step_by(bytes.len() / 100) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x55;
        // A changed weight is another model; all that is asked for is that nothing panics.
        let _ = Detector::decode(&changed);
    }
}
