//! A link to a collector that comes and goes.
//!
//! In: host, port, and how a socket is opened to one address. Out: an open socket, or why there is none.
//! Names are resolved and connections made in a thread of their own, at most one per link, because the
//! resolver can only be asked blocking and the export thread serves other destinations meanwhile.
//! After a failure the next attempt waits, twice as long each time up to [`RETRY_MAX`].

use crossbeam::channel::{Receiver, TryRecvError, bounded};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Wait before the second attempt.
const RETRY_MIN: Duration = Duration::from_millis(200);
/// Longest wait between attempts.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// A connection that is not made within this time has failed.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(5);

/// What an attempt to open or keep a link came to since it was last asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// It is open: a new session begins.
    Opened,
    /// It could not be opened, for this reason.
    Failed(String),
}

enum State<S> {
    Waiting { until: Option<Instant> },
    Opening(Receiver<io::Result<S>>),
    Open(S),
}

/// How a socket is opened to one address; called in a thread of its own, so it may wait.
type Open<S> = Arc<dyn Fn(SocketAddr) -> io::Result<S> + Send + Sync>;

pub(super) struct Link<S> {
    host: String,
    port: u16,
    open: Open<S>,
    state: State<S>,
    retry: Duration,
}

impl<S: Send + 'static> Link<S> {
    pub(super) fn new(
        host: &str,
        port: u16,
        open: impl Fn(SocketAddr) -> io::Result<S> + Send + Sync + 'static,
    ) -> Link<S> {
        let state = State::Waiting { until: None };
        Link { host: host.to_owned(), port, open: Arc::new(open), state, retry: RETRY_MIN }
    }

    pub(super) fn socket(&mut self) -> Option<&mut S> {
        match &mut self.state {
            State::Open(socket) => Some(socket),
            _ => None,
        }
    }

    /// Whether an attempt is under way or nothing was tried yet.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self.state, State::Opening(_) | State::Waiting { until: None })
    }

    /// Begins an attempt that is due and asks after one that is under way.
    pub(super) fn poll(&mut self, at: Instant) -> Change {
        match &self.state {
            State::Open(_) => Change::None,
            State::Waiting { until } if until.is_some_and(|until| at < until) => Change::None,
            State::Waiting { .. } => match self.begin() {
                Ok(attempt) => {
                    self.state = State::Opening(attempt);
                    Change::None
                }
                Err(error) => self.attempt_failed(&error, at),
            },
            State::Opening(attempt) => match attempt.try_recv() {
                Ok(Ok(socket)) => {
                    self.state = State::Open(socket);
                    self.retry = RETRY_MIN;
                    Change::Opened
                }
                Ok(Err(error)) => self.attempt_failed(&error, at),
                Err(TryRecvError::Empty) => Change::None,
                Err(TryRecvError::Disconnected) => self
                    .attempt_failed(&io::Error::other("the connecting thread ended without an answer"), at),
            },
        }
    }

    fn attempt_failed(&mut self, error: &io::Error, at: Instant) -> Change {
        self.state = State::Waiting { until: Some(at + self.retry) };
        self.retry = (self.retry * 2).min(RETRY_MAX);
        Change::Failed(error.to_string())
    }

    /// Gives the socket up; the next attempt is made after the shortest wait.
    pub(super) fn close(&mut self, at: Instant) {
        self.state = State::Waiting { until: Some(at + self.retry) };
    }

    fn begin(&self) -> io::Result<Receiver<io::Result<S>>> {
        let (answer, attempt) = bounded(1);
        let (host, port, open) = (self.host.clone(), self.port, Arc::clone(&self.open));
        std::thread::Builder::new().name("export-connect".into()).spawn(move || {
            // Nobody waits for the answer when the sensor stops meanwhile.
            let _ = answer.send(open_first(&host, port, &*open));
        })?;
        Ok(attempt)
    }
}

/// Opens the first address of a name that can be opened; the error is that of the last.
fn open_first<S>(host: &str, port: u16, open: &dyn Fn(SocketAddr) -> io::Result<S>) -> io::Result<S> {
    let mut outcome = Err(io::Error::new(io::ErrorKind::NotFound, format!("`{host}` has no address")));
    for address in (host, port).to_socket_addrs()? {
        outcome = open(address);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle<S: Send + 'static>(link: &mut Link<S>, at: Instant) -> Change {
        for _ in 0..500 {
            match link.poll(at) {
                Change::None => std::thread::sleep(Duration::from_millis(2)),
                change => return change,
            }
        }
        Change::None
    }

    #[test]
    fn attempts_are_repeated_after_a_wait_that_doubles() {
        let mut link: Link<()> = Link::new("127.0.0.1", 9, |_| Err(io::ErrorKind::ConnectionRefused.into()));
        let begin = Instant::now();
        assert!(link.is_opening());
        assert_eq!(settle(&mut link, begin), Change::Failed("connection refused".into()));
        assert!(!link.is_opening());
        link.poll(begin + RETRY_MIN - Duration::from_millis(1));
        assert!(!link.is_opening());
        link.poll(begin + RETRY_MIN);
        assert!(link.is_opening());
        settle(&mut link, begin);
        assert_eq!(link.retry, RETRY_MIN * 4);
    }

    #[test]
    fn a_link_opens_once_and_again_after_it_was_closed() {
        let mut link: Link<u8> = Link::new("127.0.0.1", 9, |_| Ok(1));
        let begin = Instant::now();
        assert_eq!(settle(&mut link, begin), Change::Opened);
        assert_eq!(link.socket(), Some(&mut 1));
        assert_eq!(link.poll(begin), Change::None);
        link.close(begin);
        assert_eq!(link.socket(), None);
        assert_eq!(settle(&mut link, begin + RETRY_MIN), Change::Opened);
    }
}
