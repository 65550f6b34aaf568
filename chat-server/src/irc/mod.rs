//! The IRC protocol: parsing, names, masks and encoding.

pub(crate) mod command;
pub(crate) mod ctcp;
pub(crate) mod foreign;
pub(crate) mod labels;
pub(crate) mod lines;
pub(crate) mod masks;
pub(crate) mod message;
pub(crate) mod names;
pub(crate) mod numeric;
pub(crate) mod reply;
pub(crate) mod sasl;
pub(crate) mod tags;
pub(crate) mod truncate;
