//! The TCP check: connect; send a text if there is one; look for another in what comes back.

use regex::bytes::Regex;
use tokio::io::AsyncWriteExt;

use crate::health::check::Tcp;

use super::stream::{Wanted, connect, failed, read_answer};
use super::trace::{Step, note, reach};
use super::{Aim, Finding};

pub(super) async fn look(check: &Tcp, pattern: Option<&Regex>, aim: &Aim<'_>) -> Result<Finding, Finding> {
    let mut stream = connect(aim.address, check.port).await?;
    let expect = check.expect.as_ref().map(|text| aim.fill_bare(text));
    let wanted = Wanted::new(expect.as_deref(), pattern);
    if check.send.is_none() && matches!(wanted, Wanted::Anything) {
        return Ok(Finding::good("L4OK", "connected"));
    }
    reach(Step::Exchange);
    if let Some(text) = &check.send {
        let sent = stream.write_all(aim.fill(text).as_bytes()).await;
        sent.map_err(|error| failed(Step::Exchange, &error))?;
        note("sent");
    }
    if matches!(wanted, Wanted::Anything) {
        return Ok(Finding::good("L7OK", "sent"));
    }
    read_answer(&mut stream, wanted).await?;
    note("answer read");
    Ok(Finding::good("L7OK", "the answer is as expected"))
}
