//! `search` finds the limit of a server whose limit is known.

mod support;

use serde_json::json;
use support::chat::{DeliveryOutcome, Faults, Server};
#[cfg(unix)]
use support::program::interrupted;
use support::program::{Outcome, loadgen};

fn search(server: &Server, more: &[&str]) -> Outcome {
    let target = server.address.to_string();
    let arguments =
        ["search", "--target", &target, "--json", "-", "--quiet", "--connections", "4", "--rooms", "1"];
    let short_trials = [
        "--ramp",
        "0s",
        "--duration",
        "300ms",
        "--drain",
        "300ms",
        "--max-send-lag",
        "10s",
        "--mix",
        "privmsg",
    ];
    loadgen(&[&arguments[..], &short_trials, more].concat())
}

#[test]
fn an_objective_that_always_holds_gives_the_maximum_rate() {
    let server = Server::start(Faults::default());
    let outcome =
        search(&server, &["--slo", "lost==0", "--rate", "50", "--max-rate", "200", "--trials", "2"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(outcome.report["answer"]["rate"], json!(200.0));
    assert_eq!(
        (&outcome.report["answer"]["held"], &outcome.report["answer"]["settled"]),
        (&json!(2), &json!(true))
    );
    assert_eq!(outcome.report["limit"], json!(null));
    let rates: Vec<_> = outcome.report["trials"]
        .as_array()
        .expect("trials")
        .iter()
        .map(|trial| trial["rate"].clone())
        .collect();
    assert_eq!(rates, [json!(50.0), json!(100.0), json!(200.0), json!(200.0)]);
}

#[test]
fn the_limit_is_bracketed_and_reported() {
    // The server drops 3 of every 100 deliveries, so a trial loses none only if
    // it has few deliveries.
    let delivery = |number: u64, _: &str| {
        if number % 100 < 97 { DeliveryOutcome::Passed } else { DeliveryOutcome::Dropped }
    };
    let server = Server::start(Faults { delivery, ..Faults::default() });
    let outcome = search(&server, &["--slo", "lost==0", "--rate", "320", "--max-trials", "12"]);
    assert_eq!(outcome.report["schema"], "loadgen.search/1");
    let limit = &outcome.report["limit"];
    assert!(limit["reasons"].to_string().contains("lost==0"), "{}", outcome.stderr);
    assert!(limit["rate"].as_f64().expect("a rate") <= 320.0);
    if let Some(answer) = outcome.report["answer"].as_object() {
        assert!(answer["rate"].as_f64() < limit["rate"].as_f64());
    }
    assert!(outcome.report["trials"].as_array().expect("trials").len() <= 12);
}

#[test]
fn no_answer_is_given_if_no_rate_meets_the_objective() {
    let server = Server::start(Faults::default());
    let outcome = search(&server, &["--slo", "p50<1ns", "--rate", "4"]);
    assert_eq!((outcome.code, &outcome.report["answer"]), (1, &json!(null)), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("no rate was found at which p50<1ns held"), "{}", outcome.stderr);
}

#[test]
fn objectives_from_a_file_are_enough() {
    let server = Server::start(Faults::default());
    let path = std::env::temp_dir().join(format!("loadgen-search-slo-{}", std::process::id()));
    std::fs::write(&path, "lost==0\n").expect("a file");
    let file = path.to_str().expect("text");
    let outcome = search(&server, &["--slo-file", file, "--rate", "4", "--max-rate", "4", "--trials", "1"]);
    std::fs::remove_file(&path).expect("it was there");
    assert_eq!((outcome.code, &outcome.report["objectives"]), (0, &json!(["lost==0"])), "{}", outcome.stderr);
}

#[test]
fn invalid_trials_alone_allow_no_verdict() {
    let server = Server::start(Faults::default());
    let late = ["--max-send-lag", "1ns", "--slo", "lost==0", "--rate", "2"];
    let arguments = ["search", "--target", &server.address.to_string(), "--json", "-", "--quiet"];
    let short_trials =
        ["--connections", "4", "--rooms", "1", "--ramp", "0s", "--duration", "300ms", "--mix", "privmsg"];
    let outcome = loadgen(&[&arguments[..], &short_trials, &late].concat());
    assert_eq!((outcome.code, &outcome.report["answer"]), (2, &json!(null)), "{}", outcome.stderr);
    let invalid = outcome.report["invalid"].as_str().expect("a reason");
    assert!(invalid.starts_with("invalid trials allow no verdict, such as that at 1.0/s: "), "{invalid}");
    assert!(invalid.contains("the generator was late"), "{invalid}");
    assert!(outcome.stderr.contains(invalid), "{}", outcome.stderr);
}

/// The server welcomes the four clients of the first trial only.
#[test]
fn the_trials_before_the_server_fails_are_reported() {
    let refusal = ":fake 465 * :closed for today\r\n";
    let server = Server::start(Faults { welcomes: Some(4), refusal, ..Faults::default() });
    let outcome = search(&server, &["--slo", "lost==0", "--rate", "50"]);
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    assert_eq!(outcome.report["answer"]["rate"], json!(50.0));
    assert_eq!(outcome.report["answer"]["settled"], json!(false));
    assert_eq!(outcome.report["trials"].as_array().expect("trials").len(), 1);
    let invalid = outcome.report["invalid"].as_str().expect("a reason");
    assert!(invalid.starts_with("the trial at 100.0/s measured nothing: "), "{invalid}");
    assert!(invalid.contains("closed for today"), "{invalid}");
}

#[cfg(unix)]
#[test]
fn a_signal_before_an_answer_allows_no_verdict() {
    let server = Server::start(Faults::default());
    let target = server.address.to_string();
    let arguments = ["search", "--target", &target, "--json", "-", "--slo", "lost==0", "--ramp", "0s"];
    let long_trial = ["--connections", "4", "--rooms", "1", "--duration", "10m", "--max-send-lag", "10s"];
    let outcome = interrupted(&[&arguments[..], &long_trial].concat(), "measuring");
    assert_eq!((outcome.code, &outcome.report["interrupted"]), (2, &json!(true)), "{}", outcome.report);
    assert_eq!(outcome.report["invalid"], json!("interrupted before a rate was found"));
}

#[test]
fn invalid_searches_are_rejected_in_one_sentence() {
    let server = Server::start(Faults::default());
    for more in
        [&[][..], &["--slo", "lost==0", "--resolution", "5"], &["--slo", "lost==0", "--stages", "5:1s"]]
    {
        let outcome = search(&server, more);
        assert_eq!((outcome.code, outcome.stderr.lines().count()), (2, 1), "{more:?}: {}", outcome.stderr);
    }
}
