//! The description of the API, held against what is answered.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::client::{get, serve};
use crate::{has_peers, scene};

fn document() -> Value {
    serde_json::from_str(include_str!("../../assets/openapi.json")).unwrap()
}

/// Why `value` is not as `schema` has it; nothing when it is. Of JSON Schema that which we use.
fn misfit(document: &Value, schema: &Value, value: &Value) -> Option<String> {
    if let Some(path) = schema["$ref"].as_str() {
        return misfit(document, document.pointer(path.trim_start_matches('#')).unwrap(), value);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let found: Vec<_> = choices.iter().map(|choice| misfit(document, choice, value)).collect();
        return found.iter().all(Option::is_some).then(|| format!("{found:?}"));
    }
    if let Some(values) = schema["enum"].as_array() {
        return (!values.contains(value)).then(|| format!("{value} is none of {values:?}"));
    }
    if !schema["const"].is_null() {
        return (schema["const"] != *value).then(|| format!("{value} is not {}", schema["const"]));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        several => several.as_array().unwrap().iter().filter_map(Value::as_str).collect(),
    };
    let is_whole = kind == "integer" && kinds.contains(&"number");
    if !is_whole && !kinds.contains(&kind) {
        return Some(format!("{value} is no {kinds:?}"));
    }
    if let Some(values) = value.as_array() {
        return values.iter().find_map(|value| misfit(document, &schema["items"], value));
    }
    let (Some(values), Some(known)) = (value.as_object(), schema["properties"].as_object()) else {
        return None;
    };
    if let Some(extra) = values.keys().find(|key| !known.contains_key(*key)) {
        return Some(format!("`{extra}` is not described"));
    }
    let missing = schema["required"].as_array().into_iter().flatten();
    let missing = missing.filter_map(Value::as_str).find(|key| !values.contains_key(*key));
    missing.map(|key| format!("`{key}` is missing")).or_else(|| {
        values.iter().find_map(|(key, value)| {
            misfit(document, &known[key], value).map(|why| format!("{key}: {why}"))
        })
    })
}

#[tokio::test]
async fn answers_are_as_described() {
    let document = document();
    for (view, instance) in [
        (scene::recording(), "127.0.0.1:9153"),
        (scene::fleet(620), "10.2.0.11:9153"),
        (scene::fleet(620), "coredns-new.example:9153"),
    ] {
        let (address, _) = serve(view).await;
        assert_eq!(get(address, "/api/v1/openapi.json").await.json(), document);
        for (path, item) in document["paths"].as_object().unwrap() {
            let Some(question) = item.get("get").filter(|_| path != "/openapi.json") else {
                continue;
            };
            let has_instance = question["parameters"].to_string().contains("\"instance\"");
            let query = if has_instance { format!("?instance={instance}") } else { String::new() };
            for (query, code) in
                [(query.as_str(), "200"), ("?what=1", "400"), ("?instance=x", "404")]
            {
                let schema = &question["responses"][code]["content"]["application/json"]["schema"];
                if schema.is_null() {
                    continue;
                }
                let answer = get(address, &format!("/api/v1{path}{query}")).await;
                assert_eq!(answer.status.to_string(), code, "{path}{query}");
                let misfit = misfit(&document, schema, &answer.json());
                assert_eq!(misfit, None, "{path}{query}");
            }
        }
    }
}

#[test]
fn every_route_is_described() {
    let routes = include_str!("../../src/api.rs").lines().filter_map(|line| {
        let (path, _) = line.trim().strip_prefix(".route(\"")?.split_once('"')?;
        Some(path.to_owned())
    });
    let routes: BTreeSet<String> = routes.collect();
    let described: BTreeSet<String> =
        document()["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(routes, described);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_nothing_wrong() {
    if !has_peers("schemathesis_finds_nothing_wrong") {
        return;
    }
    let (address, shared) = serve(scene::fleet(620)).await;
    let folder = tempfile::tempdir().unwrap();
    let states = oddns_serve::StateFolder::open(folder.path()).unwrap();
    assert_eq!(shared.keep_incidents(&states, scene::time(0)), [""; 0]);
    let peers = PathBuf::from(std::env::var_os("ODDNS_PEERS").unwrap());
    let mut schemathesis = Command::new(peers.join("schemathesis/bin/schemathesis"));
    schemathesis.args(["run", "--seed", "1", "--max-examples", "20", "--no-color"]);
    schemathesis.arg("--generation-deterministic").arg("--suppress-health-check=all");
    // What fits the schema may still ask for what is not there: which of several servers has to be
    // named only where there are several. Remote write is tried by real senders.
    schemathesis.args(["--exclude-checks", "positive_data_acceptance", "--exclude-path", "/write"]);
    schemathesis.arg(format!("http://{address}/api/v1/openapi.json"));
    let output =
        tokio::task::block_in_place(|| schemathesis.current_dir(folder.path()).output().unwrap());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
