//! Every message both ways over loopback, with a collector that is written by hand: honest, silent, deaf, lying, absurd.

use super::config::ControlConfig;
use super::paired::{Bytes, Dialing};
use super::*;
use crate::capture::{Frame, LinkType};
use crate::counters::RingCounters;
use crate::query::flow::{Alone, FrameFlow, InOrder};
use crate::ring::config::RingConfig;
use crate::ring::{Ring as Packets, RingMode};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::server::{Grpc, StreamingService};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;
use weir_common::control::messages::{
    self, EvidenceCancel, EvidenceEnd, EvidenceMore, EvidenceOutcome, EvidencePin, EvidenceRequest,
    FromCollector, FromCollectorMessage as Say, FromSensorMessage as Heard, Hello, Renewed, RulesFile,
    RulesManifest, RulesOffer, RulesPart, Welcome,
};
use weir_common::control::{capability, signed_manifest};

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);
const NOW: Timestamp = Timestamp(1_790_000_000_000_000_000);

/// The collector's side of one session.
struct Session {
    say: mpsc::Sender<Result<FromCollector, Status>>,
    heard: Streaming<FromSensor>,
}

/// A sensor, and a collector that the test plays.
struct Place {
    work: tempfile::TempDir,
    remote: Option<Remote>,
    shown: Shown,
    sessions: mpsc::Receiver<Session>,
    acknowledged: Receiver<Acknowledged>,
    renewal: Arc<AtomicBool>,
    runtime: Runtime,
}

/// What [`Place`] is made with.
#[derive(Default)]
struct With {
    acknowledgements_held: usize,
    ring: bool,
    expired: Option<Timestamp>,
    config: ControlConfig,
}

struct Known {
    address: SocketAddr,
    renewal: Arc<AtomicBool>,
    expired: Option<Timestamp>,
}

fn signature(bytes: &[u8]) -> Vec<u8> {
    [b"signed ", bytes].concat()
}

impl Paired for Known {
    fn place(&self) -> String {
        "collector:4741".into()
    }

    fn dial(&self) -> Dialing {
        let address = self.address;
        Box::pin(async move {
            let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
            Ok(Box::new(stream) as Box<dyn Bytes>)
        })
    }

    fn verify(&self, bytes: &[u8], signed: &[u8]) -> Result<(), String> {
        if signature(bytes) == signed { Ok(()) } else { Err("not signed".into()) }
    }

    fn expired(&self, _: Timestamp) -> Option<Timestamp> {
        self.expired
    }

    fn renewal(&self, _: Timestamp) -> Option<String> {
        self.renewal.load(Ordering::Relaxed).then(|| "csr".into())
    }

    fn renewed(&self, chain_pem: &str, _: &str) -> Result<(), String> {
        self.renewal.store(false, Ordering::Relaxed);
        if chain_pem == "good" { Ok(()) } else { Err("of another key".into()) }
    }
}

/// Every frame is of one flow.
struct Flows;

impl FlowOf for Flows {
    fn alone(&self) -> Alone<'_> {
        Box::new(|_| FrameFlow::None)
    }

    fn in_order(&self) -> InOrder<'_> {
        Box::new(|_| None)
    }

    fn fragment_timeout(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// A ring with `frames` frames of a kibibyte.
fn fill(directory: &std::path::Path, frames: u64) {
    let config =
        RingConfig { directory: directory.display().to_string(), custody: false, ..RingConfig::default() };
    let mut ring = Packets::open(&config, 1, RingMode::Replay, NOW).unwrap();
    let mut lane = ring.lane(0).unwrap();
    for n in 0..frames {
        let mut data = vec![0u8; 1024];
        data[12..14].copy_from_slice(&[0x08, 0x00]);
        data[14] = 0x45;
        // What cannot be compressed away, so that the ring is as large as it looks.
        for (at, byte) in data[34..].iter_mut().enumerate() {
            *byte = (n.wrapping_mul(0x9e37_79b9).wrapping_add(at as u64 * 31) >> 3) as u8;
        }
        let time = Timestamp(NOW.0 + n * 1000);
        let frame = Frame { time, link: LinkType::ETHERNET, interface: 0, wire_len: 1024, data: &data };
        lane.append(&frame, None, None, &mut RingCounters::default());
    }
    drop(lane);
    ring.close();
}

impl Place {
    fn new() -> Place {
        Place::with(With::default())
    }

    fn with(with: With) -> Place {
        let work = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (begun, sessions) = mpsc::channel(8);
        let address = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(serve(listener, begun));
            address
        });
        let (give, acknowledged) = bounded(with.acknowledgements_held.max(1));
        let renewal = Arc::<AtomicBool>::default();
        let shown = Shown::default();
        let ring = with.ring.then(|| {
            let directory = work.path().join("ring");
            fill(&directory, 600);
            Ring {
                query: Query { directory, ..Query::default() },
                pin_budget_bytes: 1 << 30,
                flows: Box::new(Flows),
                now: || NOW,
            }
        });
        let seams = Seams {
            paired: Box::new(Known { address, renewal: Arc::clone(&renewal), expired: with.expired }),
            name: "edge".into(),
            status: Box::new(|| json!({"capture": {"frames": 5}})),
            now: || NOW,
            acknowledged: Some(give),
            ring,
            rules: Some(Kept::at(&work.path().join("rules"))),
            shown: shown.clone(),
        };
        std::fs::create_dir(work.path().join("rules")).unwrap();
        let remote = Some(Remote::start(seams, &with.config).unwrap());
        Place { work, remote, shown, sessions, acknowledged, renewal, runtime }
    }

    /// The next session that the sensor begins.
    fn session(&mut self) -> Session {
        let sessions = &mut self.sessions;
        self.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, sessions.recv()).await })
            .unwrap()
            .unwrap()
    }

    /// One in which both have greeted.
    fn greeted(&mut self) -> (Session, Hello) {
        let mut session = self.session();
        let Heard::Hello(hello) = self.hear(&mut session) else { panic!("no greeting") };
        self.say(
            &session,
            Say::Welcome(Welcome { version: "9".into(), clock_ns: NOW.0, ..Welcome::default() }),
        );
        (session, hello)
    }

    fn say(&self, session: &Session, message: Say) {
        self.runtime.block_on(session.say.send(Ok(message.into()))).unwrap();
    }

    /// The next message that is no health, unless that is the first.
    fn hear(&self, session: &mut Session) -> Heard {
        loop {
            match self.next(session).expect("the sensor ended the session").message {
                Some(Heard::Health(_)) => {}
                Some(message) => return message,
                None => panic!("an unknown message"),
            }
        }
    }

    /// The next message; none: the sensor ended the session.
    fn next(&self, session: &mut Session) -> Option<FromSensor> {
        let heard = &mut session.heard;
        let next = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, heard.message()).await });
        next.expect("nothing came").ok().flatten()
    }

    fn ended(&self, mut session: Session) {
        while self.next(&mut session).is_some() {}
    }

    fn candidate(&self) -> Candidate {
        until("rules", || self.remote.as_ref().unwrap().candidate())
    }

    /// Offers rules of one file and sends them whole.
    fn offer(&self, session: &Session, version: u64, text: &[u8]) {
        self.say(session, Say::RulesOffer(offer(version, text)));
        for contents in text.chunks(10) {
            self.say(session, Say::RulesPart(RulesPart { version, contents: contents.to_vec() }));
        }
    }

    fn outcome(&self, session: &mut Session) -> (u64, RulesResult, String) {
        match self.hear(session) {
            Heard::RulesOutcome(outcome) => {
                (outcome.version, RulesResult::try_from(outcome.result).unwrap(), outcome.reason)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Takes an answer to its end, giving room for each part.
    fn answer(&self, session: &mut Session, id: u64) -> (Vec<u8>, EvidenceEnd) {
        let mut packets = Vec::new();
        loop {
            match self.hear(session) {
                Heard::EvidencePart(part) if part.id == id => {
                    packets.extend(part.pcapng);
                    self.say(session, Say::EvidenceMore(EvidenceMore { id, parts: 1 }));
                }
                Heard::EvidenceEnd(end) if end.id == id => return (packets, end),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn offer(version: u64, text: &[u8]) -> RulesOffer {
    offer_of(version, vec![RulesFile { name: "a.rules".into(), bytes: text.len() as u64 }], text)
}

fn offer_of(version: u64, files: Vec<RulesFile>, text: &[u8]) -> RulesOffer {
    let manifest = RulesManifest { version, files, sha256: Sha256::digest(text).to_vec(), made_ns: 0 };
    let manifest = manifest.encode_to_vec();
    RulesOffer { signature: signature(&signed_manifest(&manifest)), manifest }
}

fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{what} did not come to be");
}

async fn serve(listener: TcpListener, begun: mpsc::Sender<Session>) {
    while let Ok((stream, _)) = listener.accept().await {
        let begun = begun.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, begun.clone()));
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            drop(builder.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    begun: mpsc::Sender<Session>,
) -> Result<Response<Body>, Infallible> {
    Ok(Grpc::new(ProstCodec::default()).streaming(Begin(begun), request).await)
}

struct Begin(mpsc::Sender<Session>);

impl StreamingService<FromSensor> for Begin {
    type Response = FromCollector;
    type ResponseStream = ReceiverStream<Result<FromCollector, Status>>;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Self::ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Streaming<FromSensor>>) -> Self::Future {
        let begun = self.0.clone();
        Box::pin(async move {
            let (say, said) = mpsc::channel(64);
            let _ = begun.send(Session { say, heard: request.into_inner() }).await;
            Ok(tonic::Response::new(ReceiverStream::new(said)))
        })
    }
}

fn acknowledged(epoch: u64, sequence: u64) -> Say {
    Say::Acknowledged(messages::Acknowledged { epoch, sequence })
}

#[test]
fn the_sensor_greets_tells_its_health_and_comes_back() {
    let mut place = Place::new();
    let (mut session, hello) = place.greeted();
    assert_eq!((hello.sensor.as_str(), hello.rules_version, hello.clock_ns), ("edge", 0, NOW.0));
    assert!(hello.capabilities.iter().all(|known| known != capability::EVIDENCE), "it has no ring");
    let health = place.next(&mut session).unwrap().message;
    assert!(matches!(health, Some(Heard::Health(health)) if health.frames == 5));
    until("connected", || {
        Some(place.shown.get()).filter(|shown| shown.connected && shown.collector_version == "9")
    });
    place.runtime.block_on(session.say.send(Err(Status::permission_denied("revoked\x1b[2J")))).unwrap();
    drop(session);
    let lost = until("lost", || Some(place.shown.get()).filter(|shown| !shown.connected));
    assert_eq!(lost.last_error.as_deref(), Some("revoked[2J"));
    let _back = place.greeted();
    let back = until("back", || Some(place.shown.get()).filter(|shown| shown.connected));
    assert_eq!((back.sessions, back.last_error), (2, None));
}

#[test]
fn acknowledgements_reach_export_and_the_newest_of_each_epoch_waits_while_it_is_busy() {
    let mut place = Place::new();
    let (session, _) = place.greeted();
    for (epoch, sequence) in [(1, 5), (1, 6), (1, 9), (2, 1)] {
        place.say(&session, acknowledged(epoch, sequence));
    }
    until("all are heard", || (place.shown.get().acknowledged_epoch == 2).then_some(()));
    let next = || {
        let said = place.acknowledged.recv_timeout(PATIENCE).unwrap();
        assert_eq!(said.destination, None, "the epoch says whose it is");
        (said.position.epoch, said.position.sequence)
    };
    // The first took the one place; of the others the newest are left.
    assert_eq!([next(), next(), next()], [(1, 5), (1, 9), (2, 1)]);
}

#[test]
fn an_acknowledgement_that_goes_back_is_counted_and_passed_over() {
    let mut place = Place::with(With { acknowledgements_held: 8, ..With::default() });
    let (session, _) = place.greeted();
    for (epoch, sequence) in [(1, 5), (1, 4), (1, 6)] {
        place.say(&session, acknowledged(epoch, sequence));
    }
    until("all are heard", || (place.shown.get().acknowledged_sequence == 6).then_some(()));
    assert_eq!(place.shown.get().acknowledgements_refused, 1);
    let said: Vec<u64> = place.acknowledged.try_iter().map(|said| said.position.sequence).collect();
    assert_eq!(said, [5, 6]);
}

#[test]
fn acknowledgements_of_spools_without_number_end_the_session() {
    let mut place = Place::new();
    let (session, _) = place.greeted();
    for epoch in 0..100 {
        let said = acknowledged(epoch, 1).into();
        if place.runtime.block_on(session.say.send(Ok(said))).is_err() {
            break;
        }
    }
    place.ended(session);
    until("its reason", || place.shown.get().last_error.filter(|why| why.contains("spools")));
}

#[test]
fn a_sensor_that_stops_ends_the_session_in_order() {
    let mut place = Place::new();
    let (mut session, _) = place.greeted();
    until("it is connected", || place.shown.get().connected.then_some(()));
    let remote = place.remote.take();
    let stopping = std::thread::spawn(move || drop(remote));
    loop {
        let heard = &mut session.heard;
        let next = place.runtime.block_on(async { tokio::time::timeout(PATIENCE, heard.message()).await });
        match next.expect("nothing came") {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(status) => panic!("the line broke: {status}"),
        }
    }
    drop(session);
    stopping.join().unwrap();
}

#[test]
fn a_certificate_that_expired_is_said_when_the_connection_is_lost() {
    let expired = Some(NOW);
    let mut place = Place::with(With { expired, ..With::default() });
    let (session, _) = place.greeted();
    drop(session);
    let said = until("its reason", || place.shown.get().last_error);
    assert!(said.contains(&format!("this sensor's certificate expired at {NOW}")), "{said}");
}

#[test]
fn rules_are_loaded_put_in_force_and_told_about() {
    let mut place = Place::new();
    let (mut session, _) = place.greeted();
    place.offer(&session, 7, b"alert tcp any any -> any any (sid:1;)");
    let candidate = place.candidate();
    assert_eq!(std::fs::read(candidate.directory.join("a.rules")).unwrap().len(), 37);
    let kept = Kept::at(&place.work.path().join("rules"));
    assert_eq!(kept.version(), 0, "not before they are loaded");
    candidate.settle(Verdict::Loaded { rules: 1, refused: 0, why: String::new() });
    assert_eq!(place.outcome(&mut session), (7, RulesResult::Loaded, String::new()));
    assert_eq!(kept.version(), 7);
    // The next session says which are in force.
    drop(session);
    assert_eq!(place.greeted().1.rules_version, 7);
}

#[test]
fn rules_that_cannot_be_loaded_leave_those_before_in_force() {
    let mut place = Place::new();
    let (mut session, _) = place.greeted();
    let kept = Kept::at(&place.work.path().join("rules"));
    place.offer(&session, 7, b"good");
    place.candidate().settle(Verdict::Loaded { rules: 1, refused: 0, why: String::new() });
    assert_eq!(place.outcome(&mut session).1, RulesResult::Loaded);
    let before = kept.in_force().unwrap();
    place.offer(&session, 8, b"bad");
    place.candidate().settle(Verdict::Refused("line 1".into()));
    assert_eq!(place.outcome(&mut session), (8, RulesResult::Refused, "line 1".into()));
    assert_eq!(kept.in_force(), Some(before.clone()));
    assert_eq!(std::fs::read(before.join("a.rules")).unwrap(), b"good");
    assert!(!place.work.path().join("rules/8").exists());
}

#[test]
fn an_offer_of_nothing_takes_away_what_was_in_force() {
    let mut place = Place::new();
    let (mut session, _) = place.greeted();
    let kept = Kept::at(&place.work.path().join("rules"));
    place.offer(&session, 7, b"good");
    let candidate = place.candidate();
    assert!(!candidate.is_empty);
    candidate.settle(Verdict::Loaded { rules: 1, refused: 0, why: String::new() });
    place.outcome(&mut session);
    assert!(kept.in_force().is_some());
    place.say(&session, Say::RulesOffer(offer_of(8, Vec::new(), b"")));
    let candidate = place.candidate();
    assert!(candidate.is_empty);
    candidate.settle(Verdict::Loaded { rules: 0, refused: 0, why: String::new() });
    assert_eq!(place.outcome(&mut session), (8, RulesResult::Loaded, String::new()));
    assert_eq!((kept.version(), kept.in_force()), (8, None));
}

#[test]
fn unsigned_stale_and_changed_rules_are_refused_and_the_session_goes_on() {
    let mut place = Place::new();
    let (mut session, _) = place.greeted();
    place.offer(&session, 7, b"good");
    place.candidate().settle(Verdict::Loaded { rules: 1, refused: 0, why: String::new() });
    place.outcome(&mut session);
    let mut refused = |offer: RulesOffer, contents: &[u8]| {
        let version = RulesManifest::decode(&offer.manifest[..]).unwrap().version;
        place.say(&session, Say::RulesOffer(offer));
        place.say(&session, Say::RulesPart(RulesPart { version, contents: contents.to_vec() }));
        let (said, result, reason) = place.outcome(&mut session);
        assert_eq!((said, result), (version, RulesResult::Refused));
        reason
    };
    assert!(refused(offer(7, b"old"), b"old").contains("not newer"));
    assert!(refused(offer(6, b"old"), b"old").contains("not newer"));
    assert!(refused(RulesOffer { signature: Vec::new(), ..offer(8, b"x") }, b"x").contains("signature"));
    assert!(refused(offer(8, b"what was signed"), b"what was not so").contains("not those that were signed"));
    assert!(refused(offer(8, b"short"), b"and much too long").contains("not those that were signed"));
    assert!(place.remote.as_ref().unwrap().candidate().is_none());
    assert_eq!(Kept::at(&place.work.path().join("rules")).version(), 7);
}

#[test]
fn rules_that_come_while_others_are_being_loaded_wait_for_their_turn() {
    let mut place = Place::new();
    let (mut session, _) = place.greeted();
    place.offer(&session, 7, b"first");
    place.offer(&session, 9, b"second");
    let loaded = || Verdict::Loaded { rules: 1, refused: 0, why: String::new() };
    let first = place.candidate();
    assert!(place.remote.as_ref().unwrap().candidate().is_none());
    first.settle(loaded());
    assert_eq!(place.outcome(&mut session).0, 7);
    let second = place.candidate();
    assert_eq!(std::fs::read(second.directory.join("a.rules")).unwrap(), b"second");
    // Older than those being loaded, though newer than those in force.
    place.offer(&session, 8, b"late");
    second.settle(loaded());
    // Which of the two is told first is nobody's promise.
    let mut told =
        [place.outcome(&mut session), place.outcome(&mut session)].map(|(version, how, _)| (version, how));
    told.sort_by_key(|(version, _)| *version);
    assert_eq!(told, [(8, RulesResult::Refused), (9, RulesResult::Loaded)]);
    assert_eq!(Kept::at(&place.work.path().join("rules")).version(), 9);
}

#[test]
fn packets_of_the_ring_come_as_pcapng_with_their_statement_and_are_pinned() {
    let mut place = Place::with(With { ring: true, ..With::default() });
    let (mut session, hello) = place.greeted();
    assert!(hello.capabilities.iter().any(|known| known == capability::EVIDENCE));
    let pin = Some(EvidencePin { seconds: 60, note: "case 1".into() });
    let request =
        EvidenceRequest { id: 3, window_parts: 2, bytes_max: 1 << 30, pin, ..EvidenceRequest::default() };
    place.say(&session, Say::Evidence(request));
    let (packets, end) = place.answer(&mut session, 3);
    assert_eq!((end.frames, end.bytes), (600, packets.len() as u64));
    assert!(packets.len() > 600 << 10 && packets.starts_with(&0x0a0d_0d0au32.to_le_bytes()));
    assert!(!end.statement.is_empty());
    assert!(end.pin.contains("pinned as"), "{}", end.pin);
}

#[test]
fn without_room_no_packet_is_sent_and_a_cancelled_answer_ends() {
    let mut place = Place::with(With { ring: true, ..With::default() });
    let (mut session, _) = place.greeted();
    let request =
        EvidenceRequest { id: 3, window_parts: 1, bytes_max: 1 << 30, ..EvidenceRequest::default() };
    place.say(&session, Say::Evidence(request));
    assert!(matches!(place.hear(&mut session), Heard::EvidencePart(_)));
    // A second one of the same number cannot be.
    place.say(&session, Say::Evidence(EvidenceRequest { id: 3, ..EvidenceRequest::default() }));
    let Heard::EvidenceEnd(end) = place.hear(&mut session) else { panic!("a part without room") };
    assert_eq!(end.outcome, EvidenceOutcome::Refused as i32);
    place.say(&session, Say::EvidenceCancel(EvidenceCancel { id: 3 }));
    let Heard::EvidenceEnd(end) = place.hear(&mut session) else { panic!("a part without room") };
    assert_eq!(end.outcome, EvidenceOutcome::Failed as i32);
    assert!(end.statement.contains("no more"), "{}", end.statement);
}

#[test]
fn an_answer_ends_at_the_bytes_it_may_have() {
    let mut place = Place::with(With { ring: true, ..With::default() });
    let (mut session, _) = place.greeted();
    let request =
        EvidenceRequest { id: 3, window_parts: 64, bytes_max: 100_000, ..EvidenceRequest::default() };
    place.say(&session, Say::Evidence(request));
    let (packets, end) = place.answer(&mut session, 3);
    assert!(packets.len() <= 100_000 && end.outcome != EvidenceOutcome::Complete as i32, "{end:?}");
}

#[test]
fn questions_that_cannot_be_asked_and_too_many_at_once_are_refused() {
    let mut place = Place::with(With { ring: true, ..With::default() });
    let (mut session, _) = place.greeted();
    let wrong = [
        EvidenceRequest { id: 1, community_id: "x".into(), ..EvidenceRequest::default() },
        EvidenceRequest { id: 2, extents: "x".into(), ..EvidenceRequest::default() },
        EvidenceRequest { id: 3, expression: "not a filter (".into(), ..EvidenceRequest::default() },
        EvidenceRequest { id: 4, since_ns: 9, until_ns: 8, ..EvidenceRequest::default() },
    ];
    for request in wrong {
        let id = request.id;
        place.say(&session, Say::Evidence(request));
        let (packets, end) = place.answer(&mut session, id);
        assert_eq!((packets.len(), end.outcome), (0, EvidenceOutcome::Refused as i32), "{end:?}");
    }
    // Those without room wait; the one above the limit is not begun.
    for id in 10..=14 {
        place.say(&session, Say::Evidence(EvidenceRequest { id, ..EvidenceRequest::default() }));
    }
    let Heard::EvidenceEnd(end) = place.hear(&mut session) else { panic!() };
    assert_eq!((end.id, end.outcome), (14, EvidenceOutcome::Refused as i32));
}

#[test]
fn a_sensor_without_a_ring_gives_no_packets() {
    let mut place = Place::new();
    let (mut session, _) = place.greeted();
    place.say(&session, Say::Evidence(EvidenceRequest { id: 1, ..EvidenceRequest::default() }));
    let (_, end) = place.answer(&mut session, 1);
    assert_eq!(end.outcome, EvidenceOutcome::Refused as i32);
}

#[test]
fn what_a_collector_says_of_unknown_things_is_passed_over() {
    let mut place = Place::new();
    let (mut session, _) = place.greeted();
    place.runtime.block_on(session.say.send(Ok(FromCollector { message: None }))).unwrap();
    place.say(&session, Say::EvidenceMore(EvidenceMore { id: 99, parts: u64::MAX }));
    place.say(&session, Say::EvidenceCancel(EvidenceCancel { id: 99 }));
    place.say(&session, Say::RulesPart(RulesPart { version: 99, contents: vec![0; 1000] }));
    place.say(&session, Say::Evidence(EvidenceRequest { id: 1, ..EvidenceRequest::default() }));
    assert_eq!(place.answer(&mut session, 1).1.id, 1);
}

#[test]
fn a_certificate_that_is_due_is_renewed_and_shown_in_a_new_session() {
    let mut place = Place::new();
    place.renewal.store(true, Ordering::Relaxed);
    let (mut session, _) = place.greeted();
    let Heard::Renew(request) = place.hear(&mut session) else { panic!() };
    assert_eq!(request.csr_pem, "csr");
    place.say(&session, Say::Renewed(Renewed { chain_pem: "good".into(), ..Renewed::default() }));
    place.ended(session);
    place.greeted();
}

#[test]
fn a_renewal_that_is_refused_is_not_asked_for_again_at_once_and_one_unasked_for_ends_the_session() {
    let mut place = Place::new();
    place.renewal.store(true, Ordering::Relaxed);
    let (mut session, _) = place.greeted();
    assert!(matches!(place.hear(&mut session), Heard::Renew(_)));
    place.say(&session, Say::Renewed(Renewed { refused: "no".into(), ..Renewed::default() }));
    place.say(&session, Say::Evidence(EvidenceRequest { id: 1, ..EvidenceRequest::default() }));
    assert!(matches!(place.hear(&mut session), Heard::EvidenceEnd(_)));
    place.say(&session, Say::Renewed(Renewed { chain_pem: "good".into(), ..Renewed::default() }));
    place.ended(session);
    until("its reason", || place.shown.get().last_error.filter(|why| why.contains("nobody asked for")));
}

#[test]
fn a_collector_that_asks_and_does_not_read_is_left() {
    let mut place = Place::new();
    let (session, _) = place.greeted();
    // Each is refused, and the refusals are not read.
    let flood = session.say.clone();
    place.runtime.block_on(async {
        for id in 0..2_000_000 {
            let ask = Say::Evidence(EvidenceRequest { id, ..EvidenceRequest::default() });
            match tokio::time::timeout(PATIENCE, flood.send(Ok(ask.into()))).await {
                Ok(Ok(())) => {}
                _ => break,
            }
        }
    });
    until("its reason", || place.shown.get().last_error.filter(|why| why.contains("requests")));
    drop(session);
}

#[test]
fn a_sensor_that_stops_ends_the_session_at_once() {
    let mut place = Place::new();
    let (session, _) = place.greeted();
    drop(place.remote.take());
    place.ended(session);
    assert!(!place.shown.get().connected);
}
