//! The results of the checks of a line.

/// What [`run_before_hub`](crate::services::Services::run_before_hub) found out
/// about a line.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LineChecks {
    /// The line holds the right name and password of the operator (OPER).
    pub(crate) is_password_right: bool,
    /// The line holds a wrong name or password of the operator (OPER). Not set
    /// if the server has no operator.
    pub(crate) is_password_wrong: bool,
    /// The word filter refuses the text.
    pub(crate) is_refused: bool,
}
