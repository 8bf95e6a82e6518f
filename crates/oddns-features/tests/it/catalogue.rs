//! The table of features: what other code and saved models rely on.

use std::collections::BTreeSet;

use oddns_features::{FEATURES, Transform, schema};

#[test]
fn names_are_unique_and_in_snake_case() {
    let names: BTreeSet<&str> = FEATURES.iter().map(|feature| feature.name).collect();
    assert_eq!(names.len(), FEATURES.len());
    for name in names {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(name.chars().all(plain) && !name.contains("__"), "{name}");
        assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
    }
}

#[test]
fn every_feature_has_a_sentence_and_a_scale() {
    for feature in FEATURES {
        let doc = feature.doc;
        assert!(doc.ends_with('.') && !doc.contains('\n'), "{}: {doc}", feature.name);
        assert!(doc.starts_with(|c: char| c.is_uppercase() || c == '1'), "{}: {doc}", feature.name);
        assert_eq!(feature.is_divergence(), feature.name.starts_with("divergence_"));
        assert!(feature.resolution > 0.0, "{}", feature.name);
        if let Transform::Log { offset } = feature.transform {
            assert!(offset > 0.0, "{}", feature.name);
        }
    }
}

#[test]
fn units_are_those_of_the_names() {
    for feature in FEATURES {
        let unit = match feature.name {
            // Quotients and differences, whatever it is that they compare.
            name if name.starts_with("divergence_") => "",
            name if name.ends_with("_ratio") => "",
            name if name.ends_with("_rate") => "/s",
            name if name.ends_with("_seconds") => "s",
            name if name.ends_with("_bytes") => "B",
            _ => "",
        };
        assert_eq!(feature.unit.as_str(), unit, "{}", feature.name);
    }
}

/// Another name, unit or order makes every saved model useless: a change here must be meant.
#[test]
fn the_columns_are_those_that_models_were_trained_on() {
    let line = |f: &oddns_features::Feature| format!("{} {:?}\n", f.name, f.unit);
    let lines: String = FEATURES.iter().map(line).collect();
    insta::assert_snapshot!(format!("schema {}\n{lines}", schema().id()));
}
