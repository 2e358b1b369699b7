//! Mail: a message of plain text, by SMTP or for sendmail.

use std::time::Duration;

use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailboxes, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls as LettreTls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::courier::{Undelivered, secret};
use super::destination::{Mail, Smtp, Tls};
use super::incident::Incident;
use super::template;

/// The message for one incident.
pub fn message(mail: &Mail, incident: &Incident) -> Result<Message, Undelivered> {
    let wrong = |what: &str, error: String| Undelivered::for_good(format!("{what}: {error}"));
    let to: Mailboxes = mail.to.parse().map_err(|error| wrong(&mail.to, format!("{error}")))?;
    let from = mail.from.parse().map_err(|error| wrong(&mail.from, format!("{error}")))?;
    let mut builder = Message::builder().from(from).subject(template::subject(incident)).header(AutoSubmitted);
    for recipient in to {
        builder = builder.to(recipient);
    }
    builder.body(template::text(incident)).map_err(|error| wrong("cannot write the mail", error.to_string()))
}

/// Sends one mail over a connection of its own.
pub async fn send(mail: &Mail, smtp: &Smtp, incident: &Incident, limit: Duration) -> Result<(), Undelivered> {
    let message = message(mail, incident)?;
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host)
        .port(smtp.port)
        .timeout(Some(limit))
        .tls(match smtp.tls {
            Tls::Off => LettreTls::None,
            Tls::Starttls => LettreTls::Required(parameters(smtp).await?),
            Tls::Implicit => LettreTls::Wrapper(parameters(smtp).await?),
        });
    if let Some((user, file)) = &smtp.login {
        builder = builder.credentials(Credentials::new(user.clone(), secret(file).await?));
    }
    match builder.build().send(message).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let reason = format!("{}:{}: {error}", smtp.host, smtp.port);
            Err(Undelivered { reason, for_good: error.is_permanent() })
        }
    }
}

async fn parameters(smtp: &Smtp) -> Result<TlsParameters, Undelivered> {
    let mut builder = TlsParameters::builder(smtp.host.clone());
    if let Some(file) = &smtp.ca_file {
        let failed = |error: String| Undelivered::again(format!("cannot use {}: {error}", file.display()));
        let pem = tokio::fs::read(file).await.map_err(|error| failed(error.to_string()))?;
        let certificate = Certificate::from_pem(&pem).map_err(|error| failed(error.to_string()))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(|error| Undelivered::again(format!("TLS: {error}")))
}

/// No machine shall answer (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<AutoSubmitted, Box<dyn std::error::Error + Send + Sync>> {
        Ok(AutoSubmitted)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(AutoSubmitted::name(), "auto-generated".to_owned())
    }
}
