//! Tests of the store.

use super::*;
use crate::services::history_query::{Position, Selection};
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// Returns a line with an id above all earlier ones.
fn entry(channel: &str, text: &str) -> (NameKey, StoredMessage) {
    static IDS: AtomicU64 = AtomicU64::new(1);
    let time = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let (sender, text, tags) = (b"ada!a@h"[..].into(), text.as_bytes().into(), b"+a=b"[..].into());
    let id = IDS.fetch_add(1, Ordering::Relaxed);
    (NameKey::new(channel.as_bytes()), StoredMessage { id, time, sender, text, tags, private_to: None })
}

fn query(channel: &str, selection: Selection, max_lines: usize) -> LineQuery {
    LineQuery { channel: history_channel(channel, 0), selection, max_lines }
}

fn history_channel(name: &str, id: u64) -> HistoryChannel {
    HistoryChannel { name: NameKey::new(name.as_bytes()), id }
}

fn texts(store: &HistoryStore, channel: &str, max_lines: usize) -> Vec<String> {
    let lines = store.read(&query(channel, Selection::Latest(None), max_lines)).expect("read");
    lines.into_iter().map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect()
}

#[test]
fn lines_come_back_in_order_by_channel_and_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = HistoryStore::open(directory.path(), MAX_STORED_LINES).expect("opened");
    let other = entry("#b", "other");
    store.append(&[entry("#A", "one"), other.clone(), entry("#a", "two")]).expect("written");
    drop(store);
    let store = HistoryStore::open(directory.path(), MAX_STORED_LINES).expect("opened again");
    let three = entry("#a", "three");
    let newest = three.1.id;
    store.append(&[three]).expect("written");
    assert_eq!(store.newest_id().expect("read"), newest);
    assert_eq!(texts(&store, "#a", 10), ["one", "two", "three"]);
    assert_eq!(texts(&store, "#a", 2), ["two", "three"]);
    assert_eq!(texts(&store, "#b", 10), ["other"]);
    assert!(texts(&store, "#", 10).is_empty());
    assert_eq!(store.read(&query("#b", Selection::Latest(None), 1)).expect("read"), [other.1]);
}

#[test]
fn only_the_newest_lines_are_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = HistoryStore::open(directory.path(), 3).expect("opened");
    for round in 0..4 {
        let lines = [entry("#a", &format!("a{round}")), entry("#b", &format!("b{round}"))];
        store.append(&lines).expect("written");
    }
    assert_eq!(texts(&store, "#a", 10), ["a3"]);
    assert_eq!(texts(&store, "#b", 10), ["b2", "b3"]);
    for _ in 0..4 {
        let mut private = entry("#a", "private");
        private.1.private_to = Some(0);
        store.append(&[private]).expect("written");
    }
    assert_eq!(texts(&store, "#a", 10), ["private"; 3]);
    let transaction = store.database.begin_read().expect("read");
    assert_eq!(transaction.open_table(TAGS).expect("read").len().expect("read"), 3);
    for (index, count) in [(CHANNELS, 0), (PRIVATE, 3)] {
        assert_eq!(transaction.open_table(index).expect("read").len().expect("read"), count);
    }
}

#[test]
fn the_file_of_an_older_version_is_read_and_continued() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = Database::create(directory.path().join("history.redb")).expect("created");
    let transaction = database.begin_write().expect("begun");
    for number in 0..3 {
        let row = (1_000 + number, &b"#a"[..], &b"ada"[..], &b"old"[..]);
        transaction.open_table(LINES).expect("opened").insert(number, row).expect("inserted");
        let key = (&b"#a"[..], number);
        transaction.open_table(CHANNELS).expect("opened").insert(key, ()).expect("inserted");
    }
    transaction.commit().expect("written");
    drop(database);
    let store = HistoryStore::open(directory.path(), MAX_STORED_LINES).expect("opened");
    let second = query("#a", Selection::After(Position::Id(0)), 1);
    assert_eq!(store.read(&second).expect("read")[0].id, 1);
    assert_eq!(store.newest_id().expect("read"), 2);
    let mut new = entry("#a", "new");
    new.1.id = 1_000_000;
    store.append(&[new]).expect("written");
    assert_eq!(texts(&store, "#a", 9), ["old", "old", "old", "new"]);
}

#[test]
fn long_tags_are_not_stored() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = HistoryStore::open(directory.path(), MAX_STORED_LINES).expect("opened");
    for (bytes, kept) in [(MAX_STORED_TAG_BYTES, MAX_STORED_TAG_BYTES), (MAX_STORED_TAG_BYTES + 1, 0)] {
        let mut line = entry("#a", "x");
        line.1.tags = vec![b't'; bytes].into();
        store.append(&[line]).expect("written");
        let stored = store.read(&query("#a", Selection::Latest(None), 1)).expect("read");
        assert_eq!(stored[0].tags.len(), kept);
    }
}

#[test]
fn targets_are_channels_whose_newest_line_is_between_the_times() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = HistoryStore::open(directory.path(), MAX_STORED_LINES).expect("opened");
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    for (channel, seconds) in [("#a", 1), ("#b", 2), ("#a", 3), ("#c", 4), ("#hidden", 4)] {
        let mut line = entry(channel, "x");
        line.1.time = at(seconds);
        store.append(&[line]).expect("written");
    }
    let channels: Vec<_> = ["#a", "#b", "#c", "#none"].map(|name| history_channel(name, 0)).into();
    for (from, to, max_targets, expected) in [
        (0, 9, 9, &[("#b", 2), ("#a", 3), ("#c", 4)][..]),
        (0, 9, 2, &[("#b", 2), ("#a", 3)]),
        (9, 0, 2, &[("#a", 3), ("#c", 4)]),
        (2, 4, 9, &[("#a", 3)]),
        (3, 3, 9, &[]),
    ] {
        let query = TargetQuery { channels: channels.clone(), from: at(from), to: at(to), max_targets };
        let found = store.targets(&query).expect("read");
        let expected: Vec<_> =
            expected.iter().map(|(name, seconds)| (NameKey::new(name.as_bytes()), at(*seconds))).collect();
        assert_eq!(found, expected, "{from} {to} {max_targets}");
    }
}

#[test]
fn targets_do_not_reveal_private_lines_of_an_earlier_channel() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = HistoryStore::open(directory.path(), MAX_STORED_LINES).expect("opened");
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    for (id, private_to) in [(12, None), (13, Some(11)), (23, Some(21))] {
        let mut line = entry("#a", "x");
        (line.1.id, line.1.time, line.1.private_to) = (id, at(id), private_to);
        store.append(&[line]).expect("written");
    }
    // The channel that exists now, by its id, and the time of its newest line.
    for (channel_id, newest) in [(21, 23), (31, 12)] {
        let channels = vec![history_channel("#a", channel_id)];
        let query = TargetQuery { channels, from: at(0), to: at(99), max_targets: 9 };
        assert_eq!(store.targets(&query).expect("read"), [(NameKey::new(b"#a"), at(newest))]);
    }
}

/// Selects lines in the simplest way.
fn select(lines: &[StoredMessage], selection: Selection, max_lines: usize) -> Vec<StoredMessage> {
    let before = |line: &StoredMessage, position| match position {
        Position::Id(id) => line.id < id,
        Position::Time(time) => line.time < time,
    };
    let after = |line: &StoredMessage, position| match position {
        Position::Id(id) => line.id > id,
        Position::Time(time) => line.time > time,
    };
    let first = |found: Vec<StoredMessage>, count| found.into_iter().take(count).collect::<Vec<_>>();
    let last = |mut found: Vec<StoredMessage>, count| found.split_off(found.len().saturating_sub(count));
    let all = |keep: &dyn Fn(&StoredMessage) -> bool| -> Vec<_> {
        lines.iter().filter(|line| keep(line)).cloned().collect()
    };
    match selection {
        Selection::Latest(None) => last(lines.to_vec(), max_lines),
        Selection::Latest(Some(position)) => last(all(&|line| after(line, position)), max_lines),
        Selection::Before(position) => last(all(&|line| before(line, position)), max_lines),
        Selection::After(position) => first(all(&|line| after(line, position)), max_lines),
        Selection::Around(position) => {
            let earlier = last(all(&|line| before(line, position)), max_lines / 2);
            let later = first(all(&|line| !before(line, position)), max_lines - max_lines / 2);
            [earlier, later].concat()
        }
        Selection::Between(from, to) => {
            let forwards = all(&|line| after(line, from) && before(line, to));
            let backwards = all(&|line| after(line, to) && before(line, from));
            if backwards.is_empty() { first(forwards, max_lines) } else { last(backwards, max_lines) }
        }
    }
}

fn any_position() -> impl Strategy<Value = Position> {
    prop_oneof![
        (0u64..45).prop_map(Position::Id),
        (0u64..12).prop_map(|time| Position::Time(UNIX_EPOCH + Duration::from_millis(time))),
    ]
}

fn any_selection() -> impl Strategy<Value = Selection> {
    prop_oneof![
        Just(Selection::Latest(None)),
        any_position().prop_map(|position| Selection::Latest(Some(position))),
        any_position().prop_map(Selection::Before),
        any_position().prop_map(Selection::After),
        any_position().prop_map(Selection::Around),
        (any_position(), any_position()).prop_map(|(from, to)| Selection::Between(from, to)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn the_store_selects_the_same_lines_as_a_search_of_all(
        steps in proptest::collection::vec((1u64..3, 0u64..3, any::<bool>(), any::<bool>()), 0..20),
        selections in proptest::collection::vec((any_selection(), 1usize..8), 40),
    ) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = HistoryStore::open(directory.path(), MAX_STORED_LINES).expect("opened");
        let (mut id, mut time, mut lines) = (0, UNIX_EPOCH, Vec::new());
        // The channel has been empty once, before the line with this id.
        const CHANNEL_ID: u64 = 15;
        for (id_step, time_step, is_other, is_private) in steps {
            id += id_step;
            time += Duration::from_millis(time_step);
            let mut line = entry(if is_other { "#b" } else { "#a" }, "x");
            (line.1.id, line.1.time) = (id, time);
            line.1.private_to = is_private.then_some(if id < CHANNEL_ID { 0 } else { CHANNEL_ID });
            lines.push(line);
        }
        store.append(&lines).expect("written");
        let channel = history_channel("#a", CHANNEL_ID);
        let may_read = |(name, line): &(NameKey, StoredMessage)| *name == channel.name && channel.may_read(line);
        let expected: Vec<_> = lines.into_iter().filter(may_read).map(|(_, line)| line).collect();
        for (selection, max_lines) in selections {
            let query = LineQuery { channel: channel.clone(), selection, max_lines };
            let read = store.read(&query).expect("read");
            prop_assert_eq!(read, select(&expected, selection, max_lines), "{:?} {}", selection, max_lines);
        }
    }
}

#[test]
fn a_store_in_use_or_in_another_format_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = HistoryStore::open(directory.path(), MAX_STORED_LINES).expect("opened");
    let error = HistoryStore::open(directory.path(), MAX_STORED_LINES).expect_err("in use");
    assert!(format!("{error:#}").contains("must not be open in another server"), "{error:#}");
    drop(store);
    std::fs::write(directory.path().join("history.redb"), b"something else").expect("written");
    let error = HistoryStore::open(directory.path(), MAX_STORED_LINES).expect_err("not a store");
    assert!(format!("{error:#}").contains("must be a history file of this server"), "{error:#}");
}
