//! What quinn is told: TLS, and what clients may do before anybody has looked at what they say.

use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{BloomTokenLog, ServerConfig, TransportConfig, ValidationTokenConfig, VarInt};
use rustls::crypto::ring;

use crate::dns::message::MESSAGE_MAX;

use super::super::encrypted::Certificate;
use super::super::service::Settings;

/// Queries of one connection under way at a time.
const STREAMS_MAX: u32 = 100;
/// What a client may send unasked, in octets: on one stream (a length and a message), and on all of a
/// connection.
const STREAM_WINDOW: u32 = 2 + MESSAGE_MAX as u32;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// Answers that may wait for a client to take them, in octets, for one connection.
const SEND_BUFFER: u64 = 256 * 1024;
/// First datagrams that may wait until we look at them, and what may follow them until then, in octets:
/// for one, and for all. What is more is lost.
const INCOMING_MAX: usize = 1_000;
const INCOMING_BUFFER: u64 = 16 * 1024;
const INCOMING_BUFFERS: u64 = 1024 * 1024;
/// QUIC's own clock of silence also runs while nsd is asked (1.5 s): it never takes less than this, in
/// milliseconds.
const SILENCE_MIN_MS: u32 = 3_000;
/// The memory, in octets, that knows which tokens were used, and how many uses it is laid out for.
const TOKENS: usize = 256 * 1024;
const TOKEN_USES: u64 = 100_000;

pub(super) fn server(certificate: &Arc<Certificate>, settings: &Settings) -> ServerConfig {
    let mut config = ServerConfig::with_crypto(Arc::new(tls(certificate)));
    config.transport_config(Arc::new(transport(settings)));
    // Whose address changes has to come again: it was counted at the door, and answered, as the one that
    // it has shown to have. Nobody is away for longer than `tcp-timeout` anyway.
    config.migration(false);
    config.max_incoming(INCOMING_MAX);
    config.incoming_buffer_size(INCOMING_BUFFER).incoming_buffer_size_total(INCOMING_BUFFERS);
    // RFC 9250 section 5.3: who has been here is not sent back by a Retry; RFC 9000 section 8.1.4: each
    // token counts once.
    let mut tokens = ValidationTokenConfig::default();
    tokens.log(Arc::new(BloomTokenLog::new_expected_items(TOKENS, TOKEN_USES)));
    config.validation_token_config(tokens);
    config
}

/// TLS 1.3 and "doq", and nothing else. `max_early_data_size` stays 0, which is no 0-RTT: a query in it
/// can be sent again by whoever has seen it pass (RFC 9250 section 4.5), and what it saves is one round
/// trip of a connection that is used for many queries.
fn tls(certificate: &Arc<Certificate>) -> QuicServerConfig {
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).expect("ring knows TLS 1.3");
    let mut config = builder.with_no_client_auth().with_cert_resolver(certificate.clone());
    config.alpn_protocols = vec![b"doq".to_vec()];
    QuicServerConfig::try_from(config).expect("ring knows AES-128-GCM with SHA-256, which QUIC begins with")
}

fn transport(settings: &Settings) -> TransportConfig {
    let mut config = TransportConfig::default();
    // RFC 9250 section 4.2: a stream of the client's for each query, and no others.
    config.max_concurrent_bidi_streams(STREAMS_MAX.into()).max_concurrent_uni_streams(0_u8.into());
    config.datagram_receive_buffer_size(None);
    config.stream_receive_window(STREAM_WINDOW.into()).receive_window(CONNECTION_WINDOW.into());
    config.send_window(SEND_BUFFER);
    // Whoever wants to stay says so.
    config.keep_alive_interval(None);
    config.max_idle_timeout(Some(VarInt::from_u32(settings.idle_ms.max(SILENCE_MIN_MS)).into()));
    // To look for a larger size would take more datagrams than most answers do.
    config.mtu_discovery_config(None);
    config
}
