//! Signals, and the local socket that `weir-sensor status` asks.
//!
//! In: SIGTERM and SIGINT; SIGHUP; connections to a Unix socket. Out: a flag that the workers look at between
//! batches; one that the main thread looks at, to read the configuration again; one JSON document per connection. Nothing is read from a connection, so there is nothing to
//! parse.

use serde_json::Value;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest wait for a client of the status socket that does not read.
const CLIENT_WAIT: Duration = Duration::from_secs(2);
/// Longest status document that a client takes, in bytes.
const STATUS_BYTES_MAX: u64 = 16 << 20;
/// How often the socket's thread looks whether it shall end.
const ACCEPT_WAIT: Duration = Duration::from_millis(100);

/// A flag that SIGTERM and SIGINT set. A second signal ends the process at once, without draining.
pub fn stop_on_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        // Registered before the flag: at the first signal the flag is not set yet.
        signal_hook::flag::register_conditional_shutdown(signal, 2, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// A flag that SIGHUP sets: read the configuration again. Who looks at it takes it back.
pub fn reload_on_hangup() -> io::Result<Arc<AtomicBool>> {
    let reload = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::clone(&reload))?;
    Ok(reload)
}

/// Answers status questions until dropped.
pub struct StatusServer {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A bound socket, before anything is known to answer with.
pub struct StatusSocket {
    path: PathBuf,
    listener: UnixListener,
}

impl StatusSocket {
    /// Binds the socket, replacing one that nobody listens on any longer. Its directory is made.
    pub fn bind(path: &Path) -> io::Result<StatusSocket> {
        if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory)?;
        }
        if UnixStream::connect(path).is_ok() {
            let text = format!("another sensor answers on {}", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        if std::fs::symlink_metadata(path)
            .is_ok_and(|m| std::os::unix::fs::FileTypeExt::is_socket(&m.file_type()))
        {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        Ok(StatusSocket { path: path.to_owned(), listener })
    }

    /// Starts answering with what `status` says at the time.
    pub fn serve(self, status: impl Fn() -> Value + Send + 'static) -> io::Result<StatusServer> {
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, listener) = (Arc::clone(&stop), self.listener);
        let thread = std::thread::Builder::new().name("control".into()).spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                match listener.accept() {
                    // A client that goes away has got what it wanted.
                    Ok((client, _)) => drop(answer(client, &status())),
                    Err(_) => std::thread::sleep(ACCEPT_WAIT),
                }
            }
        })?;
        Ok(StatusServer { path: self.path, stop, thread: Some(thread) })
    }
}

fn answer(mut client: UnixStream, status: &Value) -> io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_write_timeout(Some(CLIENT_WAIT))?;
    client.write_all(status.to_string().as_bytes())
}

impl Drop for StatusServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was reported when it happened.
            drop(thread.join());
        }
        drop(std::fs::remove_file(&self.path));
    }
}

/// Asks a running sensor.
pub fn ask(path: &Path) -> io::Result<Value> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(CLIENT_WAIT))?;
    let mut text = String::new();
    stream.take(STATUS_BYTES_MAX).read_to_string(&mut text)?;
    serde_json::from_str(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_and_the_socket_goes_with_the_server() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/sensor.sock");
        let server = StatusSocket::bind(&path).unwrap().serve(|| serde_json::json!({"frames": 5})).unwrap();
        assert_eq!(ask(&path).unwrap(), serde_json::json!({"frames": 5}));
        assert!(StatusSocket::bind(&path).is_err(), "a second sensor must not take the socket");
        drop(server);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_left_behind_is_replaced_and_a_file_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sensor.sock");
        drop(UnixListener::bind(&path).unwrap());
        drop(StatusSocket::bind(&path).unwrap());
        let file = directory.path().join("file");
        std::fs::write(&file, "kept").unwrap();
        assert!(StatusSocket::bind(&file).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
    }
}
