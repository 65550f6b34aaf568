//! Who may use accounts: the settings.

/// The settings of accounts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct AccountPolicy {
    pub(crate) sasl: SaslUse,
    /// Accounts that clients of one address may register per hour. `None`
    /// forbids REGISTER.
    pub(crate) registrations_per_hour: Option<f64>,
    /// Clients may send the passwords of accounts where others can read them.
    pub(crate) allows_plain_text: bool,
}

/// Whether clients log in to accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SaslUse {
    Off,
    Optional,
    /// Only clients that have logged in are registered.
    Required,
}
