//! Data of any kind, as a user has it in files.

use std::fs;
use std::path::{Path, PathBuf};

use oddns_core::Timestamp;
use oddns_data::{Data, DataError, Selection, read};

fn bundled(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../oddns-cli/data").join(name)
}

fn everything(path: &Path) -> Result<Data, DataError> {
    read(path, &Selection::default())
}

#[test]
fn a_part_of_a_data_set_is_the_same_rows_as_of_the_whole() {
    let folder = bundled("coredns-faults");
    let whole = everything(&folder).unwrap().instances;
    assert!(whole.len() > 1 && whole.iter().all(|instance| instance.frame.len() > 100));
    let name = whole[1].name.clone();
    let since = whole[1].frame.timestamps()[50];
    let selection = Selection { since: Some(since), instance: Some(name.clone()), until: None };
    let part = read(&folder, &selection).unwrap();
    assert_eq!((part.instances.len(), part.silent.len()), (1, 0));
    assert_eq!(part.instances[0].name, name);
    let (whole, part) = (&whole[1].frame, &part.instances[0].frame);
    // The first scrape of a part has none before it, and gives no row.
    assert_eq!(part.timestamps(), &whole.timestamps()[51..]);
}

#[test]
fn what_a_data_set_calls_normal_is_learned_unless_a_time_is_asked_for() {
    let folder = bundled("coredns-faults");
    let normal = Selection::default().normal_part_of(&folder).unwrap();
    assert!(normal.since.is_some() || normal.until.is_some());
    let asked = Selection { since: Some(Timestamp::from_millis(5)), ..Selection::default() };
    assert_eq!(asked.normal_part_of(&folder).unwrap(), asked);
    assert_eq!(asked.normal_part_of("frame.csv".as_ref()).unwrap(), asked);
}

#[test]
fn what_is_no_coredns_is_left_out_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("scrapes.prom");
    let scrape = |time: u32, instance: &str, metric: &str| {
        format!("# scrape {time} {instance}\n{metric} {time}\n")
    };
    let coredns = "coredns_dns_requests_total{server=\"dns://:53\"}";
    let both: String = (0..4)
        .flat_map(|at| [scrape(15 * at, "a", coredns), scrape(15 * at, "b", "node_load1")])
        .collect();
    fs::write(&saved, both).unwrap();
    let data = everything(&saved).unwrap();
    assert_eq!((data.instances.len(), data.silent.as_slice()), (1, &["b".to_owned()][..]));
    let selection = Selection { instance: Some("b".into()), ..Selection::default() };
    let error = read(&saved, &selection).unwrap_err();
    assert!(matches!(error, DataError::NoCoredns { instance, .. } if instance == "b"));
    let later = Selection { since: Some(Timestamp::from_millis(90_000)), ..Selection::default() };
    assert!(matches!(read(&saved, &later), Err(DataError::NothingLeft { .. })));
}

#[test]
fn a_table_has_no_instances() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table.csv");
    fs::write(&table, "timestamp,a\n0,1\n15,2\n").unwrap();
    assert_eq!(everything(&table).unwrap().instances[0].frame.len(), 2);
    let selection = Selection { instance: Some("a".into()), ..Selection::default() };
    assert!(matches!(read(&table, &selection), Err(DataError::NoInstances { .. })));
    assert!(matches!(everything(&folder.path().join("none")), Err(DataError::Store(_))));
}
