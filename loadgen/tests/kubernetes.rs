//! The Kubernetes manifest of a sharded test is valid, and the commands of its
//! containers work.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use support::chat::{Faults, Server};
use support::{schema, telemetry};

fn manifest() -> Vec<Value> {
    let text = include_str!("../kubernetes/shards.yaml");
    let documents = text.split("\n---\n").map(|document| {
        serde_saphyr::from_str::<Value>(document).unwrap_or_else(|error| panic!("{error}\n{document}"))
    });
    documents.collect()
}

fn job(name: &str) -> Value {
    let jobs = manifest();
    let job = jobs.iter().find(|job| job["kind"] == "Job" && job["metadata"]["name"] == name);
    job.unwrap_or_else(|| panic!("no job {name}")).clone()
}

#[test]
fn every_document_is_valid_for_kubernetes() {
    let schema: Value = serde_json::from_str(include_str!("kubernetes/schema.json")).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let documents = manifest();
    assert_eq!(documents.len(), 3);
    for document in &documents {
        let errors: Vec<_> = validator.iter_errors(document).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
    for pointer in ["/spec/template/spec/restartPolicy", "/spec/completions", "/apiVersion"] {
        let mut broken = job("loadgen");
        *broken.pointer_mut(pointer).expect(pointer) = json!("nonsense");
        assert!(!validator.is_valid(&broken), "{pointer}");
    }
}

#[test]
fn the_number_of_shards_is_the_same_everywhere() {
    let shards = job("loadgen")["spec"]["completions"].as_u64().expect("a number");
    assert_eq!(job("loadgen")["spec"]["parallelism"], shards);
    assert_eq!(job("loadgen")["spec"]["completionMode"], "Indexed");
    let env = &job("loadgen-merge")["spec"]["template"]["spec"]["containers"][0]["env"][0];
    assert_eq!(env, &json!({"name": "SHARDS", "value": shards.to_string()}));
    let claim = &manifest()[0]["metadata"]["name"];
    for name in ["loadgen", "loadgen-merge"] {
        assert_eq!(
            &job(name)["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"],
            claim
        );
    }
}

/// Returns the container's command, with another folder for the results.
fn script(name: &str, results: &Path) -> Command {
    let container = &job(name)["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["command"], json!(["sh", "-c"]));
    let script = container["args"][0].as_str().expect("a script");
    let script = script.replace("/results/", &format!("{}/", results.display()));
    let program = Path::new(env!("CARGO_BIN_EXE_loadgen")).parent().expect("a folder");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).env("PATH", path);
    command
}

#[track_caller]
fn assert_success(output: &Output) {
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_containers_commands_merge_all_shards_into_one_report() {
    let results = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("kubernetes");
    let _ = std::fs::remove_dir_all(&results);
    std::fs::create_dir_all(&results).expect("a folder");
    let server = Server::start(Faults::default());
    let url = telemetry::start(vec![]);
    for index in 0..2 {
        let output = script("loadgen", &results)
            .env("JOB_COMPLETION_INDEX", index.to_string())
            .env("target", server.address.to_string())
            .env("telemetry", &url)
            .env("rate", "50")
            .env("connections", "100")
            .env("duration", "500ms")
            .env("flags", "--ramp 100ms --drain 1s --max-send-lag 10s --mix privmsg")
            .output()
            .expect("a shell");
        assert_success(&output);
    }
    let output = script("loadgen-merge", &results).env("SHARDS", "2").output().expect("a shell");
    assert!(
        output.status.code().is_some_and(|code| code <= 1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report = std::fs::read(results.join("report.json")).expect("the report");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    schema::assert_valid(&report);
    assert_eq!(
        (&report["command"], &report["load"]["connections"]["joined"]),
        (&json!("merge"), &json!(200))
    );
}

#[test]
fn a_shard_that_cannot_run_fails_its_pod() {
    let results = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("kubernetes-failed");
    std::fs::create_dir_all(&results).expect("a folder");
    let mut shard = script("loadgen", &results);
    shard
        .env("JOB_COMPLETION_INDEX", "0")
        .env("target", "127.0.0.1:1")
        .env("telemetry", "http://127.0.0.1:1");
    shard.env("rate", "1").env("connections", "100").env("duration", "1s");
    assert_eq!(shard.output().expect("a shell").status.code(), Some(2));
    assert!(!results.join("shard-0.json").exists());
}
