//! What checks cost: `cargo bench --bench checks [http|tls]`.
//! To hold: 10,000 HTTP checks every 10 s take at most 25 % of one core and 300 MB, and none is later
//! than 10 % of its interval; 10,000 TLS checks are as cheap as the handshakes (at most 1.1 times their CPU
//! time). What is not held is said, and the exit status is 1.
#![allow(dead_code, clippy::unwrap_used)]

mod http;
mod tls;

#[path = "../../tests/it/support/authority.rs"]
mod authority;
#[path = "../shared/verdict.rs"]
mod verdict;

use std::process::ExitCode;

use verdict::Verdict;

fn main() -> ExitCode {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wants = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    let mut verdict = Verdict::default();
    if wants("tls") {
        tls::run(&mut verdict);
    }
    if wants("http") {
        http::run(&mut verdict);
    }
    verdict.exit_code()
}
