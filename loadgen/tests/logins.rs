//! Logins: reconnect storms, and accounts with SASL.

mod support;

use support::chat::{Faults, Server};
use support::program::{loadgen, run};

/// Ten connections of which two reconnect, so eight members in two rooms.
#[test]
fn storms_are_counted_and_do_not_change_the_deliveries_of_the_members() {
    let server = Server::start(Faults::default());
    let outcome =
        run(server.address, &["--storm", "300ms:20%", "--slo", "login.max<30s", "--slo", "lost==0"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let count = |field: &str| outcome.count(&format!("/load/logins/storms/{field}"));
    assert_eq!(count("clients"), 2);
    assert!((1..=3).contains(&count("storms")), "{}", outcome.report["load"]["logins"]["storms"]);
    assert!(count("due") >= 2, "a login that is not over is not due again");
    assert_eq!(count("ready") + count("failed") + count("unfinished"), count("due"));
    assert_eq!(count("latency/samples"), count("due"));
    assert_eq!(count("start_lag/samples"), count("due"));
    let bins = outcome.report["load"]["timeline"]["bins"].as_array().expect("bins");
    let due_in_bins: u64 = bins.iter().filter_map(|bin| bin["logins_due"].as_u64()).sum();
    assert_eq!(due_in_bins, count("due"));
    assert_eq!(outcome.count("/load/logins/ready/samples"), 10);
    let messages = server.counts(|counts| counts.messages);
    assert_eq!(outcome.count("/load/deliveries/delivered"), messages * 3);
    assert_eq!(outcome.count("/load/visitors/lost"), 0);
    assert_eq!(outcome.report["settings"]["connections"], 10);
    assert!(outcome.stderr.contains("2 more reconnect in storms"), "{}", outcome.stderr);
}

/// The server answers the first two logins and no later one.
#[test]
fn logins_without_an_answer_are_censored_samples() {
    let server = Server::start(Faults { welcomes: Some(10), ..Faults::default() });
    // The first logins must not take as long as the timeout.
    let more = ["--storm", "200ms:20%", "--timeout", "1s", "--duration", "3s"];
    let outcome = run(server.address, &more);
    let count = |field: &str| outcome.count(&format!("/load/logins/storms/{field}"));
    assert_eq!(count("ready"), 0);
    assert!(count("failed") >= 2, "{}", outcome.stderr);
    let shortest = outcome.number("/load/logins/storms/latency/max_seconds");
    assert!(shortest >= 1.0, "a login that fails counts with its timeout: {shortest}");
    assert!(outcome.count("/load/failures/timeout") >= 2);
}

/// A target that refuses all logins at once is not the fastest one.
#[test]
fn a_login_that_is_refused_counts_as_long_as_the_timeout() {
    let refusal = "ERROR :Closing Link: (Server full)\r\n";
    let server = Server::start(Faults { welcomes: Some(10), refusal, ..Faults::default() });
    let outcome = run(server.address, &["--storm", "200ms:20%", "--timeout", "20s"]);
    let count = |field: &str| outcome.count(&format!("/load/logins/storms/{field}"));
    assert!(count("failed") >= 2 && count("ready") == 0, "{}", outcome.stderr);
    let median = outcome.number("/load/logins/storms/latency/p50_seconds");
    assert!(median >= 20.0, "{median}");
}

#[test]
fn each_connection_logs_in_with_its_account() {
    let server = Server::start(Faults::default());
    let outcome = run(server.address, &["--sasl", "load{n}:secret{n}"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let mut accounts = server.counts(|counts| counts.accounts.clone());
    accounts.sort();
    let expected: Vec<_> = (0..10).map(|n| format!("\0load{n}\0secret{n}")).collect();
    assert_eq!(accounts, expected);
}

#[test]
fn the_accounts_of_a_file_are_used_in_turn() {
    let path = std::env::temp_dir().join(format!("loadgen-accounts-{}", std::process::id()));
    std::fs::write(&path, "alice:a:1\nbob:b\n").expect("a file");
    let server = Server::start(Faults::default());
    let outcome = run(server.address, &["--sasl-file", path.to_str().expect("text")]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let mut accounts = server.counts(|counts| counts.accounts.clone());
    accounts.sort();
    let expected = [vec!["\0alice\0a:1"; 5], vec!["\0bob\0b"; 5]].concat();
    assert_eq!(accounts, expected);
    std::fs::write(&path, "alice:a\n\nbob\n").expect("a file");
    let wrong = run(server.address, &["--sasl-file", path.to_str().expect("text")]);
    assert!(wrong.code == 2 && wrong.stderr.contains(":3 is not an account"), "{}", wrong.stderr);
    std::fs::remove_file(path).expect("it was there");
}

#[test]
fn a_refused_login_is_reported_without_the_password() {
    let server = Server::start(Faults::default());
    let outcome = run(server.address, &["--sasl", "eve:wrong"]);
    assert_eq!(outcome.code, 2);
    assert!(
        outcome.reasons().contains("the target refused the SASL login of `eve`"),
        "{}",
        outcome.reasons()
    );
    assert!(!outcome.report.to_string().contains("wrong"), "{}", outcome.report);
}

#[test]
fn storms_that_cannot_happen_are_refused() {
    let target = ["run", "--target", "127.0.0.1:1"];
    for (more, reason) in [
        (&["--storm", "20s:20%"][..], "there would be no storm"),
        (&["--storm", "5s:20"], "write the part as a percentage"),
        (
            &["--storm", "5s:90%", "--connections", "10", "--rooms", "5"],
            "fewer than two of the 1 connections",
        ),
    ] {
        let outcome = loadgen(&[&target[..], more].concat());
        assert!(outcome.code == 2 && outcome.stderr.contains(reason), "{more:?}: {}", outcome.stderr);
    }
    let web = loadgen(&["run", "--target", "http://127.0.0.1:1/", "--storm", "5s:20%"]);
    assert!(web.code == 2 && web.stderr.contains("--storm needs an IRC target"), "{}", web.stderr);
}
