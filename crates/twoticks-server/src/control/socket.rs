//! The socket in the data folder: how the command line reaches a running server.
//!
//! A line of JSON in, a line of JSON out, any number of times: a [`Command`], then `{"done": …}`
//! or `{"refused": "…"}`; before it, while it takes long, `{"at": …}` with how far it is. What always holds: the socket is for its owner only (mode 600) before
//! anybody can find it, one that a dead server left behind is replaced, and a line has a limit.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Command, ControlError, execute_telling};
use crate::app::App;

/// The name of the socket in the data folder.
pub const NAME: &str = "control.sock";
/// Its name until it is for its owner only.
const NEW_NAME: &str = "control.new";
/// The longest path of a socket, in bytes: what `sockaddr_un` holds.
pub const PATH_BYTES_MAX: usize = 107;
/// The longest line, in bytes: an import's lines, escaped once more, with room to spare.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why the socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The path does not fit into a socket's address.
    #[error(
        "the path of the control socket `{path}` has {bytes} bytes, at most {PATH_BYTES_MAX} will \
         do; use a data folder with a shorter path, or a relative one"
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// How long it is.
        bytes: usize,
    },
    /// The operating system refused.
    #[error("cannot {doing} the control socket `{path}`")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The socket.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// What came is not an answer.
    #[error("the server's answer cannot be understood; is it of the same version?")]
    Answer(#[source] serde_json::Error),
    /// The server stopped before it answered.
    #[error("the server stopped before it answered; look at its log, then try again")]
    Closed,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done(Value),
    Refused(String),
    /// Not the answer yet.
    At(u64),
}

/// How often a command that takes long says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

fn socket_path(folder: &Path, name: &str) -> Result<PathBuf, SocketError> {
    let path = folder.join(name);
    let bytes = path.as_os_str().len();
    if bytes > PATH_BYTES_MAX { Err(SocketError::PathTooLong { path, bytes }) } else { Ok(path) }
}

/// The socket of a running server; its file goes away with it.
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            warn!(
                control.path = %self.path.display(), error = %error,
                "the control socket could not be removed; the next start replaces it"
            );
        }
    }
}

/// Makes the socket in `folder`. The caller holds the folder's lock, so one that is there was left
/// behind and is replaced.
///
/// # Errors
/// [`SocketError::PathTooLong`], [`SocketError::Io`].
pub fn bind(folder: &Path) -> Result<Socket, SocketError> {
    let path = socket_path(folder, NAME)?;
    let new = socket_path(folder, NEW_NAME)?;
    let io = |doing, source| SocketError::Io { doing, path: path.clone(), source };
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(io("replace", error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&new).map_err(|error| io("make", error))?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))
        .and_then(|()| std::fs::rename(&new, &path))
        .map_err(|error| io("make", error))?;
    Ok(Socket { listener, path })
}

/// Answers commands until the server stops.
pub fn serve(socket: Socket, app: &Arc<App>) {
    let app = Arc::clone(app);
    let tasks = app.tasks.clone();
    tasks.spawn(|stop| async move {
        loop {
            let accepted = tokio::select! {
                accepted = socket.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(error = %error, "a connection to the control socket was not accepted");
                    // Out of file descriptors, most likely: give others time to close some.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (app, tasks) = (Arc::clone(&app), app.tasks.clone());
            tasks.spawn(|stop| async move {
                if let Err(error) = converse(&app, stream, &stop).await {
                    info!(error = %error, "a connection to the control socket ended early");
                }
            });
        }
    });
}

async fn converse(app: &App, stream: UnixStream, stop: &CancellationToken) -> std::io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading);
    loop {
        // A command that has begun runs to its end; between commands the server may stop.
        let line = tokio::select! {
            line = read_line(&mut reading) => line?,
            () = stop.cancelled() => None,
        };
        let Some(line) = line else { return Ok(()) };
        let answer = match serde_json::from_slice::<Command>(&line) {
            Ok(command) => match done(app, command, (&mut reading, &mut writing)).await? {
                Ok(value) => Answer::Done(value),
                Err(error) => Answer::Refused(with_causes(&error)),
            },
            Err(error) => Answer::Refused(format!(
                "the server does not understand the command ({error}); is it of the same version?"
            )),
        };
        write_line(&mut writing, &answer).await?;
    }
}

/// Does the command and says how far it is. An export is dropped when nobody waits for it any
/// more; everything else goes on to its end, unless the server stops.
async fn done(
    app: &App,
    command: Command,
    (reading, writing): (&mut BufReader<OwnedReadHalf>, &mut OwnedWriteHalf),
) -> std::io::Result<Result<Value, ControlError>> {
    let progress = Arc::new(AtomicU64::new(0));
    let mut told = 0;
    let mut may_be_dropped = matches!(command, Command::Export(_));
    let mut work = Box::pin(execute_telling(app, command, &progress));
    let mut ticks = tokio::time::interval(PROGRESS_EVERY);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            _ = ticks.tick() => {
                let at = progress.load(Ordering::Relaxed);
                if at != told {
                    write_line(writing, &Answer::At(at)).await?;
                    told = at;
                }
            }
            next = reading.fill_buf(), if may_be_dropped => {
                if next?.is_empty() {
                    return Ok(Err(ControlError::Stopped));
                }
                // Whoever asks for the next thing already is still there.
                may_be_dropped = false;
            }
        }
    }
}

async fn write_line(writing: &mut OwnedWriteHalf, answer: &Answer) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    writing.write_all(&line).await
}

/// The next line without its end; `None` at the end of the stream.
async fn read_line<R: tokio::io::AsyncBufRead + Unpin>(
    from: &mut R,
) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let limit = u64::try_from(MESSAGE_BYTES_MAX).unwrap_or(u64::MAX);
    from.take(limit).read_until(b'\n', &mut line).await?;
    match line.pop() {
        Some(b'\n') => Ok(Some(line)),
        None => Ok(None),
        Some(_) => {
            let why = format!("a line ends early, or has more than {MESSAGE_BYTES_MAX} bytes");
            Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why))
        }
    }
}

/// An error and what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A connection to the server that runs on a folder.
pub struct Remote {
    reading: BufReader<OwnedReadHalf>,
    writing: OwnedWriteHalf,
    path: PathBuf,
}

impl Remote {
    /// Connects to the server that runs on `folder`; `None` if none does.
    ///
    /// # Errors
    /// [`SocketError::Io`] if there is one that may not be talked to.
    pub async fn connect(folder: &Path) -> Result<Option<Self>, SocketError> {
        // With a path that is too long no server can run here.
        let Ok(path) = socket_path(folder, NAME) else { return Ok(None) };
        match UnixStream::connect(&path).await {
            Ok(stream) => {
                let (reading, writing) = stream.into_split();
                Ok(Some(Self { reading: BufReader::new(reading), writing, path }))
            }
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(None)
            }
            Err(source) => Err(SocketError::Io { doing: "connect to", path, source }),
        }
    }

    /// Has the server do `command`; `progress` is told how far it is.
    ///
    /// # Errors
    /// [`ControlError::Told`] with the server's words, [`ControlError::Socket`].
    pub async fn ask(
        &mut self,
        command: &Command,
        progress: &AtomicU64,
    ) -> Result<Value, ControlError> {
        let io = |doing, source| SocketError::Io { doing, path: self.path.clone(), source };
        let mut line = serde_json::to_vec(command).map_err(SocketError::Answer)?;
        line.push(b'\n');
        self.writing.write_all(&line).await.map_err(|error| io("write to", error))?;
        loop {
            let line = read_line(&mut self.reading)
                .await
                .map_err(|error| io("read from", error))?
                .ok_or(SocketError::Closed)?;
            match serde_json::from_slice(&line).map_err(SocketError::Answer)? {
                Answer::Done(value) => return Ok(value),
                Answer::Refused(text) => return Err(ControlError::Told(text)),
                Answer::At(at) => progress.store(at, Ordering::Relaxed),
            }
        }
    }
}
