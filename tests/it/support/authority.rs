//! A certificate authority of the tests' own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Two authorities of one name would be told apart by their signatures only.
        static COUNT: AtomicUsize = AtomicUsize::new(1);
        let name = format!("nsd-failover tests {}", COUNT.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Authority { issuer }
    }

    /// The authority's certificate, for a `ca-file`.
    pub fn ca_pem(&self) -> String {
        self.issuer.pem()
    }

    /// The same, written to `ca.pem` in a folder.
    pub fn write_ca(&self, folder: &Path) -> PathBuf {
        let file = folder.join("ca.pem");
        std::fs::write(&file, self.ca_pem()).unwrap();
        file
    }

    /// A TLS server that shows a certificate for these names, valid now.
    pub fn server(&self, names: &[&str]) -> Arc<ServerConfig> {
        self.server_until(names, (2999, 1, 1))
    }

    /// The same, with a certificate that ended in 2001.
    pub fn expired_server(&self, names: &[&str]) -> Arc<ServerConfig> {
        self.server_until(names, (2001, 1, 1))
    }

    /// A certificate for these names and its key, as PEM, for other people's servers.
    pub fn pair(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// The same, with a certificate that ends in so many days.
    pub fn server_for_days(&self, names: &[&str], days: u64) -> Arc<ServerConfig> {
        let end = jiff::Timestamp::now().as_second() + i64::try_from(days).unwrap() * 86_400;
        let end = jiff::Timestamp::from_second(end).unwrap().to_zoned(jiff::tz::TimeZone::UTC).date();
        let number = |number: i8| u8::try_from(number).unwrap();
        self.server_until(names, (end.year().into(), number(end.month()), number(end.day())))
    }

    /// A TLS server with a certificate that nobody else has signed, and the certificate in PEM.
    pub fn self_signed(names: &[&str]) -> (Arc<ServerConfig>, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        (server(certificate.der().clone(), &key), certificate.pem())
    }

    fn server_until(&self, names: &[&str], until: (i32, u8, u8)) -> Arc<ServerConfig> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        server(certificate.der().clone(), &key)
    }
}

fn server(certificate: rustls::pki_types::CertificateDer<'static>, key: &KeyPair) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap())
}
