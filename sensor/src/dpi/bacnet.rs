//! BACnet/IP (ANSI/ASHRAE 135 annex J): building automation over UDP.
//!
//! In: datagrams. Out: services called, objects they are about, devices that announce themselves, and one event
//! per message. Segments are told one by one and not put together; values are not read.

use crate::dpi::bytes::{be16, be32, u8_at};
use crate::dpi::{Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;

const TYPE: u8 = 0x81;
const PORT: u16 = 47_808;

/// The dissector of one flow.
#[derive(Debug, Default)]
pub(super) struct Bacnet {
    messages: u64,
}

/// What is read of a message.
#[derive(Debug, Default)]
struct Message<'a> {
    function: u8,
    /// The kind of application message, and the service where there is one.
    kind: Option<u8>,
    service: Option<u8>,
    invoke: Option<u8>,
    /// A message of the network layer itself.
    network: Option<u8>,
    /// The application data behind the service.
    data: &'a [u8],
}

impl<'a> Message<'a> {
    fn read(bytes: &'a [u8]) -> Option<Message<'a>> {
        const FORWARDED: u8 = 4;
        let [TYPE, function, _, _] = *bytes.first_chunk::<4>()? else { return None };
        let mut message = Message { function, ..Message::default() };
        if usize::from(be16(bytes, 2)?) != bytes.len() || function > 0x0c {
            return None;
        }
        // Unicast, broadcast, forwarded, distributed: these carry a network message.
        if !matches!(function, FORWARDED | 9..=11) {
            return (bytes.len() <= 64 || matches!(function, 1 | 3 | 7 | 12)).then_some(message);
        }
        let network = bytes.get(if function == FORWARDED { 10 } else { 4 }..)?;
        let (1, control) = (u8_at(network, 0)?, u8_at(network, 1)?) else { return None };
        // Reserved bits.
        if control & 0x50 != 0 {
            return None;
        }
        let mut at = 2;
        if control & 0x20 != 0 {
            at += 3 + usize::from(u8_at(network, at + 2)?);
        }
        if control & 0x08 != 0 {
            at += 3 + usize::from(u8_at(network, at + 2)?);
        }
        if control & 0x20 != 0 {
            at += 1;
        }
        if control & 0x80 != 0 {
            message.network = Some(u8_at(network, at)?);
            return Some(message);
        }
        let application = network.get(at..)?;
        let head = u8_at(application, 0)?;
        let (kind, is_segmented) = (head >> 4, head & 8 != 0);
        message.kind = Some(kind);
        // Where the invoke identifier and the service stand (clause 20.1).
        let (invoke, service) = match (kind, is_segmented) {
            (0, false) => (Some(2), Some(3)),
            (0, true) => (Some(2), Some(5)),
            (1, _) => (None, Some(1)),
            (2 | 5 | 3, false) => (Some(1), Some(2)),
            (3, true) => (Some(1), Some(4)),
            (4 | 6 | 7, _) => (Some(1), None),
            _ => return None,
        };
        message.invoke = match invoke {
            Some(at) => Some(u8_at(application, at)?),
            None => None,
        };
        if let Some(at) = service {
            message.service = Some(u8_at(application, at)?);
            message.data = application.get(at + 1..).unwrap_or_default();
        }
        Some(message)
    }

    fn is_confirmed(&self) -> bool {
        self.kind != Some(1)
    }

    fn service_name(&self) -> Option<&'static str> {
        self.service.map(|service| service_name(self.is_confirmed(), service))
    }

    /// The first object identifier of the data: context or application tag, type and instance.
    fn object(&self) -> Option<(u16, u32)> {
        // Who-Is and time have other things there.
        let is_first = matches!(
            (self.is_confirmed(), self.service?),
            (false, 0 | 2) | (true, 6..=9 | 12 | 14..=16 | 26)
        );
        if !is_first || !matches!(u8_at(self.data, 0)?, 0x0c | 0xc4) {
            return None;
        }
        let identifier = be32(self.data, 1)?;
        Some(((identifier >> 22) as u16, identifier & 0x3f_ffff))
    }

    fn write(&self, object: &mut Object<'_>) {
        object.number("function", self.function).text("function_name", function_name(self.function));
        if let Some(network) = self.network {
            object.number("network_message", network);
        }
        if let Some(kind) = self.kind {
            object.text("type", kind_name(kind));
        }
        if let Some(invoke) = self.invoke {
            object.number("invoke_id", invoke);
        }
        object.text_if("service", self.service_name());
        if let Some((kind, instance)) = self.object() {
            object.text("object_type", &object_name(kind)).number("object_instance", instance);
        }
    }
}

impl Dissector for Bacnet {
    const APP: App = App::Bacnet;

    const STARTS: Starts = Starts::datagram(&[TYPE]);

    fn probe(first: &First<'_>) -> Probe {
        match Message::read(first.bytes) {
            Some(message) if message.kind.is_some() || message.network.is_some() => Probe::Certain,
            Some(_) if first.has_port(PORT) => Probe::Certain,
            Some(_) => Probe::Likely,
            None => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Bacnet::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let Some(message) = Message::read(bytes) else {
            context.anomaly("malformed_message", None);
            return Progress::Used(bytes.len());
        };
        let transaction = self.messages;
        self.messages += 1;
        let command = message.service_name().unwrap_or(function_name(message.function));
        context.metadata.add(Field::Command, command);
        if let Some((kind, instance)) = message.object() {
            let text = format!("{}:{instance}", object_name(kind));
            context.metadata.add(Field::Object, &text);
            if !message.is_confirmed() {
                context.metadata.add(Field::EndpointName, &text);
            }
        }
        if let Some(kind @ 5..=7) = message.kind {
            context.metadata.add(Field::Status, kind_name(kind));
        }
        let direction = context.direction;
        context.tell(direction, Some(transaction), |object| message.write(object));
        Progress::Used(bytes.len())
    }

    fn gap(&mut self, _: u64, _: &mut Context<'_>) -> Progress {
        Progress::Done
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

fn function_name(function: u8) -> &'static str {
    const NAMES: [&str; 13] = [
        "result",
        "write_broadcast_distribution_table",
        "read_broadcast_distribution_table",
        "read_broadcast_distribution_table_ack",
        "forwarded_npdu",
        "register_foreign_device",
        "read_foreign_device_table",
        "read_foreign_device_table_ack",
        "delete_foreign_device_table_entry",
        "distribute_broadcast_to_network",
        "original_unicast_npdu",
        "original_broadcast_npdu",
        "secure_bvll",
    ];
    NAMES.get(usize::from(function)).copied().unwrap_or("unknown")
}

fn kind_name(kind: u8) -> &'static str {
    const NAMES: [&str; 8] = [
        "confirmed_request",
        "unconfirmed_request",
        "simple_ack",
        "complex_ack",
        "segment_ack",
        "error",
        "reject",
        "abort",
    ];
    NAMES.get(usize::from(kind)).copied().unwrap_or("unknown")
}

fn service_name(is_confirmed: bool, service: u8) -> &'static str {
    const CONFIRMED: [&str; 33] = [
        "acknowledge_alarm",
        "confirmed_cov_notification",
        "confirmed_event_notification",
        "get_alarm_summary",
        "get_enrollment_summary",
        "subscribe_cov",
        "atomic_read_file",
        "atomic_write_file",
        "add_list_element",
        "remove_list_element",
        "create_object",
        "delete_object",
        "read_property",
        "read_property_conditional",
        "read_property_multiple",
        "write_property",
        "write_property_multiple",
        "device_communication_control",
        "confirmed_private_transfer",
        "confirmed_text_message",
        "reinitialize_device",
        "vt_open",
        "vt_close",
        "vt_data",
        "authenticate",
        "request_key",
        "read_range",
        "life_safety_operation",
        "subscribe_cov_property",
        "get_event_information",
        "subscribe_cov_property_multiple",
        "confirmed_cov_notification_multiple",
        "confirmed_audit_notification",
    ];
    const UNCONFIRMED: [&str; 11] = [
        "i_am",
        "i_have",
        "unconfirmed_cov_notification",
        "unconfirmed_event_notification",
        "unconfirmed_private_transfer",
        "unconfirmed_text_message",
        "time_synchronization",
        "who_has",
        "who_is",
        "utc_time_synchronization",
        "write_group",
    ];
    let names = if is_confirmed { &CONFIRMED[..] } else { &UNCONFIRMED[..] };
    names.get(usize::from(service)).copied().unwrap_or("unknown")
}

fn object_name(kind: u16) -> std::borrow::Cow<'static, str> {
    const NAMES: [&str; 20] = [
        "analog_input",
        "analog_output",
        "analog_value",
        "binary_input",
        "binary_output",
        "binary_value",
        "calendar",
        "command",
        "device",
        "event_enrollment",
        "file",
        "group",
        "loop",
        "multi_state_input",
        "multi_state_output",
        "notification_class",
        "program",
        "schedule",
        "averaging",
        "multi_state_value",
    ];
    NAMES.get(usize::from(kind)).map_or_else(|| kind.to_string().into(), |name| (*name).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, survives_damaged_datagrams};
    use weir_common::net::Direction;

    /// Device 1234 announces itself to everybody.
    const I_AM: &[u8] = &[
        0x81, 0x0b, 0, 24, 1, 0x20, 0xff, 0xff, 0, 0xff, 0x10, 0, 0xc4, 2, 0, 4, 0xd2, 0x22, 5, 0xc4, 0x91,
        3, 0x21, 8,
    ];
    const READ: &[u8] = &[0x81, 0x0a, 0, 17, 1, 4, 2, 0x75, 7, 0x0c, 0x0c, 0, 0, 0, 5, 0x19, 0x55];

    #[test]
    fn services_and_objects_are_told() {
        let trial = Trial::<Bacnet>::new().over_datagrams().client(I_AM).client(READ);
        assert_eq!(trial.text(Field::EndpointName), "device:1234");
        let body: serde_json::Value = serde_json::from_slice(&trial.events[1].body).unwrap();
        let want = serde_json::json!({
            "function": 10, "function_name": "original_unicast_npdu", "type": "confirmed_request",
            "invoke_id": 7, "service": "read_property", "object_type": "analog_input", "object_instance": 5,
        });
        assert_eq!(body, want);
        survives_damaged_datagrams::<Bacnet>(&[(Direction::Forward, I_AM), (Direction::Reverse, READ)]);
    }

    #[test]
    fn lengths_and_versions_must_be_right() {
        let probe = |bytes: &[u8]| Bacnet::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes));
        assert_eq!(probe(I_AM), Probe::Certain);
        assert_eq!(probe(&I_AM[..20]), Probe::NotForUs);
        assert_eq!(probe(&[0x81, 0x0b, 0, 8, 2, 0x20, 0xff, 0xff]), Probe::NotForUs);
        // Register foreign device.
        assert_eq!(probe(&[0x81, 5, 0, 6, 0, 60]), Probe::Likely);
    }
}
