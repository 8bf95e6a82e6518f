//! Prints `docs/features.md`, the page about the features. `cargo xtask docs` writes it.
#![expect(clippy::print_stdout, reason = "printing is its job")]

use oddns_features::{Concern, FEATURES, Feature, Transform, Unit, schema};

const INTRODUCTION: &str = "\
oddns does not look at CoreDNS's metrics as they are. It computes the same features from them for
every CoreDNS version and set of labels, one row a scrape: rates instead of counters, shares instead
of counts, quantiles instead of buckets. The names below appear in scores, incidents, on the page and
in `oddns_feature_contribution_ratio`, `oddns_feature_observed` and `oddns_feature_expected`.

A feature is missing in a row when it is not defined there: a server without the `kubernetes` plugin
has no `dns_programming_rate`, an interval without queries has no `nxdomain_ratio`. Missing is not
zero, and a feature that goes missing where it never did before is odd in itself.

Scale says how a feature is modelled: on a `linear` scale a step counts the same anywhere, on a
`log` scale a factor does. Resolution is the smallest change on that scale that can matter; a feature
that never moved in training is not held to less.

Hurts says which way a feature has to go to concern those who ask. What goes the other way, or hurts
neither way, counts in part, as it comes of every change that somebody made on purpose: a busier
hour, another client. For some scrapes after a restart or a reload everything but failures counts in part:
that it happened explains what moves beside it.";

fn main() {
    println!("# Features\n");
    println!("<!-- Written by `cargo xtask docs` from the table `FEATURES`. -->\n");
    println!("{INTRODUCTION}\n");
    println!("{} features, schema `{}`.\n", FEATURES.len(), schema().id());
    println!("| feature | meaning | unit | scale | resolution | hurts |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for feature in FEATURES {
        println!("{}", row(feature));
    }
}

fn row(feature: &Feature) -> String {
    let Feature { name, unit, transform, resolution, doc, concern, .. } = feature;
    let scale = match transform {
        Transform::Linear => "linear".to_owned(),
        Transform::Log { offset } => format!("log, from {offset}"),
    };
    let (unit, hurts) = (word(*unit), hurts(*concern));
    format!("| `{name}` | {doc} | {unit} | {scale} | {resolution} | {hurts} |")
}

fn hurts(concern: Concern) -> &'static str {
    match concern {
        Concern::Either => "either way",
        Concern::Rise => "more",
        Concern::Failure => "more, always",
        Concern::Fall => "less",
        Concern::Neither => "neither",
        Concern::Explains => "explains",
    }
}

fn word(unit: Unit) -> &'static str {
    match unit {
        Unit::Ratio => "ratio",
        Unit::PerSecond => "1/s",
        Unit::Seconds => "s",
        Unit::Bytes => "bytes",
        Unit::Count => "count",
        Unit::Flag => "0 or 1",
    }
}
