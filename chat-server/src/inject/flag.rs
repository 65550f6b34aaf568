//! All values of `--inject` together.

use crate::inject::mistake::Mistake;
use crate::inject::spec::{self, InjectionSite, MistakeSettings, SpecError};

/// The mistakes to make, by site.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Injections([Option<MistakeSettings>; InjectionSite::ALL.len()]);

impl Injections {
    /// Reads the values of all `--inject` flags. A later value for a site
    /// replaces an earlier one.
    pub(crate) fn parse<'a>(specs: impl IntoIterator<Item = &'a str>) -> Result<Self, SpecError> {
        let mut injections = Self::default();
        for text in specs {
            for (site, settings) in spec::parse(text)? {
                injections.0[site as usize] = Some(settings);
            }
        }
        Ok(injections)
    }

    /// Returns the mistake to make at `site`, if any.
    pub(crate) fn at(&self, site: InjectionSite) -> Option<Mistake> {
        self.0[site as usize].map(|settings| Mistake::new(site, settings))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_later_value_replaces_an_earlier_one() {
        let injections = Injections::parse(["all", "sleep=20ms@5%"]).expect("valid");
        assert_eq!(
            injections.at(InjectionSite::Sleep).map(|it| it.duration()),
            Some(Duration::from_millis(20))
        );
        assert!(injections.at(InjectionSite::History).is_some());
        assert!(Injections::default().at(InjectionSite::Sleep).is_none());
    }
}
