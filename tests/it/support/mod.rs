<<<<<<< HEAD
//! What several tests stand on: real servers on loopback, in folders of their own.

pub mod nsd;
=======
//! What the integration tests share: hosts to look at, with a certificate authority of their own.

pub mod authority;
pub mod host;
>>>>>>> health
