//! What the integration tests share: hosts to look at, with a certificate authority of their own.

pub mod authority;
pub mod host;
