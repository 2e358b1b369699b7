//! Names, records and questions in wire form. Knows no zone, no file, no socket.

pub mod access;
pub mod cookie;
pub mod message;
pub mod name;
pub mod rdata;
pub mod record;
pub mod transfer;

// The registries of types, classes and codes are `domain`'s (`domain::base::iana`): one table of
// types in the tree, not two.
