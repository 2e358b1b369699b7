//! What checks cost: `cargo bench --bench checks [http|tls]`.
//! To hold: 10,000 HTTP checks every 10 s take at most 25 % of one core and 300 MB, and none is later
//! than 10 % of its interval; 10,000 TLS checks are as cheap as the handshakes.
#![allow(dead_code, clippy::unwrap_used)]

mod http;
mod tls;

#[path = "../../tests/it/support/authority.rs"]
mod authority;

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wants = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    if wants("tls") {
        tls::run();
    }
    if wants("http") {
        http::run();
    }
}
