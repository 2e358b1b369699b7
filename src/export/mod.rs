//! Document and decision to the bytes that nsd shall load. Pure: bytes in, bytes out.

pub mod serial;
