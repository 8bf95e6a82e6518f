use oddns::{IncidentEvent, State, Step};
use oddns_core::{Score, Severity};

use super::samples::{at, cause, incident};
use super::*;

fn step(seconds: i64, incident: Option<IncidentEvent>) -> Step {
    let alarm = incident.is_some();
    let score = Some(Score { time: at(seconds), score: 1.0, alarm, contributions: vec![] });
    Step {
        time: at(seconds),
        row: vec![],
        expected: vec![],
        state: State::Scoring,
        score,
        incident,
    }
}

fn opened(incident: Incident) -> Option<IncidentEvent> {
    Some(IncidentEvent::Opened(incident))
}

/// One line for each group: servers, severity, cause, whether it goes on, and how often it was told.
fn groups(desk: &Desk) -> Vec<String> {
    desk.groups(|groups| {
        groups
            .map(|group| {
                let end = group.end.map_or("open".to_owned(), |end| format!("until {end}"));
                let (severity, cause) = (group.severity.as_str(), group.cause.name);
                format!(
                    "{} {severity} {cause} {end} {}",
                    group.servers().join(","),
                    group.faces.len()
                )
            })
            .collect()
    })
}

#[test]
fn one_outage_on_forty_servers_is_one_group() {
    let desk = Desk::default();
    for n in 0..40 {
        desk.take("dns", &format!("s{n}:1"), &step(0, None));
    }
    for n in 0..40 {
        let name = format!("s{n}:1");
        let mut odd = incident(&name, 100 + n % 15, 1.2);
        if n % 2 == 1 {
            odd.cause = cause("upstream_slow");
        }
        desk.take("dns", &name, &step(101 + n % 15, opened(odd)));
    }
    let found = groups(&desk);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("s0:1,s1:1") && found[0].contains(" critical "), "{found:?}");
    // Told as one server, as several, and as most of them.
    assert!(found[0].ends_with(" open 3"), "{found:?}");
}

#[test]
fn what_has_another_reason_is_another_group() {
    let desk = Desk::default();
    for name in ["a:1", "b:1", "c:1", "d:1"] {
        desk.take("dns", name, &step(0, None));
    }
    let of = |name, start, why: &str| {
        let mut odd = incident(name, start, 1.2);
        odd.cause = cause(why);
        step(start, opened(odd))
    };
    desk.take("dns", "a:1", &of("a:1", 100, "upstream_failure"));
    desk.take("dns", "b:1", &of("b:1", 1000, "memory_growth"));
    desk.take("dns", "c:1", &of("c:1", 2000, "upstream_failure"));
    desk.take("other", "e:1", &of("e:1", 2001, "upstream_failure"));
    let found = groups(&desk);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("a:1,c:1 warning upstream_failure open"), "{found:?}");
}

#[test]
fn severity_rises_with_how_bad_and_how_long() {
    let desk = Desk::default();
    desk.take("dns", "b:1", &step(0, None));
    desk.take("dns", "c:1", &step(0, None));
    desk.take("dns", "a:1", &step(0, opened(incident("a:1", 0, 1.6))));
    assert!(groups(&desk)[0].contains(" warning "));
    desk.tick(at(3599));
    assert!(groups(&desk)[0].contains(" warning "));
    desk.tick(at(3600));
    assert!(groups(&desk)[0].contains(" critical "));
    let worse = Incident { severity: Severity::Critical, ..incident("b:1", 9000, 3.0) };
    desk.take("dns", "b:1", &step(9000, opened(worse)));
    assert!(groups(&desk)[0].contains(" critical "), "{:?}", groups(&desk));
}

#[test]
fn an_incident_goes_on_over_a_restart_under_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let before = Desk::default();
    assert_eq!(before.open(folder.path(), at(0)), (vec![], None));
    before.take("dns", "a:1", &step(100, opened(incident("a:1", 100, 3.0))));
    before.set_told("slack", "a:1-100", Told { face: 1, over: false });
    let (file, bytes) = before.unsaved().unwrap();
    assert_eq!(before.unsaved(), None);
    std::fs::write(file, bytes).unwrap();

    let after = Desk::default();
    let (incidents, trouble) = after.open(folder.path(), at(200));
    assert_eq!(trouble, None);
    // Deviations that are NaN are never equal.
    assert_eq!(format!("{incidents:?}"), format!("{:?}", [incident("a:1", 100, 3.0)]));
    assert_eq!(after.told("slack", "a:1-100").face, 1);
    assert_eq!(groups(&after), groups(&before));

    let news = after.take("dns", "a:1", &step(300, opened(incident("a:1", 290, 1.2)))).unwrap();
    assert!(matches!(news, IncidentEvent::Updated(_)), "{news:?}");
    let told = news.incident();
    assert_eq!((told.id.as_str(), told.start, told.peak_score), ("a:1-100", at(100), 3.0));
    let over = Incident { end: Some(at(320)), ..incident("a:1", 290, 1.2) };
    let closed = after.take("dns", "a:1", &step(400, Some(IncidentEvent::Closed(over)))).unwrap();
    assert_eq!((closed.incident().start, closed.incident().end), (at(100), Some(at(320))));
    assert!(
        groups(&after)[0].ends_with("until 1970-01-01T00:05:20.000Z 1"),
        "{:?}",
        groups(&after)
    );
    // The next one is another.
    let news = after.take("dns", "a:1", &step(900, opened(incident("a:1", 890, 1.2)))).unwrap();
    assert_eq!(news.incident().id, "a:1-890");
}

#[test]
fn an_incident_that_ended_meanwhile_is_over_after_quiet_scores() {
    let desk = Desk::default();
    desk.take("dns", "a:1", &step(100, opened(incident("a:1", 100, 3.0))));
    desk.begin_anew(at(200));
    let mut news: Vec<_> =
        (0..20).filter_map(|n| desk.take("dns", "a:1", &step(210 + n, None))).collect();
    assert_eq!(news.len(), 1);
    let closed = news.pop().unwrap();
    assert!(matches!(&closed, IncidentEvent::Closed(i) if i.end == Some(at(200))), "{closed:?}");
    assert_eq!(groups(&desk).len(), 1);
    assert!(!groups(&desk)[0].contains("open"));
}

#[test]
fn an_incident_nobody_hears_of_ends() {
    let desk = Desk::default();
    desk.take("dns", "a:1", &step(100, opened(incident("a:1", 100, 3.0))));
    desk.take("dns", "b:1", &step(100, opened(incident("b:1", 100, 3.0))));
    assert_eq!(desk.forget("b:1", at(150)).len(), 1);
    desk.begin_anew(at(200));
    assert_eq!(desk.tick(at(1999)), []);
    let closed = desk.tick(at(2000));
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0].instance, "a:1");
    assert!(!groups(&desk)[0].contains("open"));
}

#[test]
fn a_damaged_file_is_told_and_not_used() {
    let folder = tempfile::tempdir().unwrap();
    for text in ["", "{", "{\"version\":2,\"groups\":[],\"told\":{}}", "[1]"] {
        std::fs::write(folder.path().join(FILE), text).unwrap();
        let (incidents, trouble) = Desk::default().open(folder.path(), at(0));
        assert_eq!(incidents, []);
        assert!(trouble.unwrap().contains(FILE), "{text}");
    }
}

#[test]
fn groups_are_bounded_and_open_ones_stay() {
    let desk = Desk::default();
    desk.take("dns", "first:1", &step(0, opened(incident("first:1", 0, 3.0))));
    for n in 1..600 {
        let name = format!("s{n}:1");
        let mut odd = incident(&name, n * 1000, 1.1);
        odd.cause = cause("unknown");
        desk.take("dns", &name, &step(n * 1000, opened(odd.clone())));
        odd.end = Some(at(n * 1000 + 10));
        desk.take("dns", &name, &step(n * 1000 + 10, Some(IncidentEvent::Closed(odd))));
    }
    let found = groups(&desk);
    assert_eq!(found.len(), 500);
    assert!(found[0].starts_with("first:1 "), "{}", found[0]);
}
