//! Checks which findings the report names as the causes of slow deliveries. The
//! embedded server has one or two known mistakes, which must come first.
//!
//! The tests take minutes and need an otherwise idle machine. Run them with
//! `cargo test --release -p loadgen --test shares -- --ignored --nocapture`.

mod support;

use serde_json::Value;
use support::program::{Outcome, loadgen};

/// The sites that harm deliveries, with the flags that make the load reach each site often enough.
const SITES: [(&str, &[&str]); 5] = [
    ("sleep", &[]),
    ("history", &[]),
    ("password", &[]),
    ("filter", &[]),
    ("lock", &["--mix", "privmsg:180,join:20,names:20"]),
];

fn hunt(sites: &[&str], more: &[&str]) -> Outcome {
    let mut arguments = vec!["hunt", "--json", "-", "--quiet", "--duration", "15s", "--max-send-lag", "1s"];
    for site in sites {
        arguments.extend(["--inject", site]);
    }
    arguments.extend(more);
    loadgen(&arguments)
}

/// Returns the source files of the sites with their shares, the largest first,
/// as in the report.
fn shares(report: &Value) -> Vec<(String, f64)> {
    let tail_findings = report["tail"]["findings"].as_array().expect("a tail");
    let file = |id: &Value| {
        let mut findings = report["findings"]["findings"].as_array().expect("findings").iter();
        let finding = findings.find(|finding| finding["id"] == *id).expect("the finding of the share");
        finding["site"]["file"].as_str().unwrap_or("?").to_owned()
    };
    tail_findings
        .iter()
        .map(|share| (file(&share["id"]), share["share"].as_f64().expect("a share")))
        .collect()
}

/// The file that contains the mistake of a site.
fn file(site: &str) -> String {
    let service = match site {
        "sleep" => "throttle",
        "lock" => "visits",
        same => same,
    };
    format!("chat-server/src/services/{service}.rs")
}

#[test]
#[ignore = "takes minutes; the figures are those of a release build"]
fn a_single_mistake_explains_nine_tenths_of_the_tail() {
    println!("site        p99 [ms]   explained  by chance  after   unexplained  slow deliveries");
    let mut too_low = Vec::new();
    for (site, more) in SITES {
        let outcome = hunt(&[site], more);
        let report = &outcome.report;
        let shares = shares(report);
        let tail = &report["tail"];
        let percent = |value: &Value| value.as_f64().unwrap_or(f64::NAN) * 100.0;
        println!(
            "{site:<10} {:>9.1} {:>9.1} % {:>8.1} % {:>5.1} % {:>10.1} % {:>16}",
            tail["threshold_seconds"].as_f64().unwrap_or_default() * 1e3,
            percent(&tail["explained_share"]),
            percent(&tail["findings"][0]["share_by_chance"]),
            percent(&tail["after_share"]),
            percent(&tail["unexplained_share"]),
            tail["deliveries"],
        );
        if shares.first().is_none_or(|(found, share)| *found != file(site) || *share <= 0.9) {
            too_low.push(format!("{site}: {shares:?}\n{}", outcome.stderr));
        }
    }
    assert!(too_low.is_empty(), "{}", too_low.join("\n"));
}

/// A look-up of names delays the clients that connect, and no delivery.
#[test]
#[ignore = "takes minutes; the figures are those of a release build"]
fn a_look_up_explains_nine_tenths_of_the_slow_logins() {
    let outcome = hunt(&["resolve"], &["--storm", "3s:20%"]);
    let tail = &outcome.report["login_tail"];
    println!("{}", outcome.stderr);
    assert!(tail["findings"][0]["share"].as_f64().is_some_and(|share| share > 0.9), "{tail}");
}

#[test]
#[ignore = "takes minutes; the figures are those of a release build"]
fn the_more_harmful_of_two_mistakes_comes_first() {
    // One mistake blocks three times as long as the other.
    for (worse, lesser) in [("sleep", "filter"), ("filter", "sleep"), ("sleep", "history")] {
        let (long, short) = (format!("{worse}=90ms"), format!("{lesser}=30ms"));
        let outcome = hunt(&[&long, &short], &["--slo", "p99<20ms"]);
        let shares = shares(&outcome.report);
        println!("{long} and {short}: {shares:?}");
        let order: Vec<_> = shares.iter().map(|(file, _)| file.clone()).collect();
        assert_eq!(order, [file(worse), file(lesser)], "{shares:?}\n{}", outcome.stderr);
        assert!(shares.iter().all(|(_, share)| *share > 0.0), "{shares:?}");
    }
}
