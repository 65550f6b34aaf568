//! The clients, their channels and what they receive: one task owns it all.
//!
//! There are no locks. A session sends a request and waits for its outcome, so
//! each session has at most one request here and its replies come in order.
//! All clients see events in the order in which this task took the requests.
//! The task never waits for a client: a client whose queue is full is
//! disconnected. Sessions do everything that takes long (argon2, files, the
//! pause of the flood control).
//!
//! | what | owner | access for others |
//! |---|---|---|
//! | clients, nicks, channels, former clients | the hub's task | [`Hub`](handle::Hub): a request and its outcome |
//! | the socket, unprocessed input, the token bucket | the session's task | none |
//! | lines queued for a client | its [`outbox`](crate::outbox): the hub pushes, the session writes | none |
//! | size of that queue, which tags its lines have | atomics that both ends share | relaxed loads |
//! | bytes of a line | all queues that hold it (reference count) | immutable once queued |
//! | history, counts, password hashes | `services` and their tasks | queues, atomics |
//!
//! So no session waits for the client of another session, and nothing can be
//! locked across an await.
//!
//! Nobody else can change the state, so long loops may yield in the middle:
//! see [`delivery`].

mod account_registration;
mod cap;
mod capabilities;
mod channel;
mod chathistory;
mod client;
mod delivery;
mod former_clients;
pub(crate) mod handle;
mod help;
mod history;
mod isupport;
mod join_part;
mod leaving;
mod limits;
mod listing;
mod messages;
mod mode_change;
mod moderation;
mod modes;
mod operators;
mod presence;
mod queries;
mod registration;
mod rehash;
pub(crate) mod request;
mod sasl;
mod state;
mod task;
mod user_modes;
mod whois;
