//! The answers: `respond()`, the table, and the servers in front of them.

mod rows;
mod support;
