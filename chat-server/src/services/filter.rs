//! Injection site `filter`: the word filter of PRIVMSG.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::inject::mistake::Mistake;

/// The stems of the listed words. Spammers vary their words, so the list
/// contains each stem alone and with different endings.
const STEMS: [&str; 8] = [
    "freebitcoin",
    "cheapmeds",
    "casinobonus",
    "clickherenow",
    "getrichquick",
    "hotsingles",
    "fakewatches",
    "adminpasswd",
];
/// Number of endings of each stem.
const ENDINGS_PER_STEM: usize = 250;

/// Refuses messages that contain a listed word.
#[derive(Debug)]
pub(crate) struct Filter {
    /// Used by the right way.
    set: HashSet<Box<[u8]>>,
    /// Used by the wrong way.
    words: Vec<Box<[u8]>>,
    mistake: Option<Mistake>,
}

impl Filter {
    pub(crate) fn new(mistake: Option<Mistake>) -> Self {
        let endings = |stem: &'static str| (0..ENDINGS_PER_STEM).map(move |number| format!("{stem}{number}"));
        let families =
            STEMS.into_iter().flat_map(|stem| std::iter::once(stem.to_owned()).chain(endings(stem)));
        let words: Vec<Box<[u8]>> = families.map(|word| word.into_bytes().into()).collect();
        Self { set: words.iter().cloned().collect(), words, mistake }
    }

    /// Returns whether `text` contains a listed word. Both ways find the same
    /// words.
    pub(crate) fn refuses_privmsg(&self, text: &[u8]) -> bool {
        match self.mistake.as_ref().and_then(Mistake::decide) {
            Some(duration) => wrong(&self.words, text, duration),
            None => self.refuses_notice(text),
        }
    }

    /// The same for NOTICE, which always uses the right way.
    pub(crate) fn refuses_notice(&self, text: &[u8]) -> bool {
        right(&self.set, text)
    }
}

fn words_of(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| !byte.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

/// Right: one hash look-up per word, a few hundred nanoseconds per message. A
/// check that must be expensive belongs in `spawn_blocking`.
fn right(set: &HashSet<Box<[u8]>>, text: &[u8]) -> bool {
    words_of(text).any(|word| set.contains(word.to_ascii_lowercase().as_slice()))
}

/// Wrong: computes the edit distance of every word to every entry, on the
/// worker, for `duration`.
#[inline(never)]
fn wrong(list: &[Box<[u8]>], text: &[u8], duration: Duration) -> bool {
    let started = Instant::now();
    let text = text.to_ascii_lowercase();
    // Split in advance, so that all the time is spent in this one function.
    let words: Vec<&[u8]> = words_of(&text).collect();
    let mut row = [0usize; 64];
    let mut found = false;
    loop {
        for entry in list {
            for word in &words {
                // Computes the edit distance row by row, in place.
                let word = &word[..word.len().min(row.len() - 1)];
                for (column, cell) in row.iter_mut().enumerate() {
                    *cell = column;
                }
                for (entry_index, &entry_byte) in entry.iter().enumerate() {
                    let mut diagonal = std::mem::replace(&mut row[0], entry_index + 1);
                    for (column, &byte) in word.iter().enumerate() {
                        let substituted = diagonal + usize::from(byte != entry_byte);
                        diagonal = row[column + 1];
                        row[column + 1] = substituted.min(diagonal + 1).min(row[column] + 1); // THE MISTAKE: this loop
                    }
                }
                found |= row[word.len()] == 0;
            }
            if started.elapsed() >= duration {
                return found || contains_listed_word(list, &words);
            }
        }
    }
}

/// Returns whether one of `words` is in `list`. [`wrong`] needs this result if
/// `duration` ends before it has compared the whole list.
fn contains_listed_word(list: &[Box<[u8]>], words: &[&[u8]]) -> bool {
    list.iter().any(|entry| words.contains(&&**entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_and_wrong_find_the_same_words() {
        let filter = Filter::new(None);
        let long = [b'x'; 400];
        for (text, refused) in [
            (&b"get your FreeBitcoin7 here"[..], true),
            (b"cheapmeds", true),
            (b"cheapmed and freebitcoins", false),
            (b"", false),
            (b"\xff\xfe ...", false),
            (&long, false),
        ] {
            assert_eq!(right(&filter.set, text), refused, "{text:?}");
            assert_eq!(wrong(&filter.words, text, Duration::from_millis(1)), refused, "{text:?}");
        }
    }
}
