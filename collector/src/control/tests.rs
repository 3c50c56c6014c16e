//! Every message both ways over loopback, with a sensor that is written by hand: honest, silent, deaf, lying, absurd.

use super::config::ControlConfig;
use super::testing::{Open, SECRET, Trusting};
use super::*;
use crate::detect::config::DetectConfig;
use crate::evidence::remote::{self, Ask, NotAnswered};
use crate::ingest::delivery::Positions;
use http::uri::PathAndQuery;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;
use weir_common::control::messages::{
    EvidenceEnd, EvidenceOutcome, EvidencePart, EvidenceRequest, FromCollector,
    FromCollectorMessage as Heard, FromSensor, FromSensorMessage as Say, Health, Hello, RedeemReply,
    RedeemRequest, RenewRequest, RulesManifest, RulesOffer, RulesOutcome, RulesResult,
};
use weir_common::control::{
    CONNECT_PATH, MESSAGE_BYTES_MAX, PART_BYTES, REDEEM_PATH, capability, signed_manifest,
};
use weir_common::delivery::Position;

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

struct Place {
    work: tempfile::TempDir,
    control: Control,
    acknowledgements: watch::Sender<Positions>,
    revoked: Arc<AtomicBool>,
    runtime: Runtime,
}

impl Place {
    fn new() -> Place {
        Place::with(|_| {}, false)
    }

    fn with(change: impl FnOnce(&mut ControlConfig), strangers: bool) -> Place {
        Place::waiting(change, strangers, Patience::default())
    }

    fn waiting(change: impl FnOnce(&mut ControlConfig), strangers: bool, patience: Patience) -> Place {
        let work = tempfile::tempdir().unwrap();
        let mut config = ControlConfig { listen: "127.0.0.1:0".into(), ..ControlConfig::default() };
        change(&mut config);
        if config.rules == "here" {
            config.rules = work.path().join("rules").display().to_string();
            std::fs::create_dir(&config.rules).unwrap();
        }
        let acknowledgements = watch::Sender::new(Positions::default());
        let revoked = Arc::<AtomicBool>::default();
        let door = Arc::new(Open { strangers, revoked: Arc::clone(&revoked) });
        let authority = Arc::new(Trusting::default());
        let control = Control::start_with(
            (&config, &DetectConfig::default()),
            work.path(),
            authority,
            door,
            acknowledgements.subscribe(),
            patience,
        )
        .unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Place { work, control, acknowledgements, revoked, runtime }
    }

    fn address(&self) -> SocketAddr {
        until("the address", || self.control.address())
    }

    fn client(&self) -> tonic::client::Grpc<Caller> {
        let address = self.address();
        self.runtime.block_on(async {
            let stream = TcpStream::connect(address).await.unwrap();
            let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
            let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            tonic::client::Grpc::with_origin(Caller(sender), http::Uri::from_static("http://collector"))
        })
    }

    /// A sensor that has greeted.
    fn sensor(&self) -> Sensor<'_> {
        let mut sensor = self.mute();
        let capabilities = [capability::EVIDENCE, capability::RULES].map(str::to_owned).to_vec();
        sensor.say(Say::Hello(Hello { version: "0.0.9".into(), capabilities, ..Hello::default() }));
        assert!(matches!(sensor.hear(), Some(Heard::Welcome(_))));
        sensor
    }

    /// A sensor that has said nothing yet.
    fn mute(&self) -> Sensor<'_> {
        let mut grpc = self.client();
        let (say, said) = mpsc::channel(64);
        let heard = self.runtime.block_on(async {
            grpc.ready().await.unwrap();
            let request = tonic::Request::new(ReceiverStream::new(said));
            let path = PathAndQuery::from_static(CONNECT_PATH);
            grpc.streaming(request, path, ProstCodec::default()).await.unwrap().into_inner()
        });
        Sensor { place: self, say, heard, _grpc: grpc }
    }

    /// The store has stored everything of a sensor's spool below the position.
    fn acknowledge(&self, sensor: &str, position: Position) {
        self.acknowledgements.send_modify(|all| {
            let mut changed = (**all).clone();
            let known = changed.entry(sensor.into()).or_default();
            known.retain(|known| known.epoch != position.epoch);
            known.push(position);
            *all = Arc::new(changed);
        });
    }

    fn count(&self, name: &str) -> u64 {
        self.control.counters()[name]
    }

    fn socket(&self) -> PathBuf {
        socket_path(self.work.path())
    }

    /// Asks for packets as the command line does.
    fn ask(&self) -> JoinHandle<(Result<EvidenceEnd, NotAnswered>, Vec<u8>)> {
        let socket = self.socket();
        std::thread::spawn(move || {
            let request = EvidenceRequest { expression: "udp".into(), ..EvidenceRequest::default() };
            let ask = Ask { sensor: "edge".into(), request: Some(request) };
            let (mut out, mut octets) = (Vec::new(), 0);
            let end = remote::ask(&socket, &ask, PATIENCE, &mut out, &mut octets);
            assert_eq!(octets, out.len() as u64);
            (end, out)
        })
    }
}

struct Sensor<'a> {
    place: &'a Place,
    say: mpsc::Sender<FromSensor>,
    heard: Streaming<FromCollector>,
    _grpc: tonic::client::Grpc<Caller>,
}

impl Sensor<'_> {
    fn say(&self, message: Say) {
        self.place.runtime.block_on(self.say.send(message.into())).unwrap();
    }

    fn next(&mut self) -> Result<Option<FromCollector>, Status> {
        let heard = &mut self.heard;
        self.place.runtime.block_on(async { tokio::time::timeout(PATIENCE, heard.message()).await }).unwrap()
    }

    fn hear(&mut self) -> Option<Heard> {
        self.next().unwrap()?.message
    }

    /// How the collector ends the session.
    fn end(mut self) -> Status {
        loop {
            match self.next() {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok("ended without a word"),
                Err(status) => return status,
            }
        }
    }

    fn asked(&mut self) -> EvidenceRequest {
        match self.hear() {
            Some(Heard::Evidence(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn part(&self, id: u64, pcapng: Vec<u8>) {
        self.say(Say::EvidencePart(EvidencePart { id, pcapng }));
    }
}

struct Caller(hyper::client::conn::http2::SendRequest<tonic::body::Body>);

impl tower_service::Service<http::Request<tonic::body::Body>> for Caller {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// What must come to be within [`PATIENCE`].
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

fn end(id: u64) -> Say {
    let outcome = EvidenceOutcome::Complete.into();
    Say::EvidenceEnd(EvidenceEnd { id, outcome, statement: "complete".into(), ..EvidenceEnd::default() })
}

#[test]
fn a_stranger_pairs_once_and_can_do_nothing_else() {
    let place = Place::with(|_| {}, true);
    let redeem = |secret: &[u8]| {
        let mut grpc = place.client();
        place.runtime.block_on(async {
            grpc.ready().await.unwrap();
            let request =
                RedeemRequest { secret: secret.to_vec(), csr_pem: "csr".into(), ..RedeemRequest::default() };
            let path = PathAndQuery::from_static(REDEEM_PATH);
            let reply: Result<tonic::Response<RedeemReply>, Status> =
                grpc.unary(tonic::Request::new(request), path, ProstCodec::default()).await;
            reply.map(tonic::Response::into_inner)
        })
    };
    assert_eq!(redeem(b"a guess").unwrap_err().code(), Code::PermissionDenied);
    let reply = redeem(SECRET).unwrap();
    assert_eq!((reply.sensor.as_str(), reply.chain_pem.as_str()), ("edge", "chain of csr"));
    assert!(reply.clock_ns > 0);
    let again = redeem(SECRET).unwrap_err();
    assert!(again.message().contains("no longer"), "{again}");
    assert_eq!((place.count("paired"), place.count("pairings_refused")), (1, 2));
    let mut grpc = place.client();
    let refused = place.runtime.block_on(async {
        grpc.ready().await.unwrap();
        let (_say, said) = mpsc::channel::<FromSensor>(1);
        let request = tonic::Request::new(ReceiverStream::new(said));
        let path = PathAndQuery::from_static(CONNECT_PATH);
        let codec = ProstCodec::<FromSensor, FromCollector>::default();
        grpc.streaming(request, path, codec).await.unwrap_err()
    });
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(place.control.sensors().is_empty());
}

#[test]
fn a_sensor_s_health_is_shown_and_its_end_too() {
    let place = Place::new();
    let sensor = place.sensor();
    sensor.say(Say::Health(Health { frames: 5, clock_ns: 1, ..Health::default() }));
    let status = until("its health", || {
        place.control.sensors().into_iter().find(|sensor| sensor.health.get("frames") == Some(&5))
    });
    assert_eq!((status.name.as_str(), status.version.as_str(), status.connected), ("edge", "0.0.9", true));
    assert!(status.clock_ahead_ms < -1_000_000_000, "its clock is at 1970");
    drop(sensor);
    let left = until("its end", || place.control.sensors().into_iter().find(|sensor| !sensor.connected));
    assert!(!left.left.is_empty());
}

#[test]
fn acknowledgements_are_passed_on_once_each_also_those_of_before_it_connected() {
    let place = Place::new();
    let at = |epoch, sequence| Position { epoch, sequence };
    place.acknowledge("edge", at(7, 10));
    place.acknowledge("another", at(8, 10));
    let mut sensor = place.sensor();
    let mut hear = || match sensor.hear() {
        Some(Heard::Acknowledged(said)) => at(said.epoch, said.sequence),
        other => panic!("{other:?}"),
    };
    assert_eq!(hear(), at(7, 10));
    place.acknowledge("another", at(8, 11));
    place.acknowledge("edge", at(7, 12));
    assert_eq!(hear(), at(7, 12));
}

#[test]
fn packets_come_to_whoever_asked_in_the_window_it_gave() {
    let place = Place::new();
    let mut sensor = place.sensor();
    let asked = place.ask();
    let request = sensor.asked();
    assert_eq!((request.expression.as_str(), request.bytes_max), ("udp", 1 << 30));
    // More than one window: only what is taken makes room for more.
    let (mut room, mut sent) = (request.window_parts, Vec::new());
    for n in 0..request.window_parts * 2 {
        while room == 0 {
            match sensor.hear() {
                Some(Heard::EvidenceMore(more)) => room += more.parts,
                other => panic!("{other:?}"),
            }
        }
        room -= 1;
        let part = vec![n as u8; PART_BYTES];
        sent.extend_from_slice(&part);
        sensor.part(request.id, part);
    }
    sensor.say(end(request.id));
    let (end, out) = asked.join().unwrap();
    assert_eq!(end.unwrap().outcome, EvidenceOutcome::Complete as i32);
    assert!(out == sent);
}

#[test]
fn a_sensor_that_is_not_there_or_keeps_no_packets_is_said_to_be_so() {
    let place = Place::new();
    let (end, _) = place.ask().join().unwrap();
    assert!(matches!(end, Err(NotAnswered::Absent(why)) if why.contains("not connected")));
    let mut sensor = place.mute();
    sensor.say(Say::Hello(Hello::default()));
    sensor.hear();
    let (end, _) = place.ask().join().unwrap();
    let end = end.unwrap();
    assert_eq!(end.outcome, EvidenceOutcome::Refused as i32);
    assert!(end.statement.contains("no ring"), "{}", end.statement);
}

#[test]
fn a_sensor_that_leaves_in_the_middle_ends_the_answer_and_not_the_asker() {
    let place = Place::new();
    let mut sensor = place.sensor();
    let asked = place.ask();
    let request = sensor.asked();
    sensor.part(request.id, vec![1; 10]);
    assert!(matches!(sensor.hear(), Some(Heard::EvidenceMore(_))));
    drop(sensor);
    let (end, out) = asked.join().unwrap();
    assert!(matches!(end, Err(NotAnswered::Lost(_))));
    assert_eq!(out, [1; 10]);
}

#[test]
fn an_asker_that_leaves_cancels_the_answer() {
    let place = Place::new();
    let mut sensor = place.sensor();
    let mut stream = std::os::unix::net::UnixStream::connect(place.socket()).unwrap();
    remote::send(&mut stream, &Ask { sensor: "edge".into(), request: None }).unwrap();
    let request = sensor.asked();
    drop(stream);
    match sensor.hear() {
        Some(Heard::EvidenceCancel(cancel)) => assert_eq!(cancel.id, request.id),
        other => panic!("{other:?}"),
    }
    // What was under way is nobody's any more, and no fault.
    sensor.part(request.id, vec![0; 9]);
    sensor.part(request.id + 77, vec![0; 9]);
    sensor.say(end(request.id));
    until("both are counted", || (place.count("evidence_unasked") == 3).then_some(()));
    assert!(place.control.sensors()[0].connected);
}

#[test]
fn what_is_no_question_ends_at_the_local_socket() {
    let place = Place::new();
    place.address();
    for bytes in [&[0xff, 0xff, 0xff, 0xff, 0][..], &[0, 0, 0, 2, 0xff, 0xff], &[0, 0]] {
        use std::io::{Read as _, Write as _};
        let mut stream = std::os::unix::net::UnixStream::connect(place.socket()).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // A reset is an end as well.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty());
    }
}

#[test]
fn packets_beyond_the_window_end_the_session() {
    let place = Place::new();
    let mut sensor = place.sensor();
    // An asker that reads nothing: the window never opens again.
    let mut stream = std::os::unix::net::UnixStream::connect(place.socket()).unwrap();
    remote::send(&mut stream, &Ask { sensor: "edge".into(), request: None }).unwrap();
    let request = sensor.asked();
    let say = sensor.say.clone();
    let flood = place.runtime.spawn(async move {
        let part = || Say::EvidencePart(EvidencePart { id: request.id, pcapng: vec![0; PART_BYTES] });
        while say.send(part().into()).await.is_ok() {}
    });
    let status = sensor.end();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("window"), "{status}");
    assert_eq!(place.count("sessions_broken"), 1);
    flood.abort();
}

#[test]
fn more_packets_than_were_asked_for_end_the_session() {
    let place = Place::with(|config| config.evidence_mib_max = 0, false);
    let mut sensor = place.sensor();
    let asked = place.ask();
    let request = sensor.asked();
    sensor.part(request.id, vec![0; 1]);
    let status = sensor.end();
    assert!(status.message().contains("more packets than"), "{status}");
    let (end, out) = asked.join().unwrap();
    assert_eq!((end.unwrap().outcome, out.len()), (EvidenceOutcome::Failed as i32, 0));
}

#[test]
fn requests_beyond_the_limit_are_refused_and_those_before_go_on() {
    let place = Place::with(|config| config.evidence_requests_max = 1, false);
    let mut sensor = place.sensor();
    let first = place.ask();
    let request = sensor.asked();
    let (second, _) = place.ask().join().unwrap();
    assert!(second.unwrap().statement.contains("evidence_requests_max"));
    sensor.say(end(request.id));
    assert!(first.join().unwrap().0.is_ok());
}

#[test]
fn rules_are_offered_signed_and_whole_and_what_became_of_them_is_shown() {
    use prost::Message as _;
    let place = Place::with(|config| config.rules = "here".into(), false);
    let text = vec![b'r'; PART_BYTES + 5];
    std::fs::write(place.work.path().join("rules/a.rules"), &text).unwrap();
    let mut sensor = place.sensor();
    let Some(Heard::RulesOffer(offer)) = sensor.hear() else { panic!() };
    assert_eq!(offer.signature, Trusting::signature(&signed_manifest(&offer.manifest)));
    let manifest = RulesManifest::decode(&offer.manifest[..]).unwrap();
    let mut contents = Vec::new();
    while contents.len() < text.len() {
        let Some(Heard::RulesPart(part)) = sensor.hear() else { panic!() };
        assert_eq!(part.version, manifest.version);
        contents.extend(part.contents);
    }
    assert!(contents == text);
    let told = |result: RulesResult, reason: &str| {
        let (version, reason) = (manifest.version, reason.to_owned());
        Say::RulesOutcome(RulesOutcome { version, result: result.into(), reason, rules: 3, rules_refused: 0 })
    };
    sensor.say(told(RulesResult::Refused, "line 1 is nonsense"));
    let shown = || place.control.sensors().into_iter().next();
    until("the refusal", || shown().filter(|sensor| sensor.rules.contains("line 1 is nonsense")));
    assert_eq!(shown().unwrap().rules_version, 0);
    sensor.say(told(RulesResult::Loaded, ""));
    until("the rules", || shown().filter(|sensor| sensor.rules_version == manifest.version));
    // Who has them already is not offered them again.
    drop(sensor);
    until("its end", || shown().filter(|sensor| !sensor.connected));
    let mut sensor = place.mute();
    let capabilities = vec![capability::RULES.to_owned()];
    sensor.say(Say::Hello(Hello { rules_version: manifest.version, capabilities, ..Hello::default() }));
    assert!(matches!(sensor.hear(), Some(Heard::Welcome(_))));
    sensor.say(Say::Renew(RenewRequest { csr_pem: "next".into() }));
    let Some(Heard::Renewed(renewed)) = sensor.hear() else { panic!("offered again") };
    assert_eq!((renewed.chain_pem.as_str(), renewed.refused.as_str()), ("chain of next", ""));
}

#[test]
fn that_there_are_no_rules_is_told_only_to_who_may_have_some() {
    let place = Place::new();
    let offered = |version: u64, text: &str| {
        let offer = RulesOffer { manifest: version.to_be_bytes().to_vec(), ..RulesOffer::default() };
        let (contents, is_empty) = (text.as_bytes().to_vec(), text.is_empty());
        let bundle = Bundle { version, offer, contents, is_empty, indicators: 0, indicators_left_out: 0 };
        place.control.shared.rules.send_replace(Some(Arc::new(bundle)));
    };
    let greeted = |rules_version| {
        let mut sensor = place.mute();
        let capabilities = vec![capability::RULES.to_owned()];
        sensor.say(Say::Hello(Hello { rules_version, capabilities, ..Hello::default() }));
        assert!(matches!(sensor.hear(), Some(Heard::Welcome(_))));
        sensor
    };
    let told = |sensor: &mut Sensor<'_>| match sensor.hear() {
        Some(Heard::RulesOffer(offer)) => u64::from_be_bytes(offer.manifest.try_into().unwrap()),
        _ => panic!("no offer"),
    };
    offered(8, "");
    let mut sensor = greeted(7);
    assert_eq!(told(&mut sensor), 8);
    drop(sensor);
    let mut sensor = greeted(0);
    sensor.say(Say::Renew(RenewRequest { csr_pem: "next".into() }));
    assert!(matches!(sensor.hear(), Some(Heard::Renewed(_))), "it has none");
    // Once it was offered some, it is told when there are none any more.
    offered(9, "some");
    assert_eq!(told(&mut sensor), 9);
    assert!(matches!(sensor.hear(), Some(Heard::RulesPart(_))));
    offered(10, "");
    assert_eq!(told(&mut sensor), 10);
}

#[test]
fn a_renewal_may_be_refused_and_asked_for_too_often() {
    let place = Place::new();
    let mut sensor = place.sensor();
    sensor.say(Say::Renew(RenewRequest::default()));
    let Some(Heard::Renewed(renewed)) = sensor.hear() else { panic!() };
    assert_eq!((renewed.chain_pem.as_str(), renewed.refused.as_str()), ("", "no request"));
    for _ in 0..10 {
        sensor.say(Say::Renew(RenewRequest { csr_pem: "csr".into() }));
    }
    assert!(sensor.end().message().contains("renewals"));
}

#[test]
fn whoever_does_not_greet_first_or_greets_twice_is_let_go() {
    let place = Place::new();
    let sensor = place.mute();
    sensor.say(Say::Health(Health::default()));
    assert!(sensor.end().message().contains("greeting"));
    let sensor = place.sensor();
    sensor.say(Say::Hello(Hello::default()));
    assert!(sensor.end().message().contains("twice"));
    assert_eq!(place.count("sessions_broken"), 2);
}

#[test]
fn what_a_later_version_says_is_passed_over() {
    let place = Place::new();
    let sensor = place.sensor();
    place.runtime.block_on(sensor.say.send(FromSensor { message: None })).unwrap();
    sensor.say(Say::Health(Health { frames: 1, ..Health::default() }));
    until("it is counted", || (place.count("messages_unknown") == 1).then_some(()));
    assert!(place.control.sensors()[0].connected);
}

#[test]
fn a_message_beyond_the_limit_ends_the_session_unread() {
    let place = Place::new();
    let sensor = place.sensor();
    sensor.part(1, vec![0; MESSAGE_BYTES_MAX]);
    let status = sensor.end();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert_eq!(place.count("evidence_unasked"), 0);
}

#[test]
fn a_revoked_sensor_is_let_go_within_seconds_and_told_why() {
    let place = Place::new();
    let sensor = place.sensor();
    place.revoked.store(true, Ordering::Relaxed);
    let status = sensor.end();
    assert_eq!((status.code(), place.count("sessions_revoked")), (Code::PermissionDenied, 1));
    assert!(status.message().contains("revoked"), "{status}");
}

#[test]
fn a_sensor_that_says_nothing_is_let_go() {
    let patience = Patience { silent: Duration::from_millis(100), ..Patience::default() };
    let place = Place::waiting(|_| {}, false, patience);
    assert_eq!(place.mute().end().code(), Code::DeadlineExceeded);
    assert_eq!((place.count("sessions_silent"), place.count("sensors_connected")), (1, 0));
}

#[test]
fn a_sensor_that_does_not_read_is_let_go_though_it_goes_on_talking() {
    let patience = Patience { unread: Duration::from_millis(100), ..Patience::default() };
    let place = Place::waiting(|config| config.rules = "here".into(), false, patience);
    // More than HTTP/2's windows and both kernels' buffers hold.
    std::fs::write(place.work.path().join("rules/a.rules"), vec![b'r'; 48 << 20]).unwrap();
    let sensor = place.sensor();
    let say = sensor.say.clone();
    place.runtime.spawn(async move {
        while say.send(Say::Health(Health::default()).into()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    until("its end", || (place.count("sessions_unread") == 1).then_some(()));
    until("its place is free", || (place.count("sensors_connected") == 0).then_some(()));
}

#[test]
fn a_sensor_that_connects_again_takes_its_own_place() {
    let place = Place::new();
    let first = place.sensor();
    let second = place.sensor();
    assert_eq!(first.end().code(), Code::Aborted);
    assert_eq!((place.count("sessions_displaced"), place.count("sensors_connected")), (1, 1));
    second.say(Say::Health(Health { frames: 2, ..Health::default() }));
    until("it lives", || {
        place.control.sensors().into_iter().find(|one| one.health.get("frames") == Some(&2))
    });
}

#[test]
fn sensors_beyond_the_limit_are_refused() {
    let place = Place::with(|config| config.sensors_max = 1, false);
    let _first = place.sensor();
    let address = place.address();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(io::Read::read(&mut stream, &mut [0; 100]).unwrap(), 0, "closed without HTTP/2");
    assert_eq!(place.count("refused_full"), 1);
}

#[test]
fn strangers_beyond_the_limit_of_their_address_are_refused_and_leave_room_again() {
    let place = Place::with(|_| {}, true);
    let address = place.address();
    let connect = || std::net::TcpStream::connect(address).unwrap();
    let held: Vec<_> = (0..server::STRANGERS_PER_ADDRESS_MAX).map(|_| connect()).collect();
    let refused = until("a refusal", || {
        let _one_more = connect();
        (place.count("refused_strangers_full") > 0).then(|| place.count("refused_strangers_full"))
    });
    assert!(refused >= 1);
    drop(held);
    until("room", || {
        let before = place.count("refused_strangers_full");
        let mut stream = connect();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // HTTP/2's first frame comes to whoever is let in.
        let read = io::Read::read(&mut stream, &mut [0; 9]).unwrap_or(0);
        (read > 0 && place.count("refused_strangers_full") == before).then_some(())
    });
}

#[test]
fn a_collector_that_stops_says_so() {
    let Place { control, runtime, work, .. } = {
        let place = Place::new();
        place.address();
        place
    };
    drop(control);
    assert!(std::os::unix::net::UnixStream::connect(socket_path(work.path())).is_err());
    drop(runtime);
}

#[test]
fn an_address_that_is_none_is_said_before_anything_is_opened() {
    for wrong in ["4741", "0.0.0.0", "host:99999"] {
        let config = ControlConfig { listen: wrong.into(), ..ControlConfig::default() };
        assert!(check(&config).unwrap().to_string().contains(wrong));
    }
    assert!(check(&ControlConfig::default()).is_none());
}
