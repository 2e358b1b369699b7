//! The Gemini check: one request over TLS, one header line `STATUS META`, a body.

use std::sync::Arc;

use regex::bytes::Regex;
use reqwest::Url;
use rustls::ClientConfig;
use tokio::io::AsyncWriteExt;

use crate::health::check::Gemini;

use super::stream::{Wanted, connect, failed, read_answer, read_line, shake_hands, shown};
use super::trace::{Step, note, reach};
use super::{Aim, Finding};

const PORT: u16 = 1965;

/// Two digits, a blank, and META of at most 1,024 octets.
const HEADER_MAX: usize = 1_030;

/// Success.
const STATUS: u16 = 20;

pub(super) async fn look(
    config: &Arc<ClientConfig>,
    check: &Gemini,
    pattern: Option<&Regex>,
    aim: &Aim<'_>,
) -> Result<Finding, Finding> {
    let text = aim.fill(&check.url);
    let url = Url::parse(&text).map_err(|error| Finding::cannot_say(format!("{text}: {error}")))?;
    let host = url.host_str().unwrap_or(&aim.node.name);
    let stream = connect(aim.address, url.port().unwrap_or(PORT)).await?;
    let mut stream = shake_hands(config, host, stream).await?;
    reach(Step::Exchange);
    let broken = |error| failed(Step::Exchange, &error);
    stream.write_all(format!("{url}\r\n").as_bytes()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let header = read_line(&mut stream, HEADER_MAX).await?;
    note("header read");
    let status = header.get(..2).and_then(|digits| digits.parse::<u16>().ok());
    let rest = header.get(2..).unwrap_or_default();
    let Some(status) = status.filter(|_| rest.is_empty() || rest.starts_with(' ')) else {
        return Err(Finding::bad("L7RSP", format!("no Gemini header: {}", shown(&header))));
    };
    let good = if check.status.is_empty() { &[STATUS][..] } else { &check.status };
    if !good.contains(&status) {
        let wanted = good.iter().map(u16::to_string).collect::<Vec<_>>().join(" or ");
        return Err(Finding::bad("L7STS", format!("status {}, wanted {wanted}", shown(&header))));
    }
    let expect = check.expect.as_ref().map(|text| aim.fill_bare(text));
    let wanted = Wanted::new(expect.as_deref(), pattern);
    read_answer(&mut stream, wanted).await?;
    note("body read");
    Ok(Finding::good("L7OK", format!("Gemini {status}")))
}
