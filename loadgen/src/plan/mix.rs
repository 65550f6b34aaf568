//! The commands of the load and their weights.

use std::fmt;
use std::str::FromStr;

use super::rng::Rng;

/// One command that the load may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    /// A message to the sender's channel: the only chat command that is
    /// measured.
    Privmsg,
    /// Joins a scratch channel, which has no measured traffic. If the sender is
    /// already in it, leaves it.
    Join,
    /// Requests the names of the channel's members.
    Names,
    /// Requests the full data of the channel's members.
    Who,
    /// Requests the data of the sender's own nick.
    Whois,
    /// Requests the channel's topic.
    Topic,
    /// Requests the list of channels.
    List,
    /// Logs in as an operator (needs `--oper`).
    Oper,
    /// Requests the message of the day.
    Motd,
    /// Requests earlier messages of the channel (`CHATHISTORY`), but those
    /// before the first: an old message must not count as a delivery.
    Chathistory,
    /// Pings the server.
    Ping,
    /// Requests the page of a web server.
    Get,
}

impl Action {
    /// Every action, in the order in which reports list them.
    pub(crate) const ALL: [Self; 12] = [
        Self::Privmsg,
        Self::Join,
        Self::Names,
        Self::Who,
        Self::Whois,
        Self::Topic,
        Self::List,
        Self::Oper,
        Self::Motd,
        Self::Chathistory,
        Self::Ping,
        Self::Get,
    ];

    /// Returns its name in flags and reports.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Privmsg => "privmsg",
            Self::Join => "join",
            Self::Names => "names",
            Self::Who => "who",
            Self::Whois => "whois",
            Self::Topic => "topic",
            Self::List => "list",
            Self::Oper => "oper",
            Self::Motd => "motd",
            Self::Chathistory => "chathistory",
            Self::Ping => "ping",
            Self::Get => "get",
        }
    }

    /// Returns whether its delivery or answer is awaited and timed.
    pub(crate) const fn is_measured(self) -> bool {
        matches!(self, Self::Privmsg | Self::Get)
    }

    /// Returns its index in [`Action::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// Actions with their weights, such as `privmsg:90,join:5,who:5`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mix {
    entries: Vec<(Action, u32)>,
    total: u64,
}

impl Mix {
    /// Returns the actions and their weights.
    pub(crate) fn entries(&self) -> &[(Action, u32)] {
        &self.entries
    }

    /// Returns whether the mix contains `action`.
    pub(crate) fn contains(&self, action: Action) -> bool {
        self.entries.iter().any(|&(entry, _)| entry == action)
    }

    /// Returns a mix of `action` alone.
    pub(crate) fn only(action: Action) -> Self {
        Self { entries: vec![(action, 1)], total: 1 }
    }

    /// Returns the same mix without `action`; `None` if nothing is left.
    pub(crate) fn without(&self, action: Action) -> Option<Self> {
        let entries: Vec<_> = self.entries.iter().copied().filter(|&(entry, _)| entry != action).collect();
        Self::new(entries).ok()
    }

    /// Chooses one action by weight.
    pub(crate) fn pick(&self, rng: &mut Rng) -> Action {
        let mut remaining = rng.below(self.total);
        for &(action, weight) in &self.entries {
            match remaining.checked_sub(u64::from(weight)) {
                Some(difference) => remaining = difference,
                None => return action,
            }
        }
        Action::Privmsg
    }

    fn new(entries: Vec<(Action, u32)>) -> Result<Self, String> {
        let total = entries.iter().map(|&(_, weight)| u64::from(weight)).sum();
        if total == 0 {
            return Err("at least one weight must be above zero".into());
        }
        Ok(Self { entries, total })
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut entries: Vec<(Action, u32)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.trim().split_once(':').unwrap_or((part.trim(), "1"));
            let action = Action::ALL.into_iter().find(|action| action.as_str() == name).ok_or_else(|| {
                let names: Vec<_> = Action::ALL.iter().map(|action| action.as_str()).collect();
                format!("`{name}` is not a command of the mix; the commands are {}", names.join(", "))
            })?;
            let weight = weight
                .parse()
                .map_err(|_| format!("the weight `{weight}` of `{name}` is not a whole number"))?;
            if entries.iter().any(|&(entry, _)| entry == action) {
                return Err(format!("`{name}` is named twice"));
            }
            entries.push((action, weight));
        }
        entries.retain(|&(_, weight)| weight > 0);
        Self::new(entries)
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (action, weight)) in self.entries.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}:{weight}", action.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_at_its_index() {
        for (index, action) in Action::ALL.into_iter().enumerate() {
            assert_eq!(action.index(), index);
        }
    }

    #[test]
    fn actions_are_picked_by_weight() {
        let mix: Mix = "privmsg:90, join:0,who:10".parse().expect("a good mix");
        assert_eq!(mix.to_string(), "privmsg:90,who:10");
        let mut rng = Rng::new(1);
        let who = (0..10_000).filter(|_| mix.pick(&mut rng) == Action::Who).count();
        assert!((800..1200).contains(&who), "{who} of 10,000 were `who`, at a weight of a tenth");
    }

    #[test]
    fn a_bad_mix_is_refused_with_a_reason() {
        for (text, reason) in [
            ("dance:1", "not a command"),
            ("who:x", "not a whole number"),
            ("who:1,who:2", "twice"),
            ("who:0", "above zero"),
            ("", "not a command"),
        ] {
            let error = text.parse::<Mix>().expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
