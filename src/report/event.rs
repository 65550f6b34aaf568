//! A finding as an event of `tracing`.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use crate::finding::Finding;
use crate::report::{lines, text};

/// The message of an event. It notes whether a subscriber, or a logger, formats
/// it. Asking a subscriber whether an event is enabled shows less: with filters
/// of single layers, it may be enabled and shown by none.
#[derive(Debug)]
pub(crate) struct EventText<'t> {
    text: &'t str,
    is_formatted: Cell<bool>,
}

impl<'t> EventText<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { text, is_formatted: Cell::new(false) }
    }

    /// Returns whether somebody takes the event.
    pub(crate) fn is_taken(&self) -> bool {
        self.is_formatted.get()
    }
}

impl fmt::Display for EventText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.is_formatted.set(true);
        f.write_str(self.text)
    }
}

/// Emits one warning for `finding`. `suppressed_reports` is the number of
/// reports that the rate limit suppressed since the previous one. A repeat has
/// only the fields that change and those that identify it.
pub(crate) fn emit(finding: &Finding, message: &EventText<'_>, suppressed_reports: u64, is_repeat: bool) {
    let first = |text| if is_repeat { None } else { text };
    let site = finding.site.as_ref();
    tracing::warn!(
        target: "loopscope::blocking",
        cause = finding.cause.as_str(),
        primitive = first(finding.primitive.as_deref()),
        file = site.and_then(|site| site.file.as_deref()),
        line = site.and_then(|site| site.line),
        column = site.and_then(|site| site.column),
        function = first(site.map(|site| site.function.as_str())),
        task = finding.task.kind.as_str(),
        count = finding.count,
        seconds = seconds(finding.total),
        max_seconds = seconds(finding.max),
        not_own_seconds = seconds(finding.split.not_own()),
        ongoing_seconds = finding.ongoing.map(seconds),
        victim_tasks = finding.victims.tasks,
        victim_waits = finding.victims.waits,
        driver_held = finding.victims.driver_held.then_some(true),
        evidence = first(Some(finding.evidence.as_str())),
        advice = first(Some(&finding.advice)),
        id = finding.id.as_str(),
        suppressed = suppressed_reports,
        "{message}",
    );
}

/// Returns a duration in seconds as people read it.
fn seconds(duration: Duration) -> f64 {
    text::rounded(duration.as_secs_f64())
}

/// Returns the message of a report's event.
pub(crate) fn text(finding: &Finding, is_repeat: bool) -> String {
    if is_repeat { lines::repeat(finding) } else { message(finding) }
}

/// Returns a finding as one line: what blocked, where, and in which tasks.
pub(crate) fn message(finding: &Finding) -> String {
    let mut message = text::title(finding);
    if let Some(site) = &finding.site {
        message.push_str(" at ");
        message.push_str(&match &site.file {
            Some(file) => text::location(file, site.line, site.column),
            None => text::clean(&site.function),
        });
    }
    message.push_str(if finding.tasks.len() > 1 { " in tasks " } else { " in task " });
    message.push_str(&text::tasks(finding));
    message
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt;
    use std::sync::{Arc, Mutex};

    use tracing::field::{Field, Visit};
    use tracing::{Event, Level, Metadata, Subscriber, span};

    use super::*;
    use crate::report::sample;

    /// Keeps the fields of every event as text.
    #[derive(Clone, Default)]
    struct EventLog(Arc<Mutex<Vec<BTreeMap<&'static str, String>>>>);

    struct Fields(BTreeMap<&'static str, String>);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.0.insert(field.name(), format!("{value:?}"));
        }

        fn record_str(&mut self, field: &Field, value: &str) {
            self.0.insert(field.name(), value.to_owned());
        }
    }

    impl Subscriber for EventLog {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, event: &Event<'_>) {
            assert_eq!(event.metadata().target(), "loopscope::blocking");
            assert_eq!(*event.metadata().level(), Level::WARN);
            let mut fields = Fields(BTreeMap::new());
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    fn emitted(finding: &Finding, suppressed_reports: u64) -> BTreeMap<&'static str, String> {
        let log = EventLog::default();
        let text = message(finding);
        let text = EventText::new(&text);
        tracing::subscriber::with_default(log.clone(), || emit(finding, &text, suppressed_reports, false));
        assert!(text.is_taken());
        let mut events = log.0.lock().unwrap();
        assert_eq!(events.len(), 1);
        events.remove(0)
    }

    #[test]
    fn the_event_has_every_field() {
        let expected = BTreeMap::from([
            (
                "message",
                "`std::thread::sleep` blocked the event loop 12 times, 2.41 s in all, 212 ms at most \
                 at src/flood.rs:31:5 in task session",
            ),
            ("cause", "sleep"),
            ("primitive", "std::thread::sleep"),
            ("file", "src/flood.rs"),
            ("line", "31"),
            ("column", "5"),
            ("function", "chat::flood::throttle"),
            ("task", "session"),
            ("count", "12"),
            ("seconds", "2.41"),
            ("max_seconds", "0.212"),
            ("not_own_seconds", "0.0"),
            ("victim_tasks", "37"),
            ("victim_waits", "52"),
            ("evidence", "stack"),
            ("advice", "use `tokio::time::sleep(..).await`"),
            ("id", "sleep-5f3a"),
            ("suppressed", "3"),
        ]);
        let expected = expected.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        assert_eq!(emitted(&sample::sleep(), 3), expected);
    }

    #[test]
    fn figures_have_three_digits() {
        let mut finding = sample::sleep();
        finding.total = Duration::from_nanos(2_974_014_836);
        finding.max = Duration::from_nanos(20_090_197);
        finding.split.run_queue = Duration::from_nanos(123_456_789);
        finding.ongoing = Some(Duration::from_nanos(1_999_999_999));
        let fields = emitted(&finding, 0);
        let figures = ["seconds", "max_seconds", "not_own_seconds", "ongoing_seconds"];
        assert_eq!(figures.map(|name| &*fields[name]), ["2.97", "0.0201", "0.123", "2.0"]);
    }

    #[test]
    fn a_repeat_has_a_short_message_and_few_fields() {
        let log = EventLog::default();
        let finding = sample::sleep();
        let message = text(&finding, true);
        let message = EventText::new(&message);
        emit(&finding, &message, 0, true);
        assert!(!message.is_taken(), "there is no subscriber");
        tracing::subscriber::with_default(log.clone(), || emit(&finding, &message, 0, true));
        let events = log.0.lock().unwrap();
        assert_eq!(events[0]["message"], "again: 12 times, 2.41 s in all: src/flood.rs:31");
        let fields: Vec<_> = events[0].keys().copied().collect();
        let expected = [
            "cause",
            "column",
            "count",
            "file",
            "id",
            "line",
            "max_seconds",
            "message",
            "not_own_seconds",
            "seconds",
            "suppressed",
            "task",
            "victim_tasks",
            "victim_waits",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn unknown_fields_are_absent() {
        let mut finding = sample::sleep();
        finding.site = None;
        finding.primitive = None;
        finding.ongoing = Some(Duration::from_millis(1_500));
        finding.task.kind = "a\nb".to_owned();
        let fields = emitted(&finding, 0);
        for absent in ["file", "line", "column", "function", "primitive"] {
            assert!(!fields.contains_key(absent), "{absent}");
        }
        assert_eq!(fields["ongoing_seconds"], "1.5");
        assert!(fields["message"].ends_with(r" in task a\u{a}b"), "{}", fields["message"]);
    }
}
