//! What checks cost: `cargo bench --bench checks [http|tls]`.
//! To hold: 10,000 HTTP checks every 10 s take at most 25 % of one core and 300 MB, and none is later
//! than 10 % of its interval; 10,000 TLS checks are as cheap as the handshakes (at most 1.1 times their CPU
//! time). What is not held is said, and the exit status is 1.
#![allow(dead_code, clippy::unwrap_used)]

mod http;
mod tls;

#[path = "../../tests/it/support/authority.rs"]
mod authority;

use std::process::ExitCode;

fn main() -> ExitCode {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wants = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    let mut is_held = true;
    if wants("tls") {
        is_held &= tls::run();
    }
    if wants("http") {
        is_held &= http::run();
    }
    if is_held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Says whether a figure is what was wanted.
fn is_held(what: &str, found: f64, most: f64, unit: &str) -> bool {
    let is_held = found <= most;
    println!("{}: {what} {found:.2} {unit}, at most {most}", if is_held { "held" } else { "NOT held" });
    is_held
}
