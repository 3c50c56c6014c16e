//! The local socket: the command line asks the running collector for packets of a connected sensor.
//!
//! In: one question per connection. Out: the packets as they come, then how it ended. Only the collector's own user may
//! connect. A client that does not read holds one window of pieces and is let go after [`CLIENT_WAIT`]; the sensor
//! then hears that nobody wants the rest.

use super::Shared;
use super::sensors::Piece;
use crate::evidence::remote::{ASK_BYTES_MAX, Ask, Piece as Told, Reply, framed};
use prost::Message as _;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Most questions at once.
const CLIENTS_MAX: usize = 16;
/// Longest wait for a client that does not write its question or read its answer.
const CLIENT_WAIT: Duration = Duration::from_secs(30);
/// Pieces of an answer that may be under way: one MiB of packets.
const WINDOW: usize = 16;
/// Pause after a client could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds the socket; the state directory is this process's alone, so one that is there was left behind.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if std::fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket()) {
        std::fs::remove_file(path).map_err(named)?;
    }
    let listener = UnixListener::bind(path).map_err(named)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(named)?;
    Ok(listener)
}

/// Answers until the runtime ends.
pub(super) async fn serve(listener: UnixListener, shared: Arc<Shared>) {
    let clients = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&clients).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    // A client that goes away, or says what is no question, has what it wanted.
                    let _ = answer(stream, &shared).await;
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn answer(mut stream: UnixStream, shared: &Shared) -> io::Result<()> {
    let ask = tokio::time::timeout(CLIENT_WAIT, question(&mut stream)).await??;
    let request = ask.request.unwrap_or_default();
    let mut answer = match shared.sensors.ask(&ask.sensor, request, WINDOW) {
        Ok(answer) => answer,
        Err(why) => return tell(&mut stream, Told::Lost(why.to_string())).await,
    };
    loop {
        let mut one = [0];
        let piece = tokio::select! {
            piece = answer.next() => piece,
            // Nothing more is to be said by the client: what can be read is its end.
            _ = stream.read(&mut one) => return Ok(()),
        };
        match piece {
            Some(Piece::Packets(packets)) => tell(&mut stream, Told::Packets(packets)).await?,
            Some(Piece::End(end)) => return tell(&mut stream, Told::End(end)).await,
            None => {
                let lost = format!("the connection to sensor `{}` ended before the answer did", ask.sensor);
                return tell(&mut stream, Told::Lost(lost)).await;
            }
        }
    }
}

async fn question(stream: &mut UnixStream) -> io::Result<Ask> {
    let length = stream.read_u32().await? as usize;
    if length > ASK_BYTES_MAX {
        return Err(io::Error::other("longer than a question"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ask::decode(bytes.as_slice()).map_err(io::Error::other)
}

async fn tell(stream: &mut UnixStream, piece: Told) -> io::Result<()> {
    let bytes = framed(&Reply { piece: Some(piece) });
    tokio::time::timeout(CLIENT_WAIT, stream.write_all(&bytes)).await?
}
