//! BitTorrent's distributed hash table (BEP 5, BEP 32).
//!
//! In: datagrams. Out: what was asked for, and one event per message in EVE's `bittorrent_dht`. What the peers
//! then exchange is BitTorrent's own (`bittorrent.rs`).

use crate::dpi::bencode::{Value, get, items};
use crate::dpi::bytes::{at, be16, full_ipv6, hex};
use crate::dpi::{Context, Dissector, First, Probe, Progress, Starts};
use std::net::Ipv4Addr;
use weir_common::app::App;
use weir_common::json::{List, Object};
use weir_common::metadata::Field;

/// Most bytes written of an identifier or token.
const ID_BYTES_MAX: usize = 256;
/// Most nodes or peers written of one list.
const PEERS_MAX: usize = 256;

/// The dissector of one flow.
#[derive(Debug)]
pub(super) struct BittorrentDht {
    messages: u64,
}

impl Dissector for BittorrentDht {
    const APP: App = App::BittorrentDht;

    const STARTS: Starts = Starts::datagram(b"d");

    fn probe(first: &First<'_>) -> Probe {
        let Some((Value::Dictionary(content), _)) = Value::read(first.bytes) else {
            return begins_like_a_message(first.bytes);
        };
        let kind = get(content, b"y").and_then(Value::bytes);
        let is_message = matches!(kind, Some(b"q" | b"r" | b"e")) && get(content, b"t").is_some();
        let has_body = [&b"a"[..], b"r", b"e"].into_iter().any(|key| get(content, key).is_some());
        if is_message && has_body { Probe::Certain } else { begins_like_a_message(first.bytes) }
    }

    fn new() -> Self {
        BittorrentDht { messages: 0 }
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let transaction = self.messages;
        self.messages += 1;
        let message = Message::read(bytes);
        if message.kind.is_none() {
            context.anomaly("malformed_packet", Some(transaction));
        }
        if message.has_id() {
            learn(&message, context);
            let direction = context.direction;
            context.tell(direction, Some(transaction), |object| message.write(object));
        }
        Progress::Used(bytes.len())
    }

    fn gap(&mut self, _: u64, _: &mut Context<'_>) -> Progress {
        Progress::Done
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

/// A message that is cut or damaged still begins as its kind does.
fn begins_like_a_message(bytes: &[u8]) -> Probe {
    const STARTS: [&[u8]; 5] = [b"d1:ad2:id20:", b"d1:rd2:id20:", b"d2:ip6:", b"d1:eli20", b"d1:y1:"];
    if STARTS.iter().any(|start| bytes.starts_with(start)) { Probe::Certain } else { Probe::NotForUs }
}

/// Whether it asks, answers or refuses.
#[derive(Clone, Copy, Debug)]
enum Kind<'a> {
    /// The method and its arguments.
    Query(&'a [u8], &'a [u8]),
    Response(&'a [u8]),
    Error(i64, &'a [u8]),
}

#[derive(Debug)]
struct Message<'a> {
    kind: Option<Kind<'a>>,
    transaction: Option<&'a [u8]>,
    version: Option<&'a [u8]>,
    /// What could be read of a message that contradicts itself.
    partial: Option<Kind<'a>>,
}

impl<'a> Message<'a> {
    fn read(bytes: &'a [u8]) -> Message<'a> {
        // Of a message that breaks off, what comes before the break counts.
        let content = match Value::read(bytes) {
            Some((Value::Dictionary(content), _)) => content,
            _ => bytes.strip_prefix(b"d").unwrap_or_default(),
        };
        let dictionary = |key: &[u8]| match get(content, key) {
            Some(Value::Dictionary(inner)) => Some(inner),
            _ => None,
        };
        let text = |key: &[u8]| get(content, key).and_then(Value::bytes);
        let query = || Some(Kind::Query(text(b"q")?, dictionary(b"a")?));
        let response = || dictionary(b"r").map(Kind::Response);
        let error = || {
            let Some(Value::List(list)) = get(content, b"e") else { return None };
            let mut values = items(list);
            let (code, words) = (values.next()?.number()?, values.next()?.bytes()?);
            Some(Kind::Error(code, words))
        };
        let kind = match text(b"y") {
            Some(b"q") => query(),
            Some(b"r") => response(),
            Some(b"e") => error(),
            _ => None,
        };
        let transaction = text(b"t");
        let partial = kind.or_else(query).or_else(response).or_else(error);
        let is_whole = kind.is_some() && transaction.is_some();
        let message = Message { kind: kind.filter(|_| is_whole), transaction, version: text(b"v"), partial };
        match message.kind {
            Some(Kind::Query(_, inner) | Kind::Response(inner)) if get(inner, b"id").is_none() => {
                Message { kind: None, ..message }
            }
            _ => message,
        }
    }

    /// Whether there is something to tell.
    fn has_id(&self) -> bool {
        self.partial.is_some()
    }

    fn write(&self, object: &mut Object<'_>) {
        object.text("transaction_id", &id(self.transaction.unwrap_or_default()));
        if let Some(version) = self.version {
            object.text("client_version", &id(version));
        }
        match self.partial {
            Some(Kind::Query(method, arguments)) => {
                object.bytes("request_type", method);
                let mut request = object.object("request");
                let field = |key: &[u8]| get(arguments, key).and_then(Value::bytes).map(id);
                request.text("id", &field(b"id").unwrap_or_default());
                for (name, key) in
                    [("target", &b"target"[..]), ("info_hash", b"info_hash"), ("token", b"token")]
                {
                    request.text_if(name, field(key).as_deref());
                }
                for (name, key) in [("implied_port", &b"implied_port"[..]), ("port", b"port")] {
                    if let Some(number) = get(arguments, key).and_then(Value::number) {
                        request.number(name, number);
                    }
                }
            }
            Some(Kind::Response(values)) => write_response(values, &mut object.object("response")),
            Some(Kind::Error(code, words)) => {
                object.object("error").number("num", code).bytes("msg", words);
            }
            None => {}
        }
    }
}

fn id(bytes: &[u8]) -> String {
    hex(bytes, ID_BYTES_MAX)
}

fn write_response(values: &[u8], response: &mut Object<'_>) {
    let field = |key: &[u8]| get(values, key).and_then(Value::bytes);
    response.text("id", &id(field(b"id").unwrap_or_default()));
    for (name, address_bytes) in [("nodes", 4), ("nodes6", 16)] {
        let entry_bytes = 20 + address_bytes + 2;
        let nodes = field(name.as_bytes()).unwrap_or_default();
        if nodes.len() < entry_bytes {
            continue;
        }
        let mut list = response.list(name);
        for node in nodes.chunks_exact(entry_bytes).take(PEERS_MAX) {
            let Some((number, address)) = node.split_at_checked(20) else { break };
            let mut object = list.object();
            object.text("id", &id(number));
            write_peer(address, &mut object);
        }
    }
    if let Some(Value::List(list)) = get(values, b"values") {
        write_peers(list, &mut response.list("values"));
    }
    response.text_if("token", field(b"token").map(id).as_deref());
}

fn write_peers(content: &[u8], list: &mut List<'_>) {
    for peer in items(content).filter_map(Value::bytes).take(PEERS_MAX) {
        write_peer(peer, &mut list.object());
    }
}

/// Address and port.
fn write_peer(bytes: &[u8], object: &mut Object<'_>) {
    let address_bytes = if bytes.len() < 18 { 4 } else { 16 };
    let text = match address_bytes {
        4 => at::<4>(bytes, 0).map(|octets| Ipv4Addr::from(octets).to_string()),
        _ => at::<16>(bytes, 0).map(|octets| full_ipv6(&octets)),
    };
    object.text("ip", &text.unwrap_or_default()).number("port", be16(bytes, address_bytes).unwrap_or(0));
}

fn learn(message: &Message<'_>, context: &mut Context<'_>) {
    if let Some(version) = message.version
        && let Ok(text) = std::str::from_utf8(version.get(..2).unwrap_or_default())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && !text.is_empty()
    {
        // Two letters name the client, the rest is its version.
        context.metadata.set_text(Field::ClientSoftware, text);
    }
    match message.partial {
        Some(Kind::Query(method, arguments)) => {
            context.metadata.add(Field::Command, &String::from_utf8_lossy(method));
            if let Some(hash) = get(arguments, b"info_hash").and_then(Value::bytes) {
                context.metadata.add(Field::Object, &id(hash));
            }
        }
        Some(Kind::Error(code, _)) => context.metadata.add(Field::Status, &code.to_string()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, survives_damaged_datagrams};
    use weir_common::net::Direction;

    const ASK: &[u8] = b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:v4:UT011:y1:qe";
    const ANSWER: &[u8] =
        b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re";

    fn trial() -> Trial<BittorrentDht> {
        Trial::new().over_datagrams()
    }

    #[test]
    fn a_query_and_its_response_are_told() {
        let trial = trial().client(ASK).server(ANSWER);
        assert_eq!((trial.malformed, trial.text(Field::Command)), (0, "get_peers"));
        assert_eq!(trial.text(Field::Object), "6d6e6f707172737475767778797a313233343536");
        let body = |at: usize| serde_json::from_slice::<serde_json::Value>(&trial.events[at].body).unwrap();
        let want = serde_json::json!({
            "transaction_id": "6161", "client_version": "55543031", "request_type": "get_peers",
            "request": {
                "id": "6162636465666768696a30313233343536373839",
                "info_hash": "6d6e6f707172737475767778797a313233343536",
            },
        });
        assert_eq!(body(0), want);
        let want = serde_json::json!({
            "transaction_id": "6161",
            "response": {
                "id": "6162636465666768696a30313233343536373839",
                "values": [{"ip": "97.120.106.101", "port": 11893}, {"ip": "105.100.104.116", "port": 28269}],
                "token": "616f6575736e7468",
            },
        });
        assert_eq!(body(1), want);
    }

    #[test]
    fn errors_and_malformed_messages_are_told() {
        let refused = trial().server(b"d1:eli201e5:Wronge1:t2:aa1:y1:ee");
        assert_eq!(refused.event()["error"], serde_json::json!({"num": 201, "msg": "Wrong"}));
        let lacking = trial().client(b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:y1:qe");
        assert_eq!((lacking.malformed, lacking.events.len()), (1, 2));
    }

    #[test]
    fn damage_is_survived_and_others_are_not_taken() {
        survives_damaged_datagrams::<BittorrentDht>(&[
            (Direction::Forward, ASK),
            (Direction::Reverse, ANSWER),
        ]);
        let probe =
            |bytes: &[u8]| BittorrentDht::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes));
        assert_eq!(probe(ASK), Probe::Certain);
        assert_eq!(probe(b"d4:spam4:eggse"), Probe::NotForUs);
        assert_eq!(probe(b"data"), Probe::NotForUs);
    }
}
