//! Frames on disk.

use oddns_core::{Frame, Timestamp};
use oddns_store::{read_frame, write_frame};
use proptest::prelude::*;

fn bits(frame: &Frame) -> Vec<(i64, Vec<Option<u32>>)> {
    let row = |row: &[f32]| row.iter().map(|v| (!v.is_nan()).then_some(v.to_bits())).collect();
    frame.rows().map(|(time, values)| (time.millis(), row(values))).collect()
}

fn any_value() -> impl Strategy<Value = f32> {
    prop_oneof![any::<f32>(), Just(f32::NAN), Just(-0.0), Just(f32::MIN_POSITIVE / 2.0)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn saved_is_loaded(
        rows in proptest::collection::btree_map(
            -4_000_000_000_000_i64..4_000_000_000_000,
            (proptest::array::uniform3(any_value()), any::<bool>()),
            1..20,
        ),
        labelled in any::<bool>(),
    ) {
        let mut frame = Frame::new(vec!["a".into(), "b, \"c\"".into(), "ü;x".into()]);
        let mut labels = Vec::new();
        for (millis, (row, label)) in rows {
            frame.push(Timestamp::from_millis(millis), &row).unwrap();
            labels.push(label);
        }
        let labels = labelled.then_some(labels);
        let folder = tempfile::tempdir().unwrap();
        for name in ["frame.csv", "frame.parquet"] {
            let path = folder.path().join(name);
            write_frame(&path, &frame, labels.as_deref()).unwrap();
            let (found, found_labels) = read_frame(&path).unwrap();
            prop_assert_eq!(found.columns(), frame.columns());
            prop_assert_eq!(bits(&found), bits(&frame), "{}", name);
            prop_assert_eq!(&found_labels, &labels);
        }
    }
}

#[test]
fn a_frame_without_rows_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["frame.csv", "frame.parquet"] {
        let path = folder.path().join(name);
        write_frame(&path, &Frame::new(vec!["a".into()]), None).unwrap();
        let error = read_frame(&path).unwrap_err().to_string();
        assert!(error.contains("is empty: expected at least one row"), "{error}");
    }
}
