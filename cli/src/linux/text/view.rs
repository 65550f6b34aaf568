//! What the user wants to see.

/// How the text looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    pub(crate) columns: usize,
    pub(crate) has_color: bool,
    /// Whether the chains of awaits are printed.
    pub(crate) is_tree: bool,
    /// Whether each task is printed, and every group.
    pub(crate) lists_all: bool,
}
