//! TLS: its settings, the handshakes, and a certificate to try it with. The
//! certificate in use is a [service](crate::services::certificate).

pub(crate) mod handshake;
mod handshake_slots;
pub(crate) mod self_signed;
pub(crate) mod settings;
