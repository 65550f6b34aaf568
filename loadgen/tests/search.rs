//! `search` finds the limit of a server whose limit is known.

mod support;

use serde_json::json;
use support::chat::{DeliveryOutcome, Faults, Server};
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
fn invalid_searches_are_rejected_in_one_sentence() {
    let server = Server::start(Faults::default());
    for more in
        [&[][..], &["--slo", "lost==0", "--resolution", "5"], &["--slo", "lost==0", "--stages", "5:1s"]]
    {
        let outcome = search(&server, more);
        assert_eq!((outcome.code, outcome.stderr.lines().count()), (2, 1), "{more:?}: {}", outcome.stderr);
    }
}
