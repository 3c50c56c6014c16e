//! IPFIX over TLS 1.3 (RFC 7011 sections 10.4 and 11): what stands between the messages and the TCP connection.
//!
//! In: octets of messages; the sensor's identity or the PEM files of the configuration. Out: a [`Wire`] that reads and
//! writes like the connection itself, without waiting. The handshake is made where the connection is, in a thread
//! that may wait, in bounded time, and ends when the collector has shown that it takes the sensor's certificate, so
//! that a session that is refused never begins. Certificates are read anew for each connection: pairing and renewal
//! need no restart. Deliberately absent: TLS 1.2, resumption, and the authorities that the system trusts.

use super::ExportError;
use super::config::TlsConfig;
use crate::identity::{self, Identity, IdentityError};
use rustls::{AlertDescription, CertificateError, ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use weir_common::enrolment::COLLECTOR_SERVER_NAME;

/// A handshake that is not done within this time has failed.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long a collector that has made the handshake is waited for to refuse the certificate, or to show by a first
/// record of its own that it takes it; one that does neither is taken to take it.
const CONFIRMATION_MAX: Duration = Duration::from_secs(2);
/// Most octets that TLS is given at once, and so holds while the kernel takes none.
const WRITE_BYTES_MAX: usize = 32 << 10;
/// Longest wait for the kernel to take the last octets when the connection is given up.
const CLOSE_MAX: Duration = Duration::from_millis(500);

/// Whose certificates are shown and trusted.
enum Credentials {
    /// The identity in this directory.
    Paired(PathBuf),
    /// The PEM files of the configuration, and what they were at the start.
    Files { config: TlsConfig, at_start: Arc<ClientConfig> },
}

/// Makes TLS of connections to one collector.
pub(super) struct TlsClient {
    credentials: Credentials,
    name: ServerName<'static>,
    handshake_max: Duration,
}

impl TlsClient {
    /// For the collector at `host`. PEM files are read here, while the sensor still has root's rights.
    pub(super) fn new(host: &str, config: &TlsConfig, identity: &Path) -> Result<TlsClient, ExportError> {
        if config.ca.is_empty() {
            if !config.certificate.is_empty() || !config.key.is_empty() {
                return Err(ExportError::Tls("certificate and key are for a collector that export.tls.ca vouches for, and that is empty".into()));
            }
            // The identity may come later: the sensor is paired while it runs.
            let name = ServerName::try_from(COLLECTOR_SERVER_NAME)
                .map_err(|error| ExportError::Tls(error.to_string()))?;
            let credentials = Credentials::Paired(identity.to_owned());
            return Ok(TlsClient { credentials, name, handshake_max: HANDSHAKE_MAX });
        }
        let wrong = |error: &dyn std::fmt::Display| ExportError::Tls(error.to_string());
        let name = ServerName::try_from(host.to_owned()).map_err(|error| wrong(&error))?;
        let at_start = read_files(config)?;
        let credentials = Credentials::Files { config: config.clone(), at_start };
        Ok(TlsClient { credentials, name, handshake_max: HANDSHAKE_MAX })
    }

    #[cfg(test)]
    pub(super) fn give_up_after(&mut self, handshake_max: Duration) {
        self.handshake_max = handshake_max;
    }

    /// What is shown and trusted now.
    pub(super) fn config(&self) -> io::Result<Arc<ClientConfig>> {
        match &self.credentials {
            Credentials::Paired(directory) => Identity::load(directory)
                .and_then(|identity| identity.client_config())
                .map_err(io::Error::other),
            Credentials::Files { config, at_start } => {
                Ok(read_files(config).unwrap_or_else(|_| Arc::clone(at_start)))
            }
        }
    }

    /// Makes the handshake on a connection that was just opened.
    pub(super) fn handshake(&self, config: Arc<ClientConfig>, socket: TcpStream) -> io::Result<TlsStream> {
        let connection = ClientConnection::new(config, self.name.clone()).map_err(io::Error::other)?;
        let mut stream = TlsStream { socket, connection, sent: 0 };
        let begun = Instant::now();
        stream.socket.set_nonblocking(false)?;
        while stream.connection.is_handshaking() {
            stream.step(begun + self.handshake_max).map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!(
                        "the TLS handshake was not done within {} s; is it a collector for IPFIX over TLS?",
                        self.handshake_max.as_secs()
                    ),
                ),
                _ => error,
            })?;
        }
        // In TLS 1.3 the collector looks at the certificate after this side has finished. Refused, it says so; one of
        // Weir's, and most others, sends a ticket when it is content.
        match stream.step(Instant::now() + CONFIRMATION_MAX) {
            Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(error)
            }
            _ => {
                stream.socket.set_read_timeout(None)?;
                stream.socket.set_write_timeout(None)?;
                stream.socket.set_nonblocking(true)?;
                Ok(stream)
            }
        }
    }
}

fn read_files(config: &TlsConfig) -> Result<Arc<ClientConfig>, ExportError> {
    let own = match (config.certificate.as_str(), config.key.as_str()) {
        ("", "") => None,
        ("", _) | (_, "") => {
            return Err(ExportError::Tls(
                "certificate and key belong together, and one of both is empty".into(),
            ));
        }
        (certificate, key) => Some((Path::new(certificate), Path::new(key))),
    };
    identity::foreign(Path::new(&config.ca), own).map_err(|error| {
        ExportError::Tls(match &error {
            IdentityError::Tls(error) => in_words(error),
            other => other.to_string(),
        })
    })
}

/// A TLS session on a TCP connection.
pub(super) struct TlsStream {
    socket: TcpStream,
    connection: ClientConnection,
    /// Octets of TLS that the kernel has taken since the handshake.
    sent: u64,
}

impl TlsStream {
    /// Sends what is to be sent and takes what comes next, waiting until `until` at the longest.
    fn step(&mut self, until: Instant) -> io::Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.set_write_timeout(Some(left))?;
        self.socket.set_read_timeout(Some(left))?;
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.socket)?;
        }
        self.receive()
    }

    /// Takes what has come, and what it means.
    fn receive(&mut self) -> io::Result<()> {
        if self.connection.read_tls(&mut self.socket)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the collector closed the connection"));
        }
        self.connection.process_new_packets().map(|_| ()).map_err(|error| {
            // The collector is told why; that it does not hear of it changes nothing.
            let _ = self.connection.write_tls(&mut self.socket);
            io::Error::new(io::ErrorKind::InvalidData, in_words(&error))
        })
    }
}

impl Read for TlsStream {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self.connection.reader().read(room) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
        // Once per call: a collector that sends without end must not keep the export thread.
        self.receive()?;
        self.connection.reader().read(room)
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // What is still here goes first, so that never more than one turn's octets are here.
        self.flush()?;
        if self.holds() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.connection.writer().write(bytes.get(..WRITE_BYTES_MAX).unwrap_or(bytes))?;
        self.flush()?;
        Ok(count)
    }

    /// Hands to the kernel what it takes without waiting.
    fn flush(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl TlsStream {
    fn holds(&self) -> bool {
        self.connection.wants_write()
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        // A session's proper end (RFC 8446 section 6.1), as far as the kernel takes it soon; the connection is given up
        // either way.
        self.connection.send_close_notify();
        if self.flush().is_ok() && self.holds() && self.socket.set_nonblocking(false).is_ok() {
            let _ = self.socket.set_write_timeout(Some(CLOSE_MAX));
            let _ = self.connection.write_tls(&mut self.socket);
        }
    }
}

/// A connection to a collector, plain or within TLS.
pub(super) enum Wire {
    /// As it is.
    Plain(TcpStream),
    /// Within TLS.
    Tls(Box<TlsStream>),
}

impl Wire {
    /// Whether octets that were taken have not been handed to the kernel.
    pub(super) fn holds(&self) -> bool {
        matches!(self, Wire::Tls(tls) if tls.holds())
    }

    /// How many octets the kernel was given for `written` octets, which are all that were; `None` while TLS still holds
    /// some of them.
    pub(super) fn given_to_kernel(&self, written: u64) -> Option<u64> {
        match self {
            Wire::Plain(_) => Some(written),
            Wire::Tls(tls) if tls.holds() => None,
            Wire::Tls(tls) => Some(tls.sent),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(plain) => plain.read(room),
            Wire::Tls(tls) => tls.read(room),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(plain) => plain.write(bytes),
            Wire::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(plain) => plain.flush(),
            Wire::Tls(tls) => tls.flush(),
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Wire::Plain(plain) => plain.as_fd(),
            Wire::Tls(tls) => tls.socket.as_fd(),
        }
    }
}

/// How the verifier calls a certificate of another version than 3.
const VERSION: &str = "UnsupportedCertVersion";

/// What went wrong, and what to do about it.
fn in_words(error: &rustls::Error) -> String {
    use rustls::Error::{AlertReceived, InvalidCertificate};
    let again = "pair it again with a token from `weir-collector enroll NAME`";
    match error {
        InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the collector's certificate has expired: check the clocks of both machines".into()
        }
        InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            "the collector's certificate is not valid yet: check the clocks of both machines".into()
        }
        InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => format!(
            "the collector's certificate is not of the authority that this sensor trusts. If the collector was set up anew, {again}; another program may stand in its place; for a collector that is not Weir's, export.tls.ca names the authority"
        ),
        InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            format!("the collector's certificate is for another name: {error}")
        }
        InvalidCertificate(CertificateError::Other(other)) => match other.0.to_string().as_str() {
            VERSION => "the certificate is not X.509 version 3, which TLS 1.3 asks for; `openssl x509 -req` makes version 3 with -extfile".into(),
            other => format!("the certificate cannot be used: {other}"),
        },
        AlertReceived(AlertDescription::CertificateRevoked) => {
            format!("the collector says that this sensor's certificate was revoked; {again}")
        }
        AlertReceived(AlertDescription::CertificateExpired) => {
            format!("the collector says that this sensor's certificate is not valid now: check the clocks of both machines; if it has expired, {again}")
        }
        AlertReceived(AlertDescription::CertificateRequired) => {
            "the collector asks for a certificate, and none was shown: set export.tls.certificate and export.tls.key".into()
        }
        AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied,
        ) => format!("the collector does not take this sensor's certificate, and its log says why ({error}); {again}"),
        AlertReceived(AlertDescription::ProtocolVersion) => {
            "the collector does not speak TLS 1.3".into()
        }
        rustls::Error::InvalidMessage(_) => format!("this is no TLS: {error}; is it a collector for IPFIX over TLS?"),
        _ => format!("TLS: {error}"),
    }
}
