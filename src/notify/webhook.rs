//! Webhooks: one POST with JSON.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::courier::{Undelivered, secret};
use super::destination::{Url, Webhook};
use super::incident::Incident;
use super::template::{self, Template};

/// Delivers one incident over a connection of its own. 2xx is delivered; redirects are not followed.
pub async fn post(hook: &Webhook, incident: &Incident, limit: Duration) -> Result<(), Undelivered> {
    let mut url = match &hook.url {
        Url::Given(url) => url.clone(),
        Url::File(file) => secret(file).await?,
    };
    let mut topic = String::new();
    if hook.template == Template::Ntfy {
        let no_topic = || Undelivered::for_good("the URL ends in no topic");
        (url, topic) = template::ntfy_topic(&url).ok_or_else(no_topic)?;
    }
    let body = template::body(hook.template, incident, &topic);
    let mut request = client(&url, hook.ca_file.as_deref(), limit)?.post(url).json(&body);
    if let Some(file) = &hook.token_file {
        request = request.bearer_auth(secret(file).await?);
    }
    // The URL may be a secret: it stands in no message.
    let answer = request.send().await.map_err(|error| Undelivered::again(root_cause(&error.without_url())))?;
    let status = answer.status();
    let may_change = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    match status {
        status if status.is_success() => Ok(()),
        status if may_change => Err(Undelivered::again(format!("HTTP {status}"))),
        status => Err(Undelivered::for_good(format!("HTTP {status}"))),
    }
}

fn client(url: &str, ca_file: Option<&Path>, limit: Duration) -> Result<reqwest::Client, Undelivered> {
    let wrong = |error: String| Undelivered::again(format!("TLS: {error}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| wrong(error.to_string()))?;
    let config = match ca_file {
        Some(file) => builder.with_root_certificates(roots(file).map_err(wrong)?).with_no_client_auth(),
        None => {
            let verifier = rustls_platform_verifier::Verifier::new(provider);
            let verifier = verifier.map_err(|error| wrong(error.to_string()))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
        }
    };
    let builder = reqwest::Client::builder();
    // A proxy of the environment hands TLS on unread; what goes without it would be the proxy's to read.
    let is_secure = url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
    let builder = if is_secure { builder } else { builder.no_proxy() };
    builder
        .tls_backend_preconfigured(config)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .timeout(limit)
        .build()
        .map_err(|error| wrong(error.to_string()))
}

fn roots(file: &Path) -> Result<RootCertStore, String> {
    let of = |error: String| format!("{}: {error}", file.display());
    let pem = std::fs::read(file).map_err(|error| of(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| of(error.to_string()))?;
        roots.add(certificate).map_err(|error| of(error.to_string()))?;
    }
    if roots.is_empty() { Err(of("no certificate in it".to_owned())) } else { Ok(roots) }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
