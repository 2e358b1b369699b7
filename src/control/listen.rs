//! The two doors: a bounded TCP listener for reading, and the unix socket for those whom its file
//! mode lets in.

use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep};

use super::api::{self, Handle, REPLY_LIMIT};

/// Connections served at a time on each listener; more wait in the system's queue. The page must
/// never take the file descriptors that DNS needs.
pub const CONNECTIONS_MAX: usize = 64;
/// A TCP connection on which nothing could be written for so long is closed: a client that sends
/// its request octet by octet, or never reads.
const HTTP_PATIENCE: Duration = Duration::from_secs(15);
/// The same on the unix socket, where an answer may wait for an export.
const SOCKET_PATIENCE: Duration = Duration::from_secs(REPLY_LIMIT.as_secs() + 15);
/// Owner and group may order, nobody else.
const SOCKET_MODE: u32 = 0o660;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;

/// Serves the read-only API until `shutdown`.
pub async fn serve_http(
    listener: std::net::TcpListener,
    handle: Handle,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = Bounded::new(TcpListener::from_std(listener)?, HTTP_PATIENCE);
    let (shutdown, ended) = told(shutdown);
    axum::serve(listener, api::read_only(handle, ended)).with_graceful_shutdown(shutdown).await
}

/// Serves the whole API on the control socket until `shutdown`, then removes it.
pub async fn serve_socket(
    socket: ControlSocket,
    handle: Handle,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let ControlSocket { listener, _file } = socket;
    listener.set_nonblocking(true)?;
    let listener = Bounded::new(UnixListener::from_std(listener)?, SOCKET_PATIENCE);
    let (shutdown, ended) = told(shutdown);
    axum::serve(listener, api::full(handle, ended)).with_graceful_shutdown(shutdown).await
}

/// The same shutdown, and a watch that tells those of it who would never end by themselves.
fn told(shutdown: impl Future<Output = ()> + Send + 'static) -> (impl Future<Output = ()>, watch::Receiver<bool>) {
    let (tell, ended) = watch::channel(false);
    let shutdown = async move {
        shutdown.await;
        tell.send_replace(true);
    };
    (shutdown, ended)
}

/// The control socket, bound and listening. Its file goes with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: std::os::unix::net::UnixListener,
    _file: SocketFile,
}

impl ControlSocket {
    /// Binds it with mode 0660, which is set before anybody can connect. A stale socket of our own
    /// is replaced; its folder is created if it is missing. `owner` (user and group) is who we are
    /// about to become.
    pub fn bind(path: &Path, owner: Option<(u32, u32)>) -> Result<ControlSocket, SocketError> {
        let say = |what: &'static str| move |error| SocketError::Io(path.to_owned(), what, error);
        let address = SockAddr::unix(path).map_err(say("use"))?;
        make_room(path, &address, owner)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let is_new = !folder.exists();
            fs::create_dir_all(folder).map_err(say("create the folder of"))?;
            if let Some((user, group)) = owner.filter(|_| is_new) {
                chown(folder, Some(user), Some(group)).map_err(say("give away the folder of"))?;
            }
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(say("open"))?;
        socket.bind(&address).map_err(say("bind"))?;
        let metadata = fs::symlink_metadata(path).map_err(say("look at"))?;
        let file = SocketFile { path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) };
        if let Some((user, group)) = owner {
            chown(path, Some(user), Some(group)).map_err(say("give away"))?;
        }
        // Nobody can connect before it listens.
        fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(say("set the mode of"))?;
        socket.listen(BACKLOG).map_err(say("listen on"))?;
        Ok(ControlSocket { listener: socket.into(), _file: file })
    }
}

/// Removes what a dead daemon left at this path, and nothing else.
fn make_room(path: &Path, address: &SockAddr, owner: Option<(u32, u32)>) -> Result<(), SocketError> {
    let say = |what: &'static str| move |error| SocketError::Io(path.to_owned(), what, error);
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata.map_err(say("look at"))?,
    };
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NoSocket(path.to_owned()));
    }
    // Not blocking: a hung daemon with a full queue must not hang us, too.
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(say("open"))?;
    probe.set_nonblocking(true).map_err(say("open"))?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(SocketError::SomebodyElses(path.to_owned(), metadata.uid()));
        }
        Ok(()) | Err(_) => return Err(SocketError::InUse(path.to_owned())),
    }
    let ours = [Some(rustix::process::geteuid().as_raw()), owner.map(|(user, _)| user)];
    if !ours.contains(&Some(metadata.uid())) {
        return Err(SocketError::SomebodyElses(path.to_owned(), metadata.uid()));
    }
    fs::remove_file(path).map_err(say("remove the stale"))
}

/// Removes the socket's file on drop, if it is still the one that was bound.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let now = fs::symlink_metadata(&self.path).map(|metadata| (metadata.dev(), metadata.ino()));
        if now.is_ok_and(|now| now == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A listener that serves a bounded number of connections, each with a bound on its silence.
struct Bounded<L> {
    inner: L,
    places: Arc<Semaphore>,
    patience: Duration,
}

impl<L> Bounded<L> {
    fn new(inner: L, patience: Duration) -> Bounded<L> {
        Bounded { inner, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)), patience }
    }
}

impl<L: Listener> Listener for Bounded<L> {
    type Io = Guarded<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let place = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        let (inner, address) = self.inner.accept().await;
        let silence = Box::pin(tokio::time::sleep(self.patience));
        (Guarded { inner, silence, patience: self.patience, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

/// A connection that holds one place and ends when nothing was written to it for too long.
struct Guarded<T> {
    inner: T,
    silence: Pin<Box<Sleep>>,
    patience: Duration,
    _place: OwnedSemaphorePermit,
}

impl<T: Unpin> Guarded<T> {
    /// Passes a result on, or the end of our patience where there is none.
    fn judge<R>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if polled.is_pending() && self.silence.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }

    fn wrote(&mut self) {
        let until = Instant::now() + self.patience;
        self.silence.as_mut().reset(until);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.judge(context, polled)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, octets);
        if let Poll::Ready(Ok(1..)) = polled {
            self.wrote();
        }
        self.judge(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.judge(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(context);
        self.judge(context, polled)
    }
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("{path}: a daemon answers there already; stop it, or give this one another `control` path", path = .0.display())]
    InUse(PathBuf),
    #[error("{path}: belongs to user {1}, not to us; remove it, or start as that user", path = .0.display())]
    SomebodyElses(PathBuf, u32),
    #[error("{path}: is there and is no socket; remove it, or choose another `control` path", path = .0.display())]
    NoSocket(PathBuf),
    #[error("cannot {1} control socket {path}: {2}", path = .0.display())]
    Io(PathBuf, &'static str, #[source] io::Error),
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_client_that_dribbles_is_cut_off_and_its_place_is_free_again() {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let listener = Bounded::new(tcp, Duration::from_millis(200));
        let places = listener.places.clone();
        let app = axum::Router::new().route("/", axum::routing::get(async || "hello"));
        tokio::spawn(axum::serve(listener, app).into_future());
        // Served in time: kept alive, and the clock starts anew.
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut buffer = [0; 4096];
        assert!(client.read(&mut buffer).await.unwrap() > 0);
        // From now on an octet at a time, which is progress for nobody.
        let dribble = async {
            loop {
                let _ = client.write_all(b"G").await;
                let read = tokio::time::timeout(Duration::from_millis(20), client.read(&mut buffer)).await;
                if let Ok(Ok(0) | Err(_)) = read {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), dribble).await.expect("cut off");
        let all = u32::try_from(CONNECTIONS_MAX).unwrap();
        // One place is held by the listener, which waits for the next client with it.
        let free = places.acquire_many(all - 1);
        drop(tokio::time::timeout(Duration::from_secs(10), free).await.expect("the place is free").unwrap());
    }
}
