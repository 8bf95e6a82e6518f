//! Looking into data sets, and giving them away.

use std::fs;
use std::path::Path;

use oddns_core::{Recording, Sample, Scrape, SeriesKey, SeriesTable, Timestamp};
use oddns_store::{
    Anonymiser, Dataset, HistoryFilter, Place, anonymise, describe, read_history, validate,
    write_history,
};

const START: i64 = 1_795_331_512_000;

fn recording(instance: &str, n_scrapes: i64) -> Recording {
    let mut series = SeriesTable::default();
    let labels = r#"{server="dns://10.0.0.1:53",zone="corp.example."}"#.parse().unwrap();
    let id = series.intern(&SeriesKey { name: "coredns_dns_requests_total".into(), labels });
    let scrape = |at: i64| Scrape {
        time: Timestamp::from_millis(START + 15_000 * at),
        up: true,
        duration_seconds: 0.01,
        samples: vec![Sample { series: id, value: at as f64 }],
    };
    let scrapes = (0..n_scrapes).map(scrape).collect();
    Recording { instance: instance.into(), series, scrapes }
}

fn data_set(root: &Path) {
    let recordings = [recording("10.0.0.1:9153", 8), recording("10.0.0.2:9153", 8)];
    let dataset = Dataset { corefile: Some("corp.example {}".into()), ..Dataset::default() };
    write_history(root, &dataset, &recordings).unwrap();
    let labels =
        "kind,start,end,instance,anomalous\nrestart,1795331512,1795331513,10.0.0.2:9153,1\n";
    fs::write(root.join("labels.csv"), labels).unwrap();
}

#[test]
fn a_sound_data_set_has_no_mistakes_and_each_mistake_has_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("history");
    data_set(&root);
    let found = validate(&root).unwrap();
    assert_eq!((found.files, found.rows, &found.mistakes[..]), (1, 48, &[][..]));

    // A copy makes every sample a duplicate; another day makes every row wrong.
    let part = root.join("day=2026-11-22/part-0.parquet");
    fs::copy(&part, root.join("day=2026-11-22/part-1.parquet")).unwrap();
    let found = validate(&root).unwrap();
    assert_eq!(found.mistakes.len(), 1);
    assert_eq!(found.mistakes[0].reason, "48 samples are in more than one file");
    fs::create_dir(root.join("day=2026-11-21")).unwrap();
    fs::rename(root.join("day=2026-11-22/part-1.parquet"), root.join("day=2026-11-21/x.parquet"))
        .unwrap();
    let found = validate(&root).unwrap();
    assert_eq!(found.mistakes.len(), 5, "no more are told of one file");
    assert_eq!(found.mistakes[0].place, Some(Place::Row(1)));
    assert_eq!(found.mistakes[0].reason, "its time is of another day");

    let bytes = fs::read(&part).unwrap();
    fs::write(&part, &bytes[..bytes.len() / 2]).unwrap();
    fs::remove_dir_all(root.join("day=2026-11-21")).unwrap();
    fs::write(root.join("labels.csv"), "kind\n").unwrap();
    let found = validate(&root).unwrap();
    let reasons: Vec<&str> = found.mistakes.iter().map(|mistake| &mistake.reason[..]).collect();
    assert_eq!(reasons.len(), 2);
    assert!(reasons[0].contains("expected a header"), "{reasons:?}");
    assert!(reasons[1].contains("damaged or cut short"), "{reasons:?}");
}

#[test]
fn a_data_set_is_described_by_server() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("history");
    data_set(&root);
    let filter = HistoryFilter { instance: Some("10.0.0.2:9153".into()), ..Default::default() };
    let found = describe(&root, &filter).unwrap();
    assert_eq!((found.samples, found.instances.len()), (24, 1));
    let server = &found.instances[0];
    assert_eq!((server.series, server.scrapes, server.interval_seconds), (3, 8, 15.0));
    assert!(server.gaps.is_empty() && server.resets.is_empty());
}

#[test]
fn an_anonymous_copy_has_the_same_numbers_and_none_of_the_names() {
    let folder = tempfile::tempdir().unwrap();
    let (root, out) = (folder.path().join("history"), folder.path().join("out"));
    data_set(&root);
    let names = Anonymiser::new(b"0123456789abcdef");
    assert_eq!(anonymise(&root, &out, &names).unwrap(), 48);
    assert!(anonymise(&root, &out, &names).is_err(), "an existing folder is left alone");
    assert_eq!(validate(&out).unwrap().mistakes, []);
    let history = read_history(&out, &HistoryFilter::default()).unwrap();
    let instances: Vec<String> =
        history.recordings.iter().map(|recording| recording.instance.clone()).collect();
    let labels = history.labels.unwrap();
    assert_eq!(labels[0].instance, Some(names.instance("10.0.0.2:9153")));
    assert!(instances.contains(&names.instance("10.0.0.2:9153")));
    let text = fs::read_to_string(out.join("dataset.json")).unwrap();
    let hidden = format!("{:?}{labels:?}{text}", history.recordings);
    assert!(!hidden.contains("10.0.0") && !hidden.contains("corp"), "{hidden}");
    for recording in &history.recordings {
        let values = recording.scrapes.iter().map(|scrape| scrape.samples[0].value);
        assert_eq!(values.collect::<Vec<_>>(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    }
}
