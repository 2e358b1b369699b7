//! What people and programs see and order: the read-only HTTP listener, the same with orders on
//! the unix socket, the client of that socket, and texts for people.
//!
//! This room decides nothing: it shows a [`crate::director::status::Status`] that somebody else
//! made, and passes orders on as [`api::Command`]s.

pub mod api;
pub mod client;
pub mod listen;
pub mod log;
pub mod metrics;
pub mod nagios;
pub mod page;
pub mod report;
pub mod text;
mod view;
pub mod watch;

/// How a verb ends, for the shell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// Done; where something was ordered: it is served.
    Ok = 0,
    /// It was tried and failed.
    Failed = 1,
    /// Misuse, or a mistake in the configuration.
    Usage = 2,
    /// The daemon does not answer.
    Unreachable = 3,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> std::process::ExitCode {
        std::process::ExitCode::from(exit as u8)
    }
}
