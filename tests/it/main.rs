//! All integration tests in one binary: one link, one list.

mod control;
mod floors;
mod publish;
mod support;
