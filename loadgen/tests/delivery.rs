//! The generator measures exactly the faults of a server with known faults.

mod support;

use support::chat::{DeliveryOutcome, Faults, Server};
use support::program::run;

/// The server answers each WHO with an overlong line and an error reply (461).
#[test]
fn a_correct_server_delivers_everything_and_meets_the_objectives() {
    let server = Server::start(Faults::default());
    let outcome = run(server.address, &["--mix", "privmsg:9,who:1", "--slo", "p99<5s", "--slo", "lost==0"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let (messages, pongs) = server.counts(|counts| (counts.messages, counts.pongs));
    assert_eq!(outcome.count("/load/commands/by_kind/privmsg/sent"), messages);
    assert_eq!(outcome.count("/load/deliveries/delivered"), messages * 4);
    assert_eq!(outcome.count("/load/deliveries/expected"), messages * 4);
    assert_eq!(outcome.count("/load/commands/planned"), 100);
    assert_eq!(pongs, 10, "every client answers a ping");
    let who = outcome.count("/load/commands/by_kind/who/sent");
    assert_eq!(outcome.count("/load/commands/error_replies/461"), who, "rejected commands are reported");
    assert_eq!(outcome.count("/load/failures/protocol"), who, "overlong lines are counted");
}

#[test]
fn loss_is_counted_exactly_and_does_not_improve_percentiles() {
    let server = Server::start(Faults {
        delivery: |number, _| {
            if number.is_multiple_of(10) { DeliveryOutcome::Dropped } else { DeliveryOutcome::Passed }
        },
        ..Faults::default()
    });
    let outcome = run(server.address, &["--slo", "lost<20%", "--slo", "p99<900ms"]);
    let dropped = server.counts(|counts| counts.dropped);
    assert_eq!(outcome.count("/load/deliveries/lost"), dropped);
    assert_eq!(outcome.count("/load/deliveries/delivered") + dropped, 400);
    assert_eq!(outcome.count("/load/latency/samples"), 400);
    assert!(
        outcome.number("/load/latency/p99_seconds") >= 0.99,
        "a lost delivery counts as at least the drain time"
    );
    assert_eq!(outcome.code, 1, "{}", outcome.reasons());
    assert!(outcome.reasons().contains("p99<900ms was missed"), "{}", outcome.reasons());
}

#[test]
fn duplicated_and_swapped_deliveries_are_counted_exactly() {
    let server = Server::start(Faults {
        delivery: |number, _| match number % 10 {
            3 => DeliveryOutcome::Doubled,
            7 => DeliveryOutcome::Swapped,
            _ => DeliveryOutcome::Passed,
        },
        ..Faults::default()
    });
    let outcome = run(server.address, &["--connections", "4", "--rate", "300"]);
    let (doubled, swapped) = server.counts(|counts| (counts.doubled, counts.swapped));
    assert!(doubled > 0 && swapped > 0);
    assert_eq!(outcome.count("/load/deliveries/duplicated"), doubled);
    assert_eq!(outcome.count("/load/deliveries/out_of_order"), swapped);
}

#[test]
fn loss_is_reported_by_channel_and_by_stage() {
    let server = Server::start(Faults {
        delivery: |number, channel| match channel {
            "#lg-1" if number.is_multiple_of(3) => DeliveryOutcome::Dropped,
            _ => DeliveryOutcome::Passed,
        },
        ..Faults::default()
    });
    let outcome = run(server.address, &["--stages", "50:500ms,50-150:1s"]);
    let dropped = server.counts(|counts| counts.dropped);
    assert_eq!(outcome.count("/load/commands/planned"), 125);
    assert_eq!(outcome.count("/load/rooms/faulty"), 1);
    assert_eq!(outcome.report["load"]["rooms"]["worst"][0]["room"], "#lg-1");
    assert_eq!(outcome.count("/load/rooms/worst/0/deliveries/lost"), dropped);
    let sum_of_stages = |count: &str| {
        let of_stage = |stage| outcome.count(&format!("/load/stages/{stage}/{count}"));
        of_stage(0) + of_stage(1)
    };
    assert_eq!(outcome.count("/load/stages/0/commands/planned"), 25);
    assert_eq!(sum_of_stages("deliveries/lost"), dropped);
    assert_eq!(sum_of_stages("deliveries/expected"), 500);
    assert_eq!(sum_of_stages("latency/samples"), 500, "a stage's latency includes lost deliveries");
}

/// The server delivers every message to members and visitors. Deliveries to
/// visitors are counted separately, and the figures of the members stay exact.
#[test]
fn visitors_do_not_change_the_expected_deliveries_of_members() {
    let server = Server::start(Faults::default());
    let outcome = run(server.address, &["--churn", "40", "--duration", "2s", "--slo", "lost==0"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let (messages, all) = server.counts(|counts| (counts.messages, counts.deliveries));
    assert_eq!(outcome.count("/load/deliveries/expected"), messages * 4);
    assert_eq!(outcome.count("/load/deliveries/delivered"), messages * 4);
    assert!(outcome.count("/load/visitors/visits") >= 20, "{}", outcome.report["load"]["visitors"]);
    let delivered = outcome.count("/load/visitors/delivered");
    assert!(delivered > 100 && delivered <= all - messages * 4, "{delivered} of {}", all - messages * 4);
    assert_eq!(outcome.count("/load/visitors/lost"), 0);
    assert_eq!(outcome.count("/load/visitors/duplicated"), 0);
    assert_eq!(outcome.count("/load/failures/protocol"), 0);
}

#[test]
fn visitors_detect_lost_deliveries_too() {
    let server = Server::start(Faults {
        delivery: |number, _| {
            if number.is_multiple_of(4) { DeliveryOutcome::Dropped } else { DeliveryOutcome::Passed }
        },
        ..Faults::default()
    });
    let outcome =
        run(server.address, &["--churn", "40", "--duration", "2s", "--connections", "4", "--rate", "200"]);
    assert!(outcome.count("/load/visitors/lost") > 20, "{}", outcome.report["load"]["visitors"]);
    let all = outcome.count("/load/deliveries/delivered") + outcome.count("/load/deliveries/lost");
    assert_eq!(outcome.count("/load/deliveries/expected"), all);
}
