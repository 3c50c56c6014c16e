//! A flow for tests: says bytes in either direction and tells what inspection made of them.

use super::buffers::Wanted;
use super::config::DpiConfig;
use super::{CutOff, Event, Inspection, Inspector};
use crate::counters::DpiCounters;
use crate::decode::{Ip, LinkHeader, Packet, Tcp, Transport};
use std::sync::Arc;
use weir_common::app::App;
use weir_common::metadata::{Field, Metadata, Value};
use weir_common::net::{Address, Direction, protocol};
use weir_common::record::tcp_flags;
use weir_common::time::Timestamp;

pub(super) const CLIENT: Direction = Direction::Forward;
pub(super) const SERVER: Direction = Direction::Reverse;

/// One flow with its own inspector. Time is the number of the packet.
pub(super) struct Talk {
    pub(super) inspector: Inspector,
    pub(super) slot: Option<Box<Inspection>>,
    pub(super) counters: DpiCounters,
    pub(super) events: Vec<Event>,
    pub(super) has_events: bool,
    protocol: u8,
    sequences: [u32; 2],
    packets: u64,
    /// The ends' ports.
    ports: [u16; 2],
    is_joined: bool,
}

/// What a flow came to.
pub(super) struct Told {
    pub(super) app: App,
    pub(super) metadata: Metadata,
    pub(super) events: Vec<Event>,
    pub(super) counters: DpiCounters,
}

impl Talk {
    pub(super) fn tcp() -> Talk {
        Talk::new(protocol::TCP)
    }

    pub(super) fn udp() -> Talk {
        Talk::new(protocol::UDP)
    }

    pub(super) fn with(mut self, config: DpiConfig) -> Talk {
        self.inspector = Inspector::new(&config);
        self
    }

    /// The ciphertext of these applications is left out.
    pub(super) fn with_cut_off(mut self, names: &[&str]) -> Talk {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.inspector = Inspector::new(&DpiConfig::default()).with_cut_off(CutOff::parse(&names).unwrap());
        self
    }

    /// Signatures look into these parts.
    pub(super) fn wanting(mut self, wanted: Wanted) -> Talk {
        self.inspector.set_wanted(Some(Arc::new(wanted)));
        self
    }

    pub(super) fn without_events(mut self) -> Talk {
        self.has_events = false;
        self
    }

    fn new(protocol: u8) -> Talk {
        Talk {
            inspector: Inspector::new(&DpiConfig::default()),
            slot: None,
            counters: DpiCounters::default(),
            events: Vec::new(),
            has_events: true,
            protocol,
            sequences: [1000, u32::MAX - 20],
            packets: 0,
            ports: [1, 2],
            is_joined: false,
        }
    }

    /// A connection between these ports whose beginning was not seen.
    pub(super) fn joined(ports: [u16; 2]) -> Talk {
        Talk { ports, is_joined: true, ..Talk::tcp() }
    }

    /// The next bytes of a direction, which acknowledge everything said by the other.
    pub(super) fn say(mut self, direction: Direction, bytes: impl AsRef<[u8]>) -> Talk {
        let bytes = bytes.as_ref();
        let sequence = self.sequences[direction.index()];
        self.packet(direction, sequence, tcp_flags::ACK | tcp_flags::PSH, bytes);
        self.lose(direction, bytes.len())
    }

    /// So many bytes of a direction are never captured.
    pub(super) fn lose(mut self, direction: Direction, bytes: usize) -> Talk {
        let sequence = &mut self.sequences[direction.index()];
        *sequence = sequence.wrapping_add(bytes as u32);
        self
    }

    /// An acknowledgement without bytes.
    pub(super) fn acknowledge(mut self, direction: Direction) -> Talk {
        let sequence = self.sequences[direction.index()];
        self.packet(direction, sequence, tcp_flags::ACK, &[]);
        self
    }

    /// Any packet; the other direction's bytes are acknowledged when `flags` says so.
    pub(super) fn packet(&mut self, direction: Direction, sequence: u32, flags: u16, payload: &[u8]) {
        self.packets += 1;
        let packet = self.make(direction, sequence, flags, payload);
        let events = self.has_events.then_some(&mut self.events);
        let time = Timestamp(self.packets);
        let seen = (direction, self.is_joined);
        self.inspector.inspect(&mut self.slot, &packet, seen, time, events, &mut self.counters);
    }

    /// Whether a packet's payload is to be cut off, by what is known before it.
    pub(super) fn is_cut_off(&mut self, direction: Direction, sequence: u32) -> bool {
        let packet = self.make(direction, sequence, tcp_flags::ACK, &[0; 100]);
        self.slot.as_mut().is_some_and(|inspection| inspection.kept_of(&packet, direction).is_some())
    }

    fn make<'a>(&self, direction: Direction, sequence: u32, flags: u16, payload: &'a [u8]) -> Packet<'a> {
        let (source, destination) = (self.ports[direction.index()], self.ports[direction.flip().index()]);
        let transport = match self.protocol {
            protocol::TCP => Transport::Tcp(Tcp {
                source,
                destination,
                sequence,
                acknowledgement: self.sequences[direction.flip().index()],
                flags,
                window: 1000,
            }),
            _ => Transport::Ports { source, destination },
        };
        let ip = Ip {
            source: Address::v4([192, 0, 2, 1]),
            destination: Address::v4([192, 0, 2, 2]),
            protocol: self.protocol,
            octets: 0,
            ttl: 64,
            tos: 0,
            is_fragment: false,
        };
        Packet {
            vlans: [0; 2],
            ip,
            transport,
            payload,
            early: None,
            is_partial: false,
            is_cut: false,
            tunnel_depth: 0,
            payload_missing: 0,
            link: LinkHeader::NONE,
            frame_octets: 0,
            network: &[],
        }
    }

    /// Where a direction goes on.
    pub(super) fn sequence(&self, direction: Direction) -> u32 {
        self.sequences[direction.index()]
    }

    /// Ends the flow.
    pub(super) fn end(mut self) -> Told {
        let events = self.has_events.then_some(&mut self.events);
        let time = Timestamp(self.packets + 1);
        let finished = self.inspector.finish(self.slot.take(), time, events, &mut self.counters);
        let (app, metadata) = (finished.app, finished.metadata);
        assert_eq!(self.inspector.held_bytes(), 0);
        assert_eq!(self.counters.events, self.events.len() as u64);
        let metadata = metadata.map(|metadata| *metadata).unwrap_or_default();
        Told { app, metadata, events: self.events, counters: self.counters }
    }
}

impl Told {
    /// The metadata, one field a line.
    pub(super) fn fields(&self) -> String {
        let line = |(field, value): (Field, &Value)| match value {
            Value::Text(text) => format!("{} {text}\n", field.key()),
            Value::Number(number) => format!("{} {number}\n", field.key()),
            Value::TextList(list) => format!("{} {}\n", field.key(), list.join(" ")),
        };
        self.metadata.iter().map(line).collect()
    }

    /// The events' bodies, one a line, each parsed to be sure that it is JSON.
    pub(super) fn bodies(&self) -> String {
        let line = |event: &Event| {
            serde_json::from_slice::<serde_json::Value>(&event.body).unwrap();
            String::from_utf8(event.body.clone()).unwrap() + "\n"
        };
        self.events.iter().map(line).collect()
    }
}
