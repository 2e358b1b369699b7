//! What a zone transfer carries: all records of a zone under one decision (RFC 5936), or those that
//! differ between two (RFC 1995), put into messages one at a time. Knows no socket, no key.
//!
//! Nothing is copied to remember a former version of a zone: it is a serial and who held which role
//! ([`journal`]). What has changed since then is worked out from the compiled zone; after an edit of
//! the zone file, from the one before and the one after it ([`edit`]).

mod change;
pub mod edit;
pub mod fingerprint;
pub mod journal;
mod pack;
pub mod stream;
