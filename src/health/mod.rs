//! What probes say of a node: rise and fall counters to verdicts, and when the next probe is due.
//! Pure: knows no socket and no clock; `now` is an argument.

pub mod check;
pub mod family;
pub mod history;
pub mod schedule;
pub mod time;
pub mod verdict;
