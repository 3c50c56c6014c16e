//! Protocols that are recognised and not read further: each one function and one line here.
//!
//! In: a flow's first bytes. Out: whether they are the protocol's. The same rules as for
//! [`super::Dissector::probe`] hold: a function is strict, since it sees every unknown flow; it is cheap; it may
//! use the ports as evidence beside the content, never alone.

mod industry;
mod peers;

pub(super) use industry::cotp_data;

use super::{First, Probe, Starts};
use weir_common::app::App;

/// A protocol that is known by name only.
pub(super) struct Recogniser {
    pub(super) app: App,
    pub(super) starts: Starts,
    pub(super) probe: fn(&First<'_>) -> Probe,
}

/// Every one of them, in the order in which they are asked.
pub(super) const RECOGNISERS: &[Recogniser] = &[
    // Industry.
    Recogniser { app: App::S7commPlus, starts: Starts::stream(&[3]), probe: industry::s7comm_plus },
    Recogniser { app: App::Mms, starts: Starts::stream(&[3]), probe: industry::mms },
    Recogniser { app: App::Synphasor, starts: Starts::both(&[0xaa]), probe: industry::synchrophasor },
    Recogniser { app: App::HartIp, starts: Starts::both(&[1]), probe: industry::hart_ip },
    Recogniser {
        app: App::Fins,
        starts: Starts::stream(b"F").or(Starts::datagram(&[0x80, 0x81, 0xc0, 0xc1])),
        probe: industry::fins,
    },
    Recogniser {
        app: App::Ads,
        starts: Starts::stream(&[0, 1, 2]).or(Starts::datagram(&[0x71])),
        probe: industry::ads,
    },
    Recogniser { app: App::Knxip, starts: Starts::both(&[6]), probe: industry::knxnet_ip },
    Recogniser { app: App::Egd, starts: Starts::datagram(&[0x0d]), probe: industry::egd },
    Recogniser { app: App::Ethersbus, starts: Starts::datagram(&[0]), probe: industry::ether_s_bus },
    Recogniser { app: App::Ethersio, starts: Starts::datagram(b"E"), probe: industry::ether_s_io },
    Recogniser { app: App::Dlms, starts: Starts::both(&[0, 0x7e]), probe: industry::dlms },
    Recogniser { app: App::C1222, starts: Starts::both(&[0x60]), probe: industry::c1222 },
    Recogniser { app: App::CnpIp, starts: Starts::datagram(&[0, 1, 2, 3, 4, 5]), probe: industry::cnp_ip },
    Recogniser { app: App::Trdp, starts: Starts::ANY, probe: industry::trdp },
    Recogniser { app: App::Profinet, starts: Starts::DATAGRAM, probe: industry::profinet },
    Recogniser { app: App::Fox, starts: Starts::stream(b"f"), probe: industry::fox },
    Recogniser { app: App::Someip, starts: Starts::ANY, probe: industry::some_ip },
    Recogniser { app: App::Rtps, starts: Starts::both(b"R"), probe: industry::rtps },
    Recogniser { app: App::Canbus, starts: Starts::datagram(b"I"), probe: industry::can },
    Recogniser { app: App::Cip, starts: Starts::datagram(&[2]), probe: industry::cip_io },
    Recogniser {
        app: App::Atg,
        starts: Starts::stream(&[1, b'\r', b'\n', b'I', b'S', b'i', b's']),
        probe: industry::tank_gauge,
    },
    // Peers.
    Recogniser {
        app: App::Bitcoin,
        starts: Starts::stream(&[0xf9, 0x0b, 0xfa, 0x0a, 0x1c, 0xe3, 0xfb, 0xc0]),
        probe: peers::bitcoin,
    },
    Recogniser { app: App::Monero, starts: Starts::stream(&[1]), probe: peers::monero },
    Recogniser { app: App::Nano, starts: Starts::both(b"R"), probe: peers::nano },
    Recogniser { app: App::Stratum, starts: Starts::stream(b"{"), probe: peers::stratum },
    Recogniser {
        app: App::Edonkey,
        starts: Starts::stream(&[0xe3, 0xc5, 0xd4]).or(Starts::datagram(&[0xe3, 0xc5, 0xe4])),
        probe: peers::edonkey,
    },
    Recogniser {
        app: App::Gnutella,
        starts: Starts::stream(b"GH").or(Starts::DATAGRAM),
        probe: peers::gnutella,
    },
    Recogniser { app: App::Slp, starts: Starts::both(&[1, 2]), probe: peers::slp },
    Recogniser { app: App::NatPmp, starts: Starts::datagram(&[0, 1, 2]), probe: peers::nat_pmp },
    Recogniser { app: App::WsDiscovery, starts: Starts::datagram(b"< \r\n\xef"), probe: peers::ws_discovery },
    Recogniser {
        app: App::Dnscrypt,
        starts: Starts::datagram(b"r").or(Starts::STREAM),
        probe: peers::dnscrypt,
    },
    Recogniser { app: App::Bittorrent, starts: Starts::datagram(&[0]), probe: peers::tracker },
    Recogniser { app: App::Bittorrent, starts: Starts::datagram(b"B"), probe: peers::local_discovery },
    Recogniser {
        app: App::Bittorrent,
        starts: Starts::datagram(&[0x01, 0x11, 0x21, 0x31, 0x41]),
        probe: peers::utp,
    },
    Recogniser {
        app: App::Ethereum,
        starts: Starts::DATAGRAM.or(Starts::stream(&[0, 1, 2, 3, 4])),
        probe: peers::ethereum,
    },
];
