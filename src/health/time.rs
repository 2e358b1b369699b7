//! Time as an argument: what the pure floors know of the clocks.

/// One reading of both clocks, taken by the daemon.
///
/// Intervals, deadlines and delays use `monotonic_ms`, which never jumps. The rotation schedule,
/// expiries that the operator ordered, and what people read use `unix_ms`, which may.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Now {
    /// Milliseconds since the process started.
    pub monotonic_ms: u64,
    /// Milliseconds since 1970-01-01 00:00 UTC.
    pub unix_ms: i64,
}
