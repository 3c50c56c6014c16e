//! BitTorrent between peers (BEP 3): the handshake in the clear.
//!
//! In: both directions of a stream. Out: the torrent's hash, the peers' programs, and one event for the
//! connection. Pieces and everything obfuscated are not looked at. uTP, trackers and local discovery are only
//! named (`recognise/peers.rs`); the distributed hash table is `bittorrent_dht.rs`.

use crate::dpi::bytes::hex;
use crate::dpi::{Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

const PROTOCOL: &[u8] = b"\x13BitTorrent protocol";
/// Bytes of the handshake: protocol, reserved bits, hash, peer.
const HANDSHAKE_BYTES: usize = 20 + 8 + 20 + 20;

/// The dissector of one connection.
#[derive(Debug, Default)]
pub(super) struct Bittorrent {
    peers: [Option<[u8; 20]>; 2],
    hash: Option<[u8; 20]>,
    is_told: bool,
}

impl Dissector for Bittorrent {
    const APP: App = App::Bittorrent;

    const STARTS: Starts = Starts::stream(&[PROTOCOL[0]]);

    fn probe(first: &First<'_>) -> Probe {
        match first.bytes.get(..PROTOCOL.len()) {
            Some(start) if start == PROTOCOL => Probe::Certain,
            None if PROTOCOL.starts_with(first.bytes) => Probe::Unsure,
            _ => Probe::NotForUs,
        }
    }

    fn new() -> Self {
        Bittorrent::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        if self.peers[index].is_some() {
            return Progress::Used(bytes.len());
        }
        let Some(handshake) = bytes.get(..HANDSHAKE_BYTES) else { return Progress::Used(0) };
        if !handshake.starts_with(PROTOCOL) {
            self.tell(context);
            return Progress::Done;
        }
        let hash: Option<[u8; 20]> = handshake.get(28..).and_then(|rest| rest.first_chunk().copied());
        let peer: Option<[u8; 20]> = handshake.last_chunk().copied();
        self.peers[index] = peer;
        self.hash = self.hash.or(hash);
        if let Some(hash) = hash {
            context.metadata.add(Field::Object, &hex(&hash, hash.len()));
        }
        if let Some(client) = peer.as_ref().and_then(client) {
            let field = match context.direction {
                Direction::Forward => Field::ClientSoftware,
                Direction::Reverse => Field::ServerSoftware,
            };
            context.metadata.set_text(field, &client);
        }
        if self.peers.iter().all(Option::is_some) {
            self.tell(context);
            return Progress::Done;
        }
        Progress::Used(HANDSHAKE_BYTES)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.tell(context);
        Progress::Done
    }

    fn close(&mut self, context: &mut Context<'_>) {
        self.tell(context);
    }
}

impl Bittorrent {
    fn tell(&mut self, context: &mut Context<'_>) {
        let Some(hash) = self.hash else { return };
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        let peers = self.peers;
        context.tell(Direction::Forward, None, |object| {
            object.text("info_hash", &hex(&hash, hash.len()));
            for (key, peer) in [("client", peers[0]), ("server", peers[1])] {
                if let Some(peer) = peer {
                    let mut object = object.object(key);
                    object
                        .text("peer_id", &hex(&peer, peer.len()))
                        .text_if("software", client(&peer).as_deref());
                }
            }
        });
    }
}

/// The program that a peer's number names: `-XXvvvv-` (Azureus' style).
fn client(peer: &[u8; 20]) -> Option<String> {
    let [b'-', name @ .., b'-'] = peer.get(..8)? else { return None };
    std::str::from_utf8(name)
        .ok()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};

    fn handshake(peer: &[u8; 20]) -> Vec<u8> {
        [PROTOCOL, &[0; 8], &[0xab; 20], peer].concat()
    }

    #[test]
    fn both_peers_and_the_torrent_are_told() {
        let (client, server) = (handshake(b"-UT3530-abcdefghijkl"), handshake(b"-TR2840-abcdefghijkl"));
        let trial = Trial::<Bittorrent>::new().client(&client).server(&server);
        assert_eq!(trial.end, Some(Progress::Done));
        assert_eq!(trial.text(Field::ClientSoftware), "UT3530");
        assert_eq!(trial.text(Field::ServerSoftware), "TR2840");
        assert_eq!(trial.text(Field::Object), "ab".repeat(20));
        assert_eq!(trial.event()["server"]["software"], "TR2840");
        cuts_do_not_matter::<Bittorrent>(&client, &server);
        survives_damage::<Bittorrent>(&client, &server);
    }

    #[test]
    fn only_the_handshake_is_recognised() {
        let probe = |bytes: &[u8]| Bittorrent::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        assert_eq!(probe(PROTOCOL), Probe::Certain);
        assert_eq!(probe(&PROTOCOL[..19]), Probe::Unsure);
        assert_eq!(probe(b"\x13BitTorrent protocox"), Probe::NotForUs);
    }
}
