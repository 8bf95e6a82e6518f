//! The API over real HTTP.

use oddns_serve::View;

use crate::client::{get, request, serve};
use crate::scene::{self, START};

const SERVER: &str = "127.0.0.1:9153";

#[tokio::test]
async fn status_says_what_and_why() {
    let (address, _) = serve(scene::fleet(620)).await;
    let answer = get(address, "/api/v1/status").await;
    assert_eq!(answer.status, 200);
    let data = &answer.json()["data"];
    let states: Vec<_> = data["instances"].as_array().unwrap().iter().collect();
    let words: Vec<_> = states.iter().map(|s| s["words"].as_str().unwrap()).collect();
    let warming = "warming up 37/64, first score in about 6 min 45 s";
    assert_eq!(words[..3], ["scoring", "scoring", warming]);
    assert!(words[3].starts_with("no data: nothing listens at"), "{words:?}");
    assert_eq!((&states[0]["alarm"], &states[1]["alarm"]), (&true.into(), &false.into()));
    assert_eq!(states[2]["seen"], 37);
    assert_eq!(data["model"]["window"], 64);
}

#[tokio::test]
async fn scores_are_thinned_out_and_keep_the_peak() {
    let (address, _) = serve(scene::recording()).await;
    let all = get(address, "/api/v1/scores?points=10000").await.json();
    let few = get(address, "/api/v1/scores?points=10").await.json();
    assert_eq!(all["data"]["times"].as_array().unwrap().len(), 800);
    assert_eq!(all["data"]["scores"][0], serde_json::Value::Null);
    let scores = few["data"]["scores"].as_array().unwrap();
    assert_eq!((scores.len(), &few["data"]["n_steps"]), (10, &800.into()));
    let highest = scores.iter().filter_map(|s| s.as_f64()).fold(0.0, f64::max);
    assert_eq!(few["data"]["peak"]["score"].as_f64(), Some(highest));
    assert_eq!(few["data"]["alarms"].as_array().unwrap().len(), 2);
    assert_eq!(few["data"]["truths"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_range_is_cut_out_by_either_spelling_of_time() {
    let (address, _) = serve(scene::recording()).await;
    let path = format!("/api/v1/scores?since={}&until=2026-11-22T07:10:00Z", START + 300);
    let times = get(address, &path).await.json()["data"]["times"].clone();
    assert_eq!(times.as_array().unwrap().len(), 21);
    assert_eq!(times[0].as_f64(), Some((START + 300) as f64));
}

#[tokio::test]
async fn features_show_observed_against_expected() {
    let (address, _) = serve(scene::recording()).await;
    let path = format!("/api/v1/features?instance={SERVER}&name=servfail_ratio&points=50");
    let data = get(address, &path).await.json()["data"].clone();
    let feature = &data["features"][0];
    assert_eq!(feature["doc"], "Share of answers that are SERVFAIL.");
    assert!(feature["peak_observed"].as_f64().unwrap() > 0.25, "{feature}");
    assert!(feature["peak_share"].as_f64().unwrap() > 0.05, "{feature}");
    let values = feature["observed_values"].as_array().unwrap();
    assert!(
        values.iter().any(|v| v.as_f64().is_some_and(|v| v > 0.25)),
        "the fault is thinned out"
    );
    let all = get(address, "/api/v1/features").await.json();
    assert_eq!(all["data"]["features"].as_array().unwrap().len(), scene::model().features.len());
}

#[tokio::test]
async fn incidents_come_latest_first_with_units() {
    let (address, _) = serve(scene::recording()).await;
    let data = get(address, "/api/v1/incidents").await.json()["data"].clone();
    let causes: Vec<_> = (0..2).map(|n| data["incidents"][n]["cause"]["name"].clone()).collect();
    assert_eq!(causes, ["nxdomain_flood", "upstream_unreachable"]);
    assert_eq!(data["incidents"][1]["movements"][2]["unit"], "/s");
    let others = &data["incidents"][0]["alternatives"];
    assert_eq!((&others[0]["name"], others[1].is_null()), (&"upstream_unreachable".into(), true));
    assert!((others[0]["confidence"].as_f64().unwrap() - 0.06).abs() < 1e-6, "{others}");
    assert_eq!(data["incidents"][1]["alternatives"].as_array().unwrap().len(), 0);
    let one = get(address, "/api/v1/incidents?limit=1").await.json();
    assert_eq!(
        (&one["data"]["total"], one["data"]["incidents"].as_array().unwrap().len()),
        (&2.into(), 1)
    );
}

#[tokio::test]
async fn bad_questions_get_the_reason() {
    let (address, _) = serve(scene::fleet(10)).await;
    for (path, status, kind, error) in [
        ("scores", 400, "bad_data", "several instances: name one by `instance`"),
        ("scores?instance=x", 404, "not_found", "instance `x` is not watched: see /api/v1/status"),
        (
            "scores?points=0",
            400,
            "bad_data",
            "`points` is `0`, it must be a number from 1 to 10000",
        ),
        (
            "scores?points=1e9",
            400,
            "bad_data",
            "`points` is `1e9`, it must be a number from 1 to 10000",
        ),
        (
            "scores?instance=10.2.0.11:9153&since=noon",
            400,
            "bad_data",
            "`since`: `noon` is not a time",
        ),
        ("scores?point=5", 400, "bad_data", "point: unknown field `point`, expected one of"),
        ("scores?name=a", 400, "bad_data", "the parameter `name` is for /api/v1/features"),
        (
            "features?instance=10.2.0.11:9153&name=a%0Ab",
            404,
            "not_found",
            "feature `ab` is not in the model",
        ),
        ("incidents?instance=%3Cscript%3E", 404, "not_found", "instance `<script>` is not watched"),
        ("query", 404, "not_found", "no such endpoint: see /api/v1/status"),
    ] {
        let answer = get(address, &format!("/api/v1/{path}")).await;
        let body = answer.json();
        assert_eq!((answer.status, &body["errorType"]), (status, &kind.into()), "{path} {body}");
        assert!(body["error"].as_str().unwrap().starts_with(error), "{path} {body}");
        assert!(answer.head.contains("content-type: application/json"), "{path} {}", answer.head);
    }
    let post = request(
        address,
        "POST /api/v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let reason = "only GET is answered, and POST at /api/v1/write and /api/v1/feedback";
    assert_eq!((post.status, &post.json()["error"]), (405, &reason.into()));
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let (address, _) = serve(scene::recording()).await;
    for path in ["/", "/assets/app.js", "/api/v1/status", "/api/v1/nothing", "/metrics", "/nothing"]
    {
        let head = get(address, path).await.head;
        for header in [
            "content-security-policy: default-src 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
        ] {
            assert!(head.contains(header), "{path}: {head}");
        }
        assert!(!head.contains("unsafe-inline"), "{path}: {head}");
    }
}

#[tokio::test]
async fn ready_only_with_a_model_and_always_healthy() {
    let (address, shared) = serve(View::new("", true)).await;
    assert_eq!(get(address, "/-/healthy").await.status, 200);
    assert_eq!(get(address, "/-/ready").await.status, 503);
    let none = get(address, "/api/v1/scores").await;
    assert_eq!((none.status, &none.json()["error"]), (404, &"no instance is watched".into()));
    shared.set_model(scene::model());
    assert_eq!(get(address, "/-/ready").await.status, 200);
}

#[tokio::test]
async fn the_model_is_told_also_where_nothing_learns() {
    let (address, shared) = serve(View::new("", true)).await;
    let none = get(address, "/api/v1/model").await.json();
    assert!(none["data"]["id"].is_null() && none["data"]["learns"] == false, "{none}");
    shared.set_model(scene::model());
    let model = get(address, "/api/v1/model").await.json();
    assert_eq!(model["data"]["id"], scene::model().id);
    assert!(model["data"]["generation"].is_null() && model["data"]["last"].is_null(), "{model}");
    assert_eq!(model["data"]["drift"].as_array().unwrap().len(), 0);
    let metrics = get(address, "/metrics").await.body;
    assert!(metrics.contains("\noddns_learning_enabled 0"), "{metrics}");
    assert!(!metrics.contains("\noddns_model_generation "), "{metrics}");
}

#[tokio::test]
async fn metrics_follow_the_accept_header() {
    let (address, _) = serve(scene::recording()).await;
    let plain = get(address, "/metrics").await;
    assert!(plain.head.contains("content-type: text/plain; version=0.0.4"), "{}", plain.head);
    assert!(plain.body.contains("oddns_build_info{version="));
    let asking = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\naccept: application/openmetrics-text; version=1.0.0\r\n\r\n";
    let open = request(address, asking).await;
    assert!(open.head.contains("content-type: application/openmetrics-text"), "{}", open.head);
    assert!(open.body.ends_with("# EOF\n"));
}

/// Posts JSON; gives the status and the answer.
async fn post(address: std::net::SocketAddr, path: &str, body: &str) -> (u16, serde_json::Value) {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
    );
    let answer = request(address, &format!("{head}content-length: {length}\r\n\r\n{body}")).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn what_people_say_is_kept_for_training() {
    let (address, shared) = serve(View::new("", true)).await;
    shared.set_model(scene::model());
    let said = r#"{"instance": "a:1", "start": 60, "end": 120.5, "verdict": "missed"}"#;
    shared.watch(vec!["a:1".to_owned()]);
    assert_eq!(post(address, "/api/v1/feedback", said).await.0, 503);
    let folder = tempfile::tempdir().unwrap();
    let states = oddns_serve::StateFolder::open(folder.path()).unwrap();
    assert_eq!(shared.keep_incidents(&states, scene::time(0)), [""; 0]);
    assert_eq!(post(address, "/api/v1/feedback", said).await.0, 200);
    for at in 0..357 {
        let step = scene::step("a:1", at);
        shared.take("dns", "a:1", step, std::time::Duration::ZERO);
    }
    let status = get(address, "/api/v1/status").await.json();
    assert_eq!(status["data"]["takes_feedback"], true);
    let incidents = get(address, "/api/v1/incidents").await.json();
    let incident = &incidents["data"]["incidents"][0];
    assert_eq!(
        (&incident["feedback"], &incident["n_servers"]),
        (&serde_json::Value::Null, &1.into())
    );
    let id = incident["id"].as_str().unwrap();
    let body = format!(r#"{{"incident": "{id}", "verdict": "normal"}}"#);
    let (code, answer) = post(address, "/api/v1/feedback", &body).await;
    assert_eq!((code, &answer["data"]["rows"]), (200, &1.into()), "{answer}");
    let one = get(address, &format!("/api/v1/incidents?id={id}")).await.json();
    assert_eq!(one["data"]["incidents"][0]["feedback"], "normal");
    let text = std::fs::read_to_string(folder.path().join("feedback.csv")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["start,end,instance,verdict", "60.0,120.5,a:1,missed"]);
    assert!(lines[2].ends_with(",a:1,normal"), "{text}");
    for (bad, code) in [
        ("{", 400),
        (r#"{"incident": "x", "verdict": "right"}"#, 404),
        (r#"{"incident": "x", "verdict": "perhaps"}"#, 400),
        (r#"{"verdict": "right"}"#, 400),
        (r#"{"instance": "b:1", "start": 1, "end": 2, "verdict": "right"}"#, 404),
        (r#"{"instance": "a:1", "start": 2, "end": 1, "verdict": "right"}"#, 400),
    ] {
        assert_eq!(post(address, "/api/v1/feedback", bad).await.0, code, "{bad}");
    }
}
