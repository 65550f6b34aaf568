//! The results of the checks of a line.

/// What [`run_before_hub`](crate::services::Services::run_before_hub) found out
/// about a line.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LineChecks {
    /// The line holds the operator's name and password (OPER).
    pub(crate) is_password_right: bool,
    /// The word filter refuses the text.
    pub(crate) is_refused: bool,
}
