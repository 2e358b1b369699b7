//! The SMTP check: the greeting, EHLO, STARTTLS if wanted, QUIT. It never sends mail.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::health::check::Smtp;

use super::stream::{connect, failed, read_line, shake_hands, shown};
use super::trace::{Step, note, reach};
use super::{Aim, Finding};

/// A reply line is at most 512 octets (RFC 5321 section 4.5.3.1.5); some say more.
const LINE_MAX: usize = 2_048;

/// Lines of one reply.
const LINES_MAX: usize = 100;

pub(super) async fn look(tls: Option<&Arc<ClientConfig>>, check: &Smtp, aim: &Aim<'_>) -> Result<Finding, Finding> {
    let mut stream = connect(aim.address, check.port).await?;
    reach(Step::Exchange);
    let greeting = reply(&mut stream, 220, "greeting").await?;
    note("greeting");
    let ehlo = format!("EHLO {}", our_name(&stream)?);
    let offered = ask(&mut stream, &ehlo, 250).await?;
    let first = greeting.first().map(|line| shown(line)).unwrap_or_default();
    if !check.starttls {
        farewell(&mut stream).await;
        return Ok(Finding::good("L7OK", format!("greets {first}")));
    }
    let has =
        offered.iter().any(|line| line.split(' ').next().is_some_and(|word| word.eq_ignore_ascii_case("STARTTLS")));
    if !has {
        return Err(Finding::bad("L7RSP", "STARTTLS is not offered"));
    }
    let Some(tls) = tls else { return Err(Finding::cannot_say("the check is not known to the prober")) };
    ask(&mut stream, "STARTTLS", 220).await?;
    let mut secure = shake_hands(tls, &aim.node.name, stream)
        .await
        .map_err(|finding| Finding { detail: format!("after STARTTLS: {}", finding.detail), ..finding })?;
    // What was learned before is forgotten (RFC 3207 section 4.2).
    ask(&mut secure, &ehlo, 250).await?;
    farewell(&mut secure).await;
    Ok(Finding::good("L7OK", format!("greets {first}, STARTTLS works")))
}

/// Sends a command; the text of the reply's lines, if its code is the wanted one.
async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    command: &str,
    wanted: u16,
) -> Result<Vec<String>, Finding> {
    let broken = |error| failed(Step::Exchange, &error);
    stream.write_all(format!("{command}\r\n").as_bytes()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let verb = command.split(' ').next().unwrap_or(command);
    let lines = reply(stream, wanted, verb).await?;
    note(verb);
    Ok(lines)
}

/// Lines `250-TEXT` and a last one `250 TEXT`.
async fn reply(stream: &mut (impl AsyncRead + Unpin), wanted: u16, to: &str) -> Result<Vec<String>, Finding> {
    let mut lines = Vec::new();
    while lines.len() < LINES_MAX {
        let line = read_line(stream, LINE_MAX).await?;
        let code = line.get(..3).and_then(|digits| digits.parse::<u16>().ok());
        let (more, text) = match (line.as_bytes().get(3), line.get(4..)) {
            (Some(b'-'), text) => (true, text),
            (Some(b' ') | None, text) => (false, text),
            _ => return Err(Finding::bad("L7RSP", format!("no SMTP: {}", shown(&line)))),
        };
        match code {
            Some(code) if code == wanted => lines.push(text.unwrap_or_default().to_owned()),
            Some(_) => return Err(Finding::bad("L7STS", format!("{to}: {}, wanted {wanted}", shown(&line)))),
            None => return Err(Finding::bad("L7RSP", format!("no SMTP: {}", shown(&line)))),
        }
        if !more {
            return Ok(lines);
        }
    }
    Err(Finding::bad("L7RSP", format!("{to}: more than {LINES_MAX} lines")))
}

/// An address literal (RFC 5321 section 4.1.3): every host has one, not every host has a name.
fn our_name(stream: &TcpStream) -> Result<String, Finding> {
    let here = stream.local_addr().map_err(|error| failed(Step::Exchange, &error))?;
    Ok(match here.ip() {
        IpAddr::V4(ip) => format!("[{ip}]"),
        IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
    })
}

/// Said out of politeness: the verdict stands.
async fn farewell(stream: &mut (impl AsyncWrite + Unpin)) {
    let _ = stream.write_all(b"QUIT\r\n").await;
    let _ = stream.flush().await;
}
