//! One IPFIX collector or file: its queue of messages, its sessions, its counts.
//!
//! In: records and statistics, as messages of [`super::ipfix`]. Out: bytes at the transport. Over TCP and TLS, live,
//! every message of records goes through a spool on disk ([`super::outgoing`]), and statistics, which are of the moment,
//! go out when there is a session. Elsewhere messages wait in memory while a collector is away, up to
//! `backlog_bytes_max`; beyond that the oldest are dropped and counted. Each session begins with templates and sequence number zero, and a message that the
//! previous one took only in part is sent whole. A loss is logged once, and so is the recovery.

use super::ExportError;
use super::config::{Acknowledge, ExportConfig, UDP_MESSAGE_BYTES_MIN};
use super::connect::Change;
use super::file::FileTransport;
use super::ipfix::{Assembler, Form, Message, Metering, Tally, Templates};
use super::outgoing::{Arrival, Outgoing};
use super::profile;
use super::selected::Selected;
use super::spool::{LossCause, Settings, Spool};
use super::target::Target;
use super::tcp::TcpTransport;
use super::tls::TlsClient;
use super::udp::UdpTransport;
use serde::{Serialize, Serializer};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};
use weir_common::delivery::Position;
use weir_common::ipfix::encode::stamp;
use weir_common::ipfix::options::{Lost, Place};
use weir_common::record::{FlowRecord, SignatureAlert};
use weir_common::time::Timestamp;

/// Most octets of a message to a file or over TCP.
const STREAM_MESSAGE_BYTES_MAX: usize = 32 << 10;
/// Most ranges of an epoch that a session is told of at its beginning that they will not come.
const VOIDS_MAX: usize = 256;
/// A UDP collector that refused is taken to be back when it has not refused for this long.
const UDP_QUIET: Duration = Duration::from_secs(5);
/// A UDP collector that refused gets the templates again at most this often.
const UDP_ANNOUNCE_AGAIN: Duration = Duration::from_secs(1);

/// Whether a destination takes what it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DestinationState {
    /// The first connection is being made.
    #[default]
    Connecting,
    /// Messages go out.
    Connected,
    /// Messages do not go out; it is tried again.
    Failing,
}

/// How a destination does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DestinationStatus {
    /// Its URL.
    pub url: String,
    /// Whether it takes what it is given.
    pub state: DestinationState,
    /// Since when, in RFC 3339.
    #[serde(serialize_with = "rfc3339")]
    pub since: Timestamp,
    /// Why it failed last.
    pub last_error: Option<String>,
    /// Sessions begun.
    pub sessions: u64,
    /// Messages sent.
    pub messages: u64,
    /// Flow records sent.
    pub records: u64,
    /// Octets sent.
    pub bytes: u64,
    /// Flow records not sent: dropped from the backlog, refused, or left over at the end.
    pub records_dropped: u64,
    /// Alerts sent.
    pub alerts: u64,
    /// Alerts not sent, likewise.
    pub alerts_dropped: u64,
    /// Flow records whose texts were shortened to fit into a message.
    pub records_shortened: u64,
    /// Octets of messages that wait in memory.
    pub backlog_bytes: u64,
    /// What waits on disk; nothing for a destination without a spool.
    pub spool: Option<SpoolStatus>,
}

/// How a destination's spool does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SpoolStatus {
    /// Its epoch, in hexadecimal digits.
    pub epoch: String,
    /// Records put into it in this epoch.
    pub numbered: u64,
    /// Records that have not arrived as far as is known.
    pub records: u64,
    /// Octets on disk, of records that have arrived too as long as their segment holds others.
    pub bytes: u64,
    /// Files.
    pub segments: u64,
    /// When the oldest segment that holds something not arrived was begun, in RFC 3339.
    #[serde(serialize_with = "rfc3339_option")]
    pub oldest: Option<Timestamp>,
    /// Whether records leave when the collector says that it has stored them, and not TCP that it has taken them.
    pub waits_for_acknowledgement: bool,
    /// Records that the collector acknowledged.
    pub acknowledged: u64,
    /// Acknowledgements refused: of more than was sent, of another epoch, or going back.
    pub acknowledgements_refused: u64,
    /// Octets written.
    pub written_bytes: u64,
    /// Records dropped at `export.spool_bytes_max`.
    pub records_dropped: u64,
    /// Records lost because a segment was cut or changed, as far as is known.
    pub records_damaged: u64,
    /// Octets skipped because they were no entry.
    pub damaged_bytes: u64,
    /// Octets cut off because a crash left them unfinished.
    pub torn_bytes: u64,
    /// Writes that failed.
    pub write_errors: u64,
    /// Whether messages are kept in memory because the spool cannot be written.
    pub failing: bool,
}

fn rfc3339_option<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

enum Transport {
    Tcp(TcpTransport),
    Udp(UdpTransport),
    File(FileTransport),
}

/// What a session has had so far.
#[derive(Default)]
struct Session {
    /// Data records sent: the next message's sequence number.
    sequence: u32,
    /// How many of the destination's templates were announced.
    announced: usize,
    /// When all of them were announced last, in the time of the records.
    announced_at: Timestamp,
}

/// What is under way at the transport.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    Control,
    Data,
}

/// The name of a destination's directory in `export.spool_directory`: its URL in letters that every file system takes.
fn directory_name(url: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_');
    let name: String =
        url.replace("://", "-").chars().map(|letter| if is_plain(letter) { letter } else { '-' }).collect();
    // Different URLs must not meet in one directory because of what was replaced.
    format!("{}-{:08x}", name.trim_matches('-'), crc32fast::hash(url.as_bytes()))
}

pub(super) struct Destination {
    transport: Transport,
    form: Form,
    templates: Templates,
    /// Flow records and alerts, and without a spool statistics, kept from session to session.
    data: Assembler,
    /// What becomes of finished messages where there is a spool.
    outgoing: Option<Outgoing>,
    acknowledged: u64,
    acknowledgements_refused: u64,
    /// Announcements of this session.
    control: Assembler,
    session: Session,
    /// Which queue's front is under way and how many of its octets are out.
    sending: Option<(Sending, usize)>,
    metering: Metering,
    not_sent: Lost,
    /// Most octets of a message, by configuration.
    message_bytes_max: usize,
    backlog_bytes_max: usize,
    template_refresh: Duration,
    /// Over UDP: what the last datagram carried, when one was refused last, when templates went again.
    last_tally: Tally,
    refused_at: Option<Instant>,
    announced_again_at: Option<Instant>,
    /// The highest export time written, so that it never goes back.
    export_time: Timestamp,
    status: DestinationStatus,
}

impl Destination {
    /// A destination of the configuration; a file is opened at once.
    pub(super) fn new(
        url: &str,
        config: &ExportConfig,
        identity: &Path,
        metering: Metering,
    ) -> Result<Destination, ExportError> {
        let (_, profile) = profile::split(url)?;
        let (transport, bytes_max) = match Target::parse(url)? {
            Target::Tcp { host, port } => {
                (Transport::Tcp(TcpTransport::new(&host, port)), STREAM_MESSAGE_BYTES_MAX)
            }
            Target::Tls { host, port } => {
                let tls = TlsClient::new(&host, &config.tls, identity)?;
                (Transport::Tcp(TcpTransport::secured(&host, port, tls)), STREAM_MESSAGE_BYTES_MAX)
            }
            Target::Udp { host, port } => {
                let udp = UdpTransport::new(&host, port, config.udp_bytes_per_second_max);
                (Transport::Udp(udp), usize::from(config.udp_message_bytes_max))
            }
            Target::File(path) => {
                let opened = FileTransport::open(&path);
                let file = opened
                    .map_err(|source| ExportError::Open { path: path.display().to_string(), source })?;
                (Transport::File(file), STREAM_MESSAGE_BYTES_MAX)
            }
        };
        let domain = config.observation_domain;
        Ok(Destination {
            transport,
            form: Form { domain, enterprise: config.enterprise_number, selected: Selected::new(profile) },
            templates: Templates::new(),
            data: Assembler::new(domain, bytes_max),
            outgoing: None,
            acknowledged: 0,
            acknowledgements_refused: 0,
            control: Assembler::new(domain, bytes_max),
            session: Session::default(),
            sending: None,
            metering,
            not_sent: Lost::default(),
            message_bytes_max: bytes_max,
            backlog_bytes_max: usize::try_from(config.backlog_bytes_max).unwrap_or(usize::MAX),
            template_refresh: Duration::from_secs(u64::from(config.udp_template_refresh_s.max(1))),
            last_tally: Tally::default(),
            refused_at: None,
            announced_again_at: None,
            export_time: Timestamp::MIN,
            status: DestinationStatus { url: url.to_owned(), ..DestinationStatus::default() },
        })
    }

    /// Puts a spool between the records and the transport, where the transport can say what has arrived. A spool that
    /// cannot be opened is said; the destination goes without.
    pub(super) fn spool(&mut self, config: &ExportConfig) {
        // Where in the spool a message's records stand is told in Weir's own elements.
        let has_places = self.form.selected.as_ref().is_none_or(Selected::has_places);
        if config.spool_bytes_max == 0 || !has_places || !matches!(self.transport, Transport::Tcp(_)) {
            return;
        }
        let directory = Path::new(&config.spool_directory).join(directory_name(&self.status.url));
        let form = self.form.number();
        match Spool::open(&directory, Settings { bytes_max: config.spool_bytes_max, form }) {
            Ok(spool) => {
                let arrival = match config.acknowledge {
                    Acknowledge::Auto if config.is_paired(&self.status.url) => Arrival::Acknowledged,
                    Acknowledge::Auto => Arrival::Learned,
                    Acknowledge::Always => Arrival::Acknowledged,
                    Acknowledge::Never => Arrival::Tcp,
                };
                self.data = Assembler::with_places(self.form.domain, STREAM_MESSAGE_BYTES_MAX);
                self.outgoing = Some(Outgoing::new(spool, arrival, form, self.backlog_bytes_max));
            }
            Err(error) => tracing::error!(
                "{}: {error}; records for {} wait in memory only, and a restart loses them",
                directory.display(),
                self.status.url
            ),
        }
    }

    pub(super) fn status(&self) -> DestinationStatus {
        let memory = self.outgoing.as_ref().map_or(self.data.finished_bytes(), Outgoing::memory_bytes);
        let spool = self.outgoing.as_ref().map(|outgoing| self.spool_status(outgoing));
        let spool = spool.or_else(|| self.status.spool.clone());
        DestinationStatus { backlog_bytes: memory as u64, spool, ..self.status.clone() }
    }

    fn spool_status(&self, outgoing: &Outgoing) -> SpoolStatus {
        let spool = outgoing.spool();
        let counters = spool.counters();
        SpoolStatus {
            epoch: format!("{:016x}", spool.next().epoch),
            numbered: spool.next().sequence,
            records: spool.records(),
            bytes: spool.bytes(),
            segments: spool.segments() as u64,
            oldest: spool.oldest(),
            waits_for_acknowledgement: outgoing.waits_for_acknowledgement(),
            acknowledged: self.acknowledged,
            acknowledgements_refused: self.acknowledgements_refused,
            written_bytes: counters.written_bytes,
            records_dropped: counters.dropped_records,
            records_damaged: counters.damaged_records,
            damaged_bytes: counters.damaged_bytes,
            torn_bytes: counters.torn_bytes,
            write_errors: counters.write_errors,
            failing: spool.is_failing(),
        }
    }

    /// The collector says that everything below a position is stored. False when no spool of this destination has the
    /// epoch.
    pub(super) fn acknowledge(&mut self, position: Position, is_meant: bool) -> bool {
        let Some(outgoing) = &mut self.outgoing else { return false };
        if !is_meant && outgoing.spool().all_done().all(|(epoch, _)| epoch != position.epoch) {
            return false;
        }
        match outgoing.acknowledged(position) {
            Ok(new) => self.acknowledged += new,
            Err(why) => {
                if self.acknowledgements_refused == 0 {
                    tracing::warn!(
                        "{}: an acknowledgement is refused: {why}; further ones are only counted",
                        self.status.url
                    );
                }
                self.acknowledgements_refused += 1;
            }
        }
        true
    }

    /// Hands finished messages to the spool, and what it lost to the counters and the session.
    fn stage(&mut self, at: Instant, now: Timestamp) {
        let Some(outgoing) = &mut self.outgoing else { return };
        let mut dropped = Vec::new();
        while let Some(message) = self.data.remove(0) {
            dropped.extend(outgoing.take(message, &self.form, at, now));
        }
        outgoing.tick(at);
        let losses = outgoing.take_losses();
        for message in dropped {
            self.count_lost(message.tally, now);
        }
        let has_session = self.is_open();
        for loss in losses {
            if loss.cause == LossCause::Budget && self.status.records_dropped == 0 {
                let url = &self.status.url;
                tracing::error!("{url}: the spool is full; its oldest records are dropped and counted");
            }
            self.count_lost(loss.tally, now);
            if has_session {
                self.form.void(&loss.place, &mut self.control);
            }
        }
    }

    /// Adds a flow record to the message that is being filled.
    #[inline]
    pub(super) fn flow(&mut self, record: &FlowRecord, now: Timestamp) {
        match self.form.flow(record, &mut self.templates, &mut self.data) {
            Some(0) => {}
            Some(_) => self.status.records_shortened += 1,
            None => {
                self.status.records_dropped += 1;
                self.not_sent.add(1, record.forward.packets, record.forward.octets, now);
            }
        }
    }

    /// Adds an alert to the message that is being filled.
    pub(super) fn alert(&mut self, alert: &SignatureAlert) {
        if !self.form.alert(alert, &self.templates, &mut self.data) {
            self.status.alerts_dropped += 1;
        }
    }

    /// Adds statistics to the message that is being filled.
    pub(super) fn statistics(&mut self, metering: &Metering) {
        self.metering = metering.clone();
        let sent = (self.status.messages, self.status.records, self.status.bytes);
        if self.outgoing.is_none() {
            self.form.statistics(metering, sent, &self.not_sent, self.templates.len(), &mut self.data);
        } else if self.is_open() {
            self.form.statistics(metering, sent, &self.not_sent, 0, &mut self.control);
            self.control.finish();
        }
    }

    /// Ends the message that is being filled, so that the next [`Destination::pump`] sends it.
    pub(super) fn flush(&mut self) {
        self.data.finish();
    }

    /// Whether everything was sent.
    pub(super) fn is_drained(&self) -> bool {
        let is_sent = self.outgoing.as_ref().is_none_or(Outgoing::is_drained);
        let holds = matches!(&self.transport, Transport::Tcp(tcp) if tcp.holds());
        self.data.len() == 0 && self.control.len() == 0 && is_sent && !holds
    }

    /// Whether what is left is safe on disk: the end need not wait for it for long.
    pub(super) fn is_spooled(&self) -> bool {
        self.outgoing.as_ref().is_some_and(|outgoing| !outgoing.spool().is_failing())
    }

    /// Whether something waits for a transport that is open: it may take more in a moment.
    pub(super) fn is_pressed(&mut self) -> bool {
        let waits =
            self.outgoing.as_ref().is_some_and(|outgoing| outgoing.is_waiting() || !outgoing.is_drained());
        (waits || self.data.len() > 0 || self.control.len() > 0) && self.is_open()
    }

    /// Whether the backlog is so full that a replay waits rather than lose records.
    pub(super) fn wants_patience(&self) -> bool {
        self.data.finished_bytes() > self.backlog_bytes_max / 2
    }

    /// Sends what can be sent without waiting; true when something was.
    pub(super) fn pump(&mut self, at: Instant, now: Timestamp) -> bool {
        self.export_time = self.export_time.max(now);
        let change = match &mut self.transport {
            Transport::Tcp(tcp) => tcp.poll(at),
            Transport::Udp(udp) => udp.poll(at),
            Transport::File(file) => file.poll(at),
        };
        match change {
            Change::None => {}
            Change::Opened => self.opened(now),
            Change::Failed(why) => self.failed(&why, at, now),
        }
        self.fit_path(at);
        let mut progress = self.look_after_arrivals(at, now);
        self.stage(at, now);
        while self.is_open() && self.send_one(at, now, &mut progress) {}
        if matches!(self.transport, Transport::Udp(_)) {
            self.udp_recovered(at, now);
        }
        progress
    }

    /// Keeps new messages within the path's MTU; one that is longer already goes out in fragments.
    fn fit_path(&mut self, at: Instant) {
        if let Transport::Udp(udp) = &mut self.transport
            && let Some(bytes_max) = udp.path_message_bytes(at)
        {
            let bytes_max = bytes_max.max(UDP_MESSAGE_BYTES_MIN.into()).min(self.message_bytes_max);
            self.data.set_bytes_max(bytes_max);
            self.control.set_bytes_max(bytes_max);
        }
    }

    /// Whether this is a collector and can be reached, as far as is known; `None` for a file.
    pub(super) fn is_reachable(&self) -> Option<bool> {
        match self.transport {
            Transport::File(_) => None,
            _ => Some(self.status.state != DestinationState::Failing),
        }
    }

    /// Asks what has arrived and how much the connection takes; true when something has.
    fn look_after_arrivals(&mut self, at: Instant, now: Timestamp) -> bool {
        let (Some(outgoing), Transport::Tcp(tcp)) = (&mut self.outgoing, &mut self.transport) else {
            return false;
        };
        if !tcp.is_open() {
            return false;
        }
        let was_drained = outgoing.is_drained();
        outgoing.tcp_acknowledged(tcp.acknowledged());
        outgoing.turn_begins(tcp.unsent());
        let has_arrived = !was_drained && outgoing.is_drained();
        if outgoing.wants_new_session() {
            tracing::info!(
                "{}: what another version of the sensor wrote is sent; a new session goes on",
                self.status.url
            );
            tcp.close(at);
            outgoing.session_ends();
            self.control.clear();
            self.sending = None;
            self.status.since = now;
        }
        has_arrived
    }

    fn is_open(&mut self) -> bool {
        match &mut self.transport {
            Transport::Tcp(tcp) => tcp.is_open(),
            Transport::Udp(udp) => udp.is_open(),
            Transport::File(file) => file.is_open(),
        }
    }

    /// Whether the outcome of a connection attempt is still to come.
    pub(super) fn is_opening(&self) -> bool {
        match &self.transport {
            Transport::Tcp(tcp) => tcp.is_opening(),
            Transport::Udp(udp) => udp.is_opening(),
            Transport::File(_) => false,
        }
    }

    /// A session begins.
    fn opened(&mut self, now: Timestamp) {
        self.status.sessions += 1;
        self.session = Session { announced_at: now, ..Session::default() };
        self.sending = None;
        self.control.clear();
        self.form.opening(&self.metering, &mut self.control);
        self.control.finish();
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.session_begins();
            // A collector that never had these numbers must not wait for them.
            for (epoch, done) in outgoing.spool().all_done() {
                for range in done.iter().take(VOIDS_MAX) {
                    let first = Position { epoch, sequence: range.start };
                    self.form.void(&Place { first, count: range.end - range.start }, &mut self.control);
                }
            }
        }
        self.connected(now);
    }

    fn connected(&mut self, now: Timestamp) {
        match self.status.state {
            DestinationState::Connected => return,
            DestinationState::Failing => {
                let DestinationStatus { url, records_dropped, alerts_dropped, .. } = &self.status;
                tracing::info!(
                    "{url} is reached again; {records_dropped} flow records and {alerts_dropped} alerts were lost so far"
                );
            }
            DestinationState::Connecting => tracing::debug!("{} is reached", self.status.url),
        }
        (self.status.state, self.status.since) = (DestinationState::Connected, now);
    }

    /// The transport failed: said once, tried again later.
    fn failed(&mut self, why: &str, at: Instant, now: Timestamp) {
        if self.status.state != DestinationState::Failing {
            let url = &self.status.url;
            let place = if self.outgoing.is_some() { "on disk" } else { "in memory" };
            tracing::error!(
                "{url}: {why}; records wait {place} and the oldest are dropped at the limit, until it works again"
            );
            (self.status.state, self.status.since) = (DestinationState::Failing, now);
        }
        self.status.last_error = Some(why.to_owned());
        match &mut self.transport {
            Transport::Tcp(tcp) => {
                if let Some(outgoing) = self.outgoing.as_mut().filter(|_| tcp.ended_in_order()) {
                    outgoing.tcp_acknowledged(tcp.acknowledged());
                }
                if tcp.is_open() {
                    tcp.close(at);
                }
                // The session is over and with it what was announced in it.
                self.control.clear();
                self.sending = None;
                if let Some(outgoing) = &mut self.outgoing {
                    outgoing.session_ends();
                }
            }
            Transport::Udp(_) => {}
            Transport::File(file) => {
                if file.close(at) {
                    self.sending = None;
                }
            }
        }
    }

    /// Sends (more of) one message; false when there is none or the transport would have to be waited for.
    fn send_one(&mut self, at: Instant, now: Timestamp, progress: &mut bool) -> bool {
        let Some((queue, from)) = self.sending.or_else(|| self.begin_message(now)) else { return false };
        let Some(message) = self.front_of(queue) else {
            self.sending = None;
            return false;
        };
        // What is written is borrowed from its queue while the transport takes it.
        let message = Message { bytes: std::mem::take(&mut message.bytes), ..*message };
        let length = message.bytes.len();
        let rest = message.bytes.get(from..).unwrap_or_default();
        let written = match &mut self.transport {
            Transport::Tcp(tcp) => tcp.write(rest),
            Transport::Udp(udp) => udp.write(rest),
            Transport::File(file) => file.write(rest),
        };
        if let Some(place) = self.front_of(queue) {
            place.bytes = message.bytes;
        }
        match written {
            Ok(0) => {
                self.failed("it takes no more octets", at, now);
                false
            }
            Ok(count) => {
                *progress = true;
                self.sending = Some((queue, from + count));
                if from + count >= length {
                    self.sent(queue, now);
                }
                true
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) if matches!(self.transport, Transport::Udp(_)) => self.refused(&error, at, now),
            Err(error) => {
                self.failed(&error.to_string(), at, now);
                false
            }
        }
    }

    /// Chooses the next message, announcing first what it needs, and writes its header.
    fn begin_message(&mut self, now: Timestamp) -> Option<(Sending, usize)> {
        let is_udp = matches!(self.transport, Transport::Udp(_));
        if is_udp && now.since(self.session.announced_at) >= self.template_refresh {
            self.announce_all(now);
        }
        let needed = self.front_of(Sending::Data).map_or(0, |message| message.templates);
        if self.session.announced < needed {
            self.form.announce(&self.templates, self.session.announced, &mut self.control);
            self.control.finish();
            self.session.announced = self.templates.len();
        }
        let queue = if self.control.len() > 0 { Sending::Control } else { Sending::Data };
        let export_time_s = u32::try_from(self.export_time.seconds()).unwrap_or(u32::MAX);
        let sequence = self.session.sequence;
        let message = self.front_of(queue)?;
        stamp(&mut message.bytes, export_time_s, sequence);
        self.sending = Some((queue, 0));
        self.sending
    }

    /// The message of a queue that is sent next or being sent.
    fn front_of(&mut self, queue: Sending) -> Option<&mut Message> {
        match (queue, &mut self.outgoing) {
            (Sending::Control, _) => self.control.front(),
            (Sending::Data, Some(outgoing)) => outgoing.front(&mut self.templates),
            (Sending::Data, None) => self.data.front(),
        }
    }

    /// Takes a message out of its queue that was sent.
    fn remove_sent(&mut self, queue: Sending) -> Option<Message> {
        match (queue, &mut self.outgoing, &self.transport) {
            (Sending::Control, ..) => self.control.remove(0),
            (Sending::Data, Some(outgoing), Transport::Tcp(tcp)) => outgoing.sent(tcp.written()),
            (Sending::Data, ..) => self.data.remove(0),
        }
    }

    /// Everything that a UDP collector that began anew would lack.
    fn announce_all(&mut self, now: Timestamp) {
        self.session.announced_at = now;
        self.form.opening(&self.metering, &mut self.control);
        self.form.announce(&self.templates, 0, &mut self.control);
        self.control.finish();
        self.session.announced = self.templates.len();
    }

    /// A message is out.
    fn sent(&mut self, queue: Sending, now: Timestamp) {
        self.sending = None;
        let Some(message) = self.remove_sent(queue) else { return };
        self.status.messages += 1;
        self.status.records += message.tally.flows;
        self.status.alerts += message.tally.alerts;
        self.status.bytes += message.bytes.len() as u64;
        self.session.sequence = self.session.sequence.wrapping_add(message.tally.records);
        self.last_tally = message.tally;
        let source = if queue == Sending::Control { &mut self.control } else { &mut self.data };
        source.recycle(message);
        if let Transport::File(file) = &mut self.transport {
            file.message_ended();
            // A file has no connection to come back: that a message was written is the recovery.
            self.connected(now);
        }
    }

    /// A datagram met an error, which tells that the one before it did not arrive.
    fn refused(&mut self, error: &io::Error, at: Instant, now: Timestamp) -> bool {
        self.failed(&error.to_string(), at, now);
        let lost = std::mem::take(&mut self.last_tally);
        self.count_lost(lost, now);
        self.status.records = self.status.records.saturating_sub(lost.flows);
        self.status.alerts = self.status.alerts.saturating_sub(lost.alerts);
        self.refused_at = Some(at);
        if error.kind() == io::ErrorKind::ConnectionRefused {
            // The error is used up; the message itself was not tried yet. Templates may be lost too.
            if self.announced_again_at.is_none_or(|last| at.duration_since(last) >= UDP_ANNOUNCE_AGAIN) {
                self.announced_again_at = Some(at);
                self.control.clear();
                self.sending = None;
                self.announce_all(now);
            }
            return true;
        }
        // Anything else (no route, no buffers, too long for the path) concerns this very datagram.
        let Some((queue, _)) = self.sending.take() else { return false };
        let source = if queue == Sending::Control { &mut self.control } else { &mut self.data };
        if let Some(message) = source.remove(0) {
            self.count_lost(message.tally, now);
        }
        true
    }

    fn udp_recovered(&mut self, at: Instant, now: Timestamp) {
        if self.refused_at.is_some_and(|refused_at| at.duration_since(refused_at) >= UDP_QUIET) {
            self.refused_at = None;
            self.connected(now);
        }
    }

    /// Drops the oldest messages beyond the limit, but not the one that is half out.
    pub(super) fn limit_backlog(&mut self, now: Timestamp) {
        while self.data.finished_bytes() > self.backlog_bytes_max {
            let under_way = matches!(self.sending, Some((Sending::Data, 1..)));
            if matches!(self.sending, Some((Sending::Data, 0))) {
                self.sending = None;
            }
            let Some(message) = self.data.remove(usize::from(under_way)) else { return };
            self.drop_message(message, now);
        }
    }

    /// The end: what still waits in memory is lost, and counted; what is in the spool stays there.
    pub(super) fn give_up(&mut self, now: Timestamp) {
        self.data.finish();
        self.stage(Instant::now(), now);
        if let Some(outgoing) = self.outgoing.take() {
            self.status.spool = Some(self.spool_status(&outgoing));
            let (lost, closed) = outgoing.close();
            if let Err(error) = closed {
                tracing::error!(
                    "{}: the spool cannot be closed: {error}; it is as after a crash",
                    self.status.url
                );
            }
            for message in lost {
                self.count_lost(message.tally, now);
            }
        }
        while let Some(message) = self.data.remove(0) {
            self.drop_message(message, now);
        }
    }

    fn drop_message(&mut self, message: Message, now: Timestamp) {
        self.count_lost(message.tally, now);
        self.data.recycle(message);
    }

    fn count_lost(&mut self, tally: Tally, now: Timestamp) {
        self.status.alerts_dropped += tally.alerts;
        if tally.flows > 0 {
            self.status.records_dropped += tally.flows;
            self.not_sent.add(tally.flows, tally.packets, tally.octets, now);
        }
    }
}
