//! OPC UA binary over TCP (IEC 62541-6).
//!
//! In: both directions of a stream. Out: the endpoint asked for, the security policy, services called where
//! they are not encrypted, and one event per message that is not only data of an encrypted channel. Chunks are
//! not put together; values are not read.

use crate::dpi::bytes::{le16, le32, u8_at};
use crate::dpi::{Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;

/// Bytes of a message's header: type, chunk, size.
const HEADER_BYTES: usize = 8;
/// Most bytes of a message; more is not OPC UA.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Most bytes of a message that are waited for; the rest passes unseen.
const LOOKED_AT_BYTES: usize = 512;
/// Most bytes of an endpoint's address or a policy (IEC 62541-6 table 74).
const TEXT_BYTES_MAX: usize = 4096;

/// The dissector of one connection.
#[derive(Debug, Default)]
pub(super) struct Opcua {
    messages: u64,
    /// The channel's content is encrypted.
    is_secret: bool,
    /// By direction: where messages begin is not known.
    is_lost: [bool; 2],
}

impl Dissector for Opcua {
    const APP: App = App::Opcua;

    const STARTS: Starts = Starts::stream(b"HAEROMC");

    fn probe(first: &First<'_>) -> Probe {
        let Some(size) = header(first.bytes) else {
            let is_possible = |kind: &[u8; 4]| kind.starts_with(first.bytes.get(..4).unwrap_or(first.bytes));
            let is_short = first.bytes.len() < HEADER_BYTES;
            return if is_short && KINDS.iter().any(|kind| is_possible(kind)) {
                Probe::Unsure
            } else {
                Probe::NotForUs
            };
        };
        // What each kind has at least, and the version it begins with.
        let is_right = match first.bytes.get(..4) {
            Some(b"HELF") => (32..=32 + TEXT_BYTES_MAX).contains(&size),
            Some(b"ACKF") => size == 28,
            Some(b"ERRF") => (16..=16 + TEXT_BYTES_MAX).contains(&size),
            Some(b"RHEF") => (16..=16 + 2 * TEXT_BYTES_MAX).contains(&size),
            Some(b"OPNF") => (32..=16_384).contains(&size),
            Some(_) => size >= 24,
            None => false,
        };
        if is_right { Probe::Certain } else { Probe::NotForUs }
    }

    fn new() -> Self {
        Opcua::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= HEADER_BYTES) {
            let Some(size) = header(rest) else {
                if !std::mem::replace(&mut self.is_lost[index], true) {
                    context.anomaly("invalid_message", None);
                }
                return Progress::Used(bytes.len());
            };
            self.is_lost[index] = false;
            let needed = size.min(LOOKED_AT_BYTES);
            let Some(message) = rest.get(..needed) else { break };
            self.message(message, size, context);
            at += size;
        }
        Progress::Used(at)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.is_lost[context.direction.index()] = true;
        Progress::Used(0)
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

const KINDS: [&[u8; 4]; 11] =
    [b"HELF", b"ACKF", b"ERRF", b"RHEF", b"OPNF", b"CLOF", b"MSGF", b"MSGC", b"MSGA", b"OPNC", b"CLOC"];

/// The size of the message that begins here.
fn header(bytes: &[u8]) -> Option<usize> {
    let kind: &[u8; 4] = bytes.first_chunk()?;
    let size = le32(bytes, 4)? as usize;
    (KINDS.contains(&kind) && (HEADER_BYTES + 4..=MESSAGE_BYTES_MAX).contains(&size)).then_some(size)
}

/// A string: its length, -1 for none, and its bytes; and what is behind it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = le32(bytes, 0)?;
    let rest = bytes.get(4..)?;
    if length == u32::MAX {
        return Some((&[], rest));
    }
    let length = length as usize;
    (length <= TEXT_BYTES_MAX).then_some(())?;
    Some((rest.get(..length).unwrap_or(rest), rest.get(length..).unwrap_or_default()))
}

impl Opcua {
    fn message(&mut self, bytes: &[u8], size: usize, context: &mut Context<'_>) {
        let body = bytes.get(HEADER_BYTES..).unwrap_or_default();
        let direction = context.direction;
        let transaction = self.messages;
        self.messages += 1;
        let Some(kind) = bytes.get(..3) else { return };
        match kind {
            b"HEL" => {
                let endpoint = body.get(20..).and_then(string).map_or(&[][..], |(text, _)| text);
                context.metadata.add(Field::EndpointName, &String::from_utf8_lossy(endpoint));
                context.tell(direction, Some(transaction), |object| {
                    object.text("type", "hello");
                    write_sizes(body, object);
                    object.bytes("endpoint_url", endpoint);
                });
            }
            b"ACK" => context.tell(direction, Some(transaction), |object| {
                object.text("type", "acknowledge");
                write_sizes(body, object);
            }),
            b"RHE" => {
                let server = string(body);
                context.tell(direction, Some(transaction), |object| {
                    object.text("type", "reverse_hello");
                    if let Some((server, rest)) = server {
                        object.bytes("server_uri", server);
                        object.bytes("endpoint_url", string(rest).map_or(&[][..], |(text, _)| text));
                    }
                });
            }
            b"ERR" => {
                let code = le32(body, 0).unwrap_or(0);
                let reason = body.get(4..).and_then(string).map_or(&[][..], |(text, _)| text);
                context.metadata.add(Field::Status, &format!("0x{code:08x}"));
                context.tell(direction, Some(transaction), |object| {
                    object.text("type", "error").display("code", format_args!("0x{code:08x}"));
                    object.bytes("reason", reason);
                });
            }
            b"OPN" => {
                let policy = body.get(4..).and_then(string).map_or(&[][..], |(text, _)| text);
                let policy = String::from_utf8_lossy(policy);
                let name = policy.rsplit_once('#').map_or("", |(_, name)| name);
                self.is_secret |= name != "None";
                context.metadata.set_text(Field::Domain, name);
                context.metadata.add(Field::Command, "OpenSecureChannel");
                context.tell(direction, Some(transaction), |object| {
                    object.text("type", "open").number("channel_id", le32(body, 0).unwrap_or(0));
                    object.text("security_policy", name);
                });
            }
            b"CLO" => context.tell(direction, Some(transaction), |object| {
                object.text("type", "close").number("channel_id", le32(body, 0).unwrap_or(0));
            }),
            _ => self.service(body, size, transaction, context),
        }
    }

    /// A message of a service: channel, token, sequence, request, then the service's number.
    fn service(&self, body: &[u8], size: usize, transaction: u64, context: &mut Context<'_>) {
        const NODE_AT: usize = 16;
        if self.is_secret {
            return;
        }
        let node = match u8_at(body, NODE_AT) {
            Some(0) => u8_at(body, NODE_AT + 1).map(u16::from),
            Some(1) if u8_at(body, NODE_AT + 1) == Some(0) => le16(body, NODE_AT + 2),
            _ => None,
        };
        let Some(node) = node else { return };
        let name = service_name(node);
        if let Some(name) = name {
            let field = if name.ends_with("Fault") { Field::Status } else { Field::Command };
            context.metadata.add(field, name.trim_end_matches("Response").trim_end_matches("Request"));
        }
        let direction = context.direction;
        context.tell(direction, Some(transaction), |object| {
            object.text("type", "message").number("channel_id", le32(body, 0).unwrap_or(0));
            object.number("request_id", le32(body, 12).unwrap_or(0)).number("service_id", node);
            object.text_if("service", name).number("size", size);
        });
    }
}

fn write_sizes(body: &[u8], object: &mut Object<'_>) {
    let keys = ["version", "receive_buffer_size", "send_buffer_size", "max_message_size", "max_chunk_count"];
    for (at, key) in keys.into_iter().enumerate() {
        if let Some(number) = le32(body, 4 * at) {
            object.number(key, number);
        }
    }
}

/// The binary encodings of the services' messages in namespace 0.
fn service_name(node: u16) -> Option<&'static str> {
    Some(match node {
        397 => "ServiceFault",
        422 => "FindServersRequest",
        425 => "FindServersResponse",
        428 => "GetEndpointsRequest",
        431 => "GetEndpointsResponse",
        437 => "RegisterServerRequest",
        440 => "RegisterServerResponse",
        446 => "OpenSecureChannelRequest",
        449 => "OpenSecureChannelResponse",
        452 => "CloseSecureChannelRequest",
        455 => "CloseSecureChannelResponse",
        461 => "CreateSessionRequest",
        464 => "CreateSessionResponse",
        467 => "ActivateSessionRequest",
        470 => "ActivateSessionResponse",
        473 => "CloseSessionRequest",
        476 => "CloseSessionResponse",
        479 => "CancelRequest",
        482 => "CancelResponse",
        488 => "AddNodesRequest",
        491 => "AddNodesResponse",
        500 => "DeleteNodesRequest",
        503 => "DeleteNodesResponse",
        527 => "BrowseRequest",
        530 => "BrowseResponse",
        533 => "BrowseNextRequest",
        536 => "BrowseNextResponse",
        554 => "TranslateBrowsePathsToNodeIdsRequest",
        557 => "TranslateBrowsePathsToNodeIdsResponse",
        560 => "RegisterNodesRequest",
        563 => "RegisterNodesResponse",
        566 => "UnregisterNodesRequest",
        569 => "UnregisterNodesResponse",
        631 => "ReadRequest",
        634 => "ReadResponse",
        664 => "HistoryReadRequest",
        667 => "HistoryReadResponse",
        673 => "WriteRequest",
        676 => "WriteResponse",
        700 => "HistoryUpdateRequest",
        703 => "HistoryUpdateResponse",
        712 => "CallRequest",
        715 => "CallResponse",
        751 => "CreateMonitoredItemsRequest",
        754 => "CreateMonitoredItemsResponse",
        763 => "ModifyMonitoredItemsRequest",
        766 => "ModifyMonitoredItemsResponse",
        769 => "SetMonitoringModeRequest",
        772 => "SetMonitoringModeResponse",
        781 => "DeleteMonitoredItemsRequest",
        784 => "DeleteMonitoredItemsResponse",
        787 => "CreateSubscriptionRequest",
        790 => "CreateSubscriptionResponse",
        793 => "ModifySubscriptionRequest",
        796 => "ModifySubscriptionResponse",
        799 => "SetPublishingModeRequest",
        802 => "SetPublishingModeResponse",
        826 => "PublishRequest",
        829 => "PublishResponse",
        832 => "RepublishRequest",
        835 => "RepublishResponse",
        841 => "TransferSubscriptionsRequest",
        844 => "TransferSubscriptionsResponse",
        847 => "DeleteSubscriptionsRequest",
        850 => "DeleteSubscriptionsResponse",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, survives_damage};
    use weir_common::net::Direction;

    fn message(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [&kind[..], &((HEADER_BYTES + body.len()) as u32).to_le_bytes(), body].concat()
    }

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
    }

    fn client() -> Vec<u8> {
        let url = "opc.tcp://plc.example:4840";
        let hello = message(b"HELF", &[&[0, 0, 0, 0][..], &[0, 0, 1, 0].repeat(4), &text(url)].concat());
        let policy = text("http://opcfoundation.org/UA/SecurityPolicy#None");
        let open = message(b"OPNF", &[&[0; 4][..], &policy, &[0xff; 8], &[1; 16]].concat());
        let read =
            [&1u32.to_le_bytes()[..], &[1; 8], &5u32.to_le_bytes(), &[1, 0, 0x77, 0x02], &[0; 700]].concat();
        [hello, open, message(b"MSGF", &read)].concat()
    }

    #[test]
    fn endpoints_policies_and_services_are_told() {
        let trial = Trial::<Opcua>::new().client(&client());
        assert_eq!((trial.malformed, trial.events.len()), (0, 3));
        assert_eq!(trial.text(Field::EndpointName), "opc.tcp://plc.example:4840");
        assert_eq!(trial.text(Field::Domain), "None");
        let body: serde_json::Value = serde_json::from_slice(&trial.events[2].body).unwrap();
        let want = serde_json::json!({
            "type": "message", "channel_id": 1, "request_id": 5, "service_id": 631, "service": "ReadRequest",
            "size": 728,
        });
        assert_eq!(body, want);
        let pieces = client().chunks(50).fold(Trial::<Opcua>::new(), |trial, piece| trial.client(piece));
        assert_eq!(pieces.learned(), trial.learned());
    }

    #[test]
    fn damage_is_survived() {
        survives_damage::<Opcua>(&client()[..300], &message(b"ACKF", &[0; 20]));
    }

    #[test]
    fn only_messages_of_the_right_size_are_recognised() {
        let probe = |bytes: &[u8]| Opcua::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        assert_eq!(probe(&client()), Probe::Certain);
        assert!((1..8).all(|cut| probe(&client()[..cut]) == Probe::Unsure));
        assert_eq!(probe(&message(b"ACKF", &[0; 21])), Probe::NotForUs);
        assert_eq!(probe(b"HELLO WORLD"), Probe::NotForUs);
    }
}
