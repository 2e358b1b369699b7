//! Two ways to tell nsd to read a zone again: the program `nsd-control`, or its control socket,
//! which spares the start of a process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::command::{self, first_line};

/// The version of the control protocol, `NSDCT1`: the same since nsd 4.
const PROTOCOL: &str = "NSDCT1";
/// So much is kept of what nsd says, in octets.
const ANSWER_MAX_BYTES: u64 = 64 * 1024;

/// How nsd is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Control {
    /// Program and arguments that come before `reload ZONE`: usually `nsd-control`.
    Program(Vec<String>),
    /// The unix socket that nsd.conf names as `control-interface`.
    Socket(PathBuf),
}

impl From<Vec<String>> for Control {
    fn from(argv: Vec<String>) -> Control {
        Control::Program(argv)
    }
}

impl Control {
    /// Whether nsd takes orders: asks for its status, which changes nothing. Another program than
    /// nsd-control itself is not tried: nobody knows which words it takes.
    pub(super) async fn try_out(&self, limit_ms: u64) -> Result<(), String> {
        if let Control::Program(argv) = self
            && argv.first().and_then(|program| Path::new(program).file_name()).is_none_or(|name| name != "nsd-control")
        {
            return Ok(());
        }
        let tried = self.order(&["status"], limit_ms).await;
        tried.map_err(|reason| {
            format!("nsd takes no order: {reason}; set control-enable: yes in nsd.conf, with a control-interface that we may use")
        })
    }

    /// Gives nsd an order, which it only queues. The error is one line for people.
    pub(super) async fn order(&self, words: &[&str], limit_ms: u64) -> Result<(), String> {
        let (who, said) = match self {
            Control::Program(argv) => ("nsd-control", command::run(argv, words, None, limit_ms).await?.stdout),
            Control::Socket(path) => ("nsd", over_socket(path, words, limit_ms).await?),
        };
        match first_line(&said) {
            Some(line) if line.starts_with("error") => Err(format!("{who} {}: {line}", words.join(" "))),
            _ => Ok(()),
        }
    }
}

/// One connection for each order: nsd reads a line and answers until it closes.
async fn over_socket(path: &Path, words: &[&str], limit_ms: u64) -> Result<String, String> {
    let exchange = async {
        let mut stream = UnixStream::connect(path).await?;
        stream.write_all(format!("{PROTOCOL} {}\n", words.join(" ")).as_bytes()).await?;
        let mut said = Vec::new();
        stream.take(ANSWER_MAX_BYTES).read_to_end(&mut said).await?;
        Ok::<_, std::io::Error>(said)
    };
    let say = |what: String| format!("nsd's control socket {}: {what}", path.display());
    match tokio::time::timeout(Duration::from_millis(limit_ms), exchange).await {
        // It always says something, "ok" at the least.
        Ok(Ok(said)) if said.is_empty() => Err(say("closed without an answer".to_owned())),
        Ok(Ok(said)) => Ok(String::from_utf8_lossy(&said).into_owned()),
        Ok(Err(error)) => Err(say(error.to_string())),
        Err(_) => Err(say(format!("no answer within {limit_ms} ms"))),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    /// What becomes of an order to a socket that says this.
    async fn told(answer: &'static [u8]) -> (Result<(), String>, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nsd.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let nsd = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = vec![0; 64];
            let length = stream.read(&mut heard).await.unwrap();
            stream.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&heard[..length]).into_owned()
        });
        let outcome = Control::Socket(path).order(&["reload", "foo.zone"], 2_000).await;
        (outcome, nsd.await.unwrap())
    }

    #[tokio::test]
    async fn the_words_of_the_protocol() {
        assert_eq!(told(b"ok\n").await, (Ok(()), "NSDCT1 reload foo.zone\n".to_owned()));
        let (refused, _) = told(b"error zone foo.zone not configured\n").await;
        assert_eq!(refused.unwrap_err(), "nsd reload foo.zone: error zone foo.zone not configured");
        assert!(told(b"").await.0.unwrap_err().ends_with("closed without an answer"));
        // Only nsd's serial says that it has worked: garbage is no reason to undo anything.
        assert_eq!(told(b"\xff\x00\n\n").await.0, Ok(()));
    }

    /// Only nsd-control itself is tried: another program may take no other word than `reload`.
    #[tokio::test]
    async fn a_program_of_somebody_s_own_is_not_tried() {
        let folder = tempfile::tempdir().unwrap();
        let program = |name: &str| folder.path().join(name).display().to_string();
        let tried = async |name: &str| Control::Program(vec![program(name)]).try_out(2_000).await;
        assert_eq!(tried("wrapper").await, Ok(()));
        let missing = tried("nsd-control").await.unwrap_err();
        assert!(
            missing.starts_with("nsd takes no order: cannot run ") && missing.contains("control-enable"),
            "{missing}"
        );
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_or_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nsd.sock");
        let control = Control::Socket(path.clone());
        let missing = control.order(&["reload", "foo.zone"], 2_000).await.unwrap_err();
        assert!(missing.starts_with(&format!("nsd's control socket {}: ", path.display())), "{missing}");
        let _silent = UnixListener::bind(&path).unwrap();
        let silent = control.order(&["reload", "foo.zone"], 100).await.unwrap_err();
        assert!(silent.ends_with("no answer within 100 ms"), "{silent}");
    }
}
