//! What each recogniser knows by, from both sides where both have a mark, and that nobody else claims it.
//!
//! Bytes are written from the protocols' specifications.

use super::*;
use crate::dpi::Carrier::{self, Datagram, Stream};
use crate::dpi::parser::{Candidates, Found, probe};
use weir_common::net::Direction;

/// Application, carrier, ports, and what is said, in hexadecimal between texts: `hex 'text' hex`.
type Sample = (App, Carrier, [u16; 2], &'static str);

const ANY: [u16; 2] = [40_000, 40_001];

#[rustfmt::skip]
const SAMPLES: &[Sample] = &[
    // Text.
    (App::Checkmk, Stream, ANY, "'<<<check_mk>>>' 0a"),
    (App::Munin, Stream, ANY, "'# munin node at host.example' 0a"),
    (App::Munin, Stream, ANY, "'cap multigraph dirtyconfig' 0a"),
    (App::Rsync, Stream, ANY, "'@RSYNCD: 31.0 sha512 sha256' 0a"),
    (App::Git, Stream, ANY, "'0033git-upload-pack /project.git' 00 'host=example' 00"),
    (App::Git, Stream, ANY, "'00a0' '0123456789abcdef0123456789abcdef01234567' ' HEAD' 00 'multi_ack'"),
    (App::Git, Stream, ANY, "'000eversion 2' 0a"),
    (App::Hl7, Stream, ANY, "0b 'MSH|^~\\&|A|B' 0d"),
    (App::Fix, Stream, ANY, "'8=FIX.4.4' 01 '9=62' 01 '35=A' 01"),
    (App::Fix, Stream, ANY, "'8=FIXT.1.1' 01 '9=62' 01 '35=A' 01"),
    (App::Kismet, Stream, ANY, "'*KISMET: 0.0.0 1 ' 01 'Kismet' 01"),
    (App::Kismet, Stream, ANY, "decafbad 00000001 00000010"),
    (App::Megaco, Datagram, ANY, "'MEGACO/1 [192.0.2.1]:2944 Transaction = 1 {'"),
    (App::Megaco, Stream, ANY, "03000040 '!/1 <a> T=1{C=-{'"),
    (App::Mgcp, Datagram, ANY, "'CRCX 1204 aaln/1@gw.example MGCP 1.0' 0d0a"),
    (App::Mgcp, Datagram, [2427, 2727], "'200 1204 OK' 0d0a"),
    (App::JsonRpc, Stream, ANY, "'{\"jsonrpc\": \"2.0\", \"method\": \"echo\", \"id\": 1}'"),
    (App::JsonRpc, Stream, ANY, "'{\"id\":1,\"method\":\"get_schema\",\"params\":[\"_Server\"]}'"),
    (App::Soap, Stream, ANY, "'<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\">'"),
    (App::Whois, Stream, [40_000, 43], "'example.com' 0d0a"),
    (App::Finger, Stream, [40_000, 79], "'root' 0d0a"),
    (App::Gopher, Stream, [40_000, 70], "'/docs' 0d0a"),
    (App::Zabbix, Stream, ANY, "'ZBXD' 01 1400000000000000 '{\"request\"'"),
    (App::Tivoconnect, Datagram, ANY, "'TiVoConnect=1' 0a 'swversion=1.0' 0a"),
    // Network.
    (App::Bfd, Datagram, [49_152, 3784], "20c00318 00000001 00000000 000f4240 000f4240 00000000"),
    (App::Bfd, Datagram, [3785, 3785], "01180000 3a4c6225 00000000 000128b8 00000000 0009045c"),
    (App::Bgp, Stream, ANY, "ffffffffffffffffffffffffffffffff 001d 01 04 fde8 00b4 c0000201 00"),
    (App::Capwap, Datagram, [40_000, 5246], "00100200 00000000 00000001 01 0008 00 0014 0001 00"),
    (App::Capwap, Datagram, [40_000, 5247], "00100208 00000000 0016 0023 0010 00112233445566778899aabbccddeeff"),
    (App::Dlep, Datagram, ANY, "'DLEP' 0001 0008 0004 0004 'abcd'"),
    (App::Dlep, Stream, ANY, "0001 0010 0005 0004 0000ea60 0004 0004 'peer'"),
    (App::Gtp, Datagram, [2123, 2123], "32 01 0004 00000000 00010000"),
    (App::Gtp, Datagram, [2123, 2123], "40 01 0009 00000100 03 00 01 00 05"),
    (App::Gtp, Datagram, [2152, 2152], "30 ff 0014 00000001 45000014 0000 0000 40 fd 0000 c0000201 c0000202"),
    (App::Pfcp, Datagram, [8805, 8805], "20 01 000c 00000100 0060 0004 e0000000"),
    (App::Hsrp, Datagram, [1985, 1985], "00 00 10 03 0a 64 01 00 'cisco' 000000 c0000201"),
    (App::Ldp, Datagram, [646, 646], "0001 001e c0000201 0000 0100 0014 00000000 0400 0004 000f 0000 0401 0004 c0000201"),
    (App::Ldp, Stream, [646, 40_000], "0001 0020 c0000201 0000 0200 0016 00000001 0500 000e 0001 001e 00 00 1000 c0000202 0000"),
    (App::Lisp, Datagram, [4342, 4342], "10000001 0123456789abcdef 0001 c0000201 0001 c0000202 00 20 0001 c0000203"),
    (App::Lisp, Stream, ANY, "0014 000f 00000000 000000 9facade9"),
    (App::Netflow, Datagram, ANY, "0009 0001 00000001 5d67a80c 00000001 00000000 0100 0008 01020304"),
    (App::Netflow, Datagram, ANY, "000a 0018 5d67a80c 00000001 00000000 0100 0008 01020304"),
    (App::Netflow, Stream, ANY, "000a 0018 5d67a80c 00000001 00000000 0100 0008 01020304"),
    (App::Sflow, Datagram, ANY, "00000005 00000001 c0000201 00000000 00000001 00000064 00000001 00000001 00000004 01020304"),
    (App::Openflow, Stream, ANY, "04 00 0010 00000001 0001 0008 00000012"),
    (App::Openflow, Stream, [40_000, 6653], "01 00 0008 00000001"),
    (App::Openflow, Stream, [40_000, 6653], "04 02 0008 00000000"),
    (App::Ptp, Datagram, [319, 319],
        "00 02 002c 00 00 0200 0000000000000000 00000000 0011223344556677 0001 0001 00 00 00000000000000000000"),
    (App::Rip, Datagram, [520, 520], "02 02 0000 0002 0000 c0000200 ffffff00 00000000 00000001"),
    (App::Vxlan, Datagram, [40_000, 4789], "08000000 00000a00 ffffffffffff 020000000001 0806 0001"),
    (App::Geneve, Datagram, [40_000, 6081], "0000 6558 00000a00 ffffffffffff 020000000001 0806 0001"),
    (App::Teredo, Datagram, [40_000, 3544],
        "60000000 0000 3b 15 20010000c000020100000000c0000202 fe800000000000000000000000000001"),
    (App::L2tp, Datagram, [1701, 1701], "c802 0014 0000 0000 0000 0000 8008 0000 0000 0001"),
    (App::Rmcp, Datagram, [40_000, 623], "0600ff07 00 00000000 00000000 09 2018c88100388e04b5"),
    (App::Rmcp, Datagram, [40_000, 623], "0600ff06 000011be 80 00 00 00"),
    (App::Roughtime, Datagram, ANY, "02000000 40000000 'NONC' 'PAD' ff 0000000000000000"),
    (App::Roughtime, Stream, ANY, "'ROUGHTIM' 00040000 04000000 04000000"),
    (App::Tacacs, Stream, [40_000, 49], "c0 01 01 00 12345678 00000008 0102030405060708"),
    (App::MsSqlM, Datagram, [40_000, 1434], "02"),
    (App::MsSqlM, Datagram, [40_000, 1434], "04 'SQLEXPRESS' 00"),
    (App::MsSqlM, Datagram, [40_000, 1434], "0f 01 'SQLEXPRESS' 00"),
    (App::MsSqlM, Datagram, ANY, "05 1b00 'ServerName;ILSUNG1;tcp;1433'"),
    (App::MsSqlM, Datagram, [1434, 40_000], "05 0600 01 9905"),
    (App::Collectd, Datagram, ANY, "0000 0008 'abc' 00 0001 000c 0000000050000000 0002 0008 'cpu' 00"),
    (App::Diameter, Stream, ANY, "01 000024 80 000101 00000000 00000001 00000002 00000108 4000000d 'a.b.c' 000000"),
    (App::Hislip, Stream, ANY, "'HS' 00 00 01005858 0000000000000007 'hislip0'"),
    // Voice and pictures.
    (App::Bfcp, Stream, ANY, "20 01 0001 00000001 0001 0001 0404 0001"),
    (App::H323, Stream, ANY, "0300 0010 08 02 0001 05 04038090a5 0000"),
    (App::H323, Datagram, ANY, "0e 80 4692 06 0008914a0006 0001"),
    (App::Iax2, Datagram, ANY, "8001 0000 00000000 00 00 06 01 0b020002"),
    (App::Sccp, Stream, [40_000, 2000], "18000000 00000000 01000000 'SEP001122334455' 00 00000000"),
    (App::Teamspeak, Datagram, ANY, "'TS3INIT1' 0065 0000 88 0dd05766 00"),
    (App::Flute, Datagram, ANY, "10 a0 06 00 00000000 00000001 00000000 c0100001 c0100001 00000000 '<?xml'"),
    (App::Rtmp, Stream, [40_000, 1935], "03 00000001 00000000 0102030405060708"),
    (App::Smpp, Stream, ANY, "00000023 00000009 00000000 00000001 'system' 00 'secret' 00 00 34 00 00 00"),
    // Services.
    (App::Ajp, Stream, ANY, "1234 0001 0a"),
    (App::Ajp, Stream, ANY, "4142 0001 09"),
    (App::Elasticsearch, Stream, ANY, "'ES' 0000002d 0000000000000001 08 006acfc3 00000000"),
    (App::Elasticsearch, Stream, ANY, "'ES' 0000002d 0000000000000001 08 082032a7 00000000"),
    (App::Fastcgi, Stream, ANY, "01 01 0001 0008 00 00 0001 01 0000000000"),
    (App::Gearman, Stream, ANY, "00 'REQ' 00000001 00000005 'job_a'"),
    (App::Gearman, Stream, [40_000, 4730], "'status' 0a"),
    (App::Gearman, Stream, [40_000, 4730], "'show jobs' 0a"),
    (App::Giop, Stream, ANY, "'GIOP' 01 02 01 00 10000000"),
    (App::JavaRmi, Stream, ANY, "'JRMI' 0002 4b"),
    (App::JavaRmi, Stream, ANY, "'N' 0009 '127.0.0.1' 00008692"),
    (App::Raft, Stream, ANY, "0100000000000000 0200000000000000 1000000000000000 '127.0.0.1:9001' 0000"),
    (App::Rtps, Datagram, ANY, "'RTPS' 02 01 010f 0102030405060708090a0b0c"),
    (App::Syncthing, Datagram, ANY, "2ea7d90b 0a20 0102"),
    (App::Thrift, Stream, ANY, "80010001 00000004 'ping' 00000000 00"),
    (App::Thrift, Stream, ANY, "00000011 80010001 00000004 'ping' 00000000 00"),
    (App::Thrift, Datagram, ANY, "82 21 01 04 'emit' 00"),
    (App::Thrift, Stream, ANY, "0000000c 82210003 'add' 1502 1504 00"),
    (App::Thrift, Stream, ANY, "00000003 'add' 01 00000000 08 0001 00000001 08 0002 00000002 00"),
    (App::Thrift, Stream, ANY, "00000003 'add' 02 00000000 08 0000 00000003 00"),
    (App::Thrift, Stream, ANY, "0000001b 00000003 'add' 01 00000000 08 0001 00000001 08 0002 00000002 00"),
    (App::Thrift, Stream, ANY, "'[1,\"add\",1,0,{\"1\":{\"i32\":1},\"2\":{\"i32\":2}}]'"),
    (App::Nano, Stream, [40_000, 7075], "'RC' 14 14 12 0a 0500 00"),
    (App::Z3950, Stream, ANY, "b4 14 830200e0 840300e9a2 850404000000 8604 04000000"),
    (App::Zeromq, Stream, ANY, "ff 0000000000000001 7f 03 01 'NULL' 00000000"),
    (App::Zookeeper, Stream, ANY,
        "0000002c 00000000 0000000000000000 00007530 0000000000000000 00000010 00000000000000000000000000000000"),
    (App::Uftp, Datagram, ANY, "40 01 0000 0a000001 96f4c304 00 9d 00 00 01 02 0000 00000000"),
    // Storage.
    (App::Afp, Stream, [40_000, 548], "00 04 0001 00000000 00000006 00000000 01 04 00000400"),
    (App::Ceph, Stream, ANY, "'ceph v2' 0a 1000"),
    // From ceph-mon 16.2.15: hello, a keepalive's kind, a message of two segments.
    (App::Ceph, Stream, ANY, "010124000000080000000000000000000000000000000000000000003fbd6b06 01"),
    (App::Ceph, Stream, ANY, "1102290000000800cd00000008000000000000000000000000000000ce84b5fd 00"),
    (App::Iscsi, Stream, ANY,
        "43 87 0000 00 000010 000000000000 0000 00000000 0000 0000 00000001 00000000 00000000 00000000 00000000 \
         00000000 'InitiatorName=iq'"),
    (App::Lustre, Stream, ANY, "0071ceac 01000000 0102030405060708"),
    (App::Rx, Datagram, [7001, 7003], "d70fb330 5c224fac 00000001 00000001 00000001 01 05 00 00 0000 0034 00000206"),
    (App::Msdo, Stream, ANY, "0e 'Swarm protocol' 00"),
    // Products.
    (App::Dropbox, Datagram, [17_500, 17_500], "'{\"version\": [2, 0], \"port\": 17500, \"host_int\": 1}'"),
    (App::Spotify, Datagram, ANY, "'SpotUdp0' 00"),
    (App::Teamviewer, Stream, ANY, "17240a 0400 00000000"),
    (App::Whatsapp, Stream, ANY, "'WA' 06 03 00 0024"),
    (App::Avast, Stream, ANY, "'NOSA' 01 0060 01 01"),
    (App::Alicloud, Stream, ANY, "cefabeba 80000000"),
    (App::Tuyalp, Datagram, ANY, "000055aa 00000000 00000013 0000000c 00000000 01020304 0000aa55"),
    (App::Bjnp, Datagram, ANY, "'BJNP' 01 01 0000 0001 0000 00000000"),
    (App::TplinkShp, Datagram, ANY, "d0f281f88bff9af7d5ef94b6d1b4c09fec95e68fe187e8caf08bf68bf6"),
    (App::Ubntac2, Datagram, [10_001, 40_000], "01 00 0010 01 0003 '1.2' 02 0001 'x' 03 0003 'abc'"),
    (App::Ripeatlas, Datagram, ANY, "'MGLNDD_192.0.2.1_4711'"),
    (App::Xiaomi, Datagram, ANY, "21310020 ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff"),
    (App::Softether, Datagram, ANY, "'IP=192.0.2.1,PORT=40000'"),
    (App::Citrix, Stream, ANY, "7f7f 'ICA' 00 7f7f 'ICA' 00"),
    (App::Tailscale, Datagram, ANY, "'TS' f09f92ac 0102030405060708"),
    (App::Nomachine, Stream, ANY, "'NXD-7.6.2' 0a"),
    (App::Radmin, Stream, [40_000, 4899], "01 00000001 00000008 08"),
    (App::Vmware, Stream, ANY, "'220 VMware Authentication Daemon Version 1.10'"),
    (App::Merakicloud, Datagram, ANY, "fef72891 0d01 000c 00000000"),
    (App::Ookla, Stream, ANY, "'HELLO 2.4 2016-10-06' 0a"),
    // Games.
    (App::Raknet, Datagram, ANY, "05 00ffff00fefefefefdfdfdfd12345678 06 00"),
    (App::Raknet, Datagram, ANY, "84020000 00 0010 0304"),
    (App::SourceEngine, Datagram, ANY, "ffffffff 54 'Source Engine Query' 00"),
    (App::Quake3, Datagram, ANY, "ffffffff 'getstatus' 0a"),
    (App::Steam, Datagram, ANY, "ffffffff 214c5fa0 0a000000"),
    (App::Steam, Stream, ANY, "10000000 'VT01' 01020304"),
    (App::Minecraft, Stream, ANY, "10 00 fb05 09 'localhost' 63dd 01"),
    (App::Worldofwarcraft, Stream, ANY, "3000 'WORLD OF WARCRAFT CONNECTION - SERVER TO CLIENT' 00"),
    (App::Genshinimpact, Datagram, ANY, "000000ff 00000000 00000000 499602d2 ffffffff"),
    (App::Kcp, Datagram, ANY, "01000000 51 00 8000 00000000 00000000 00000000 02000000 0102"),
    (App::Nintendo, Datagram, ANY, "32ab9864 02 000000"),
    (App::Yojimbo, Datagram, ANY, "00 'NETCODE 1.02' 00"),
];

/// The bytes that a sample's text stands for.
fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, part) in text.split('\'').enumerate() {
        if at % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u8> = part.bytes().filter(u8::is_ascii_hexdigit).collect();
        assert_eq!(digits.len() % 2, 0, "{part}");
        let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
        bytes.extend(digits.chunks(2).map(|pair| digit(pair[0]) * 16 + digit(pair[1])));
    }
    bytes
}

fn first<'a>(carrier: Carrier, ports: [u16; 2], bytes: &'a [u8]) -> First<'a> {
    First::of(carrier, Direction::Forward, bytes).between(ports[0], ports[1])
}

/// What all of them together make of first bytes.
fn named(first: &First<'_>) -> Option<App> {
    match probe(&mut { Candidates::ALL }, first) {
        Found::Certain(parser) | Found::Likely(parser, _) => Some(parser.app()),
        Found::Nobody => None,
    }
}

fn recogniser(app: App) -> &'static Recogniser {
    RECOGNISERS.iter().find(|recogniser| recogniser.app == app).unwrap()
}

#[test]
fn each_is_known_by_its_first_bytes() {
    let wrong: Vec<String> = SAMPLES
        .iter()
        .filter_map(|(app, carrier, ports, text)| {
            let bytes = bytes_of(text);
            let said = named(&first(*carrier, *ports, &bytes));
            (said != Some(*app)).then(|| format!("{app:?}: {said:?} for {text}"))
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_real_software_sends_is_not_taken_for_others() {
    // MariaDB 10.11's OK and the end of a result, where a capture begins with them.
    for text in ["07000001 000000 02000000", "05000005 fe 0000 0200"] {
        let bytes = bytes_of(text);
        for ports in [ANY, [3306, 40_000]] {
            let said = named(&first(Stream, ports, &bytes));
            assert!(said.is_none_or(|said| said == App::Mysql), "{said:?} for {text}");
        }
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_is_not_said_no_to() {
    let mut wrong = Vec::new();
    for (app, carrier, ports, text) in SAMPLES.iter().filter(|(_, carrier, ..)| *carrier == Stream) {
        let bytes = bytes_of(text);
        for cut in 1..bytes.len() {
            let said = (recogniser(*app).probe)(&first(*carrier, *ports, &bytes[..cut]));
            if said == Probe::NotForUs {
                wrong.push(format!("{app:?} at {cut} of {text}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn damaged_bytes_are_survived_and_what_is_cut_short_is_nobodys_for_certain_by_another_name() {
    for (app, carrier, ports, text) in SAMPLES {
        let mut bytes = bytes_of(text);
        for cut in 0..bytes.len() {
            let said = named(&first(*carrier, *ports, &bytes[..cut]));
            assert!(said.is_none_or(|said| said == *app), "{app:?} cut at {cut} is {said:?}: {text}");
        }
        for at in 0..bytes.len() {
            let whole = bytes[at];
            for change in [0x01, 0x80, 0xff, whole] {
                bytes[at] = whole ^ change;
                for carrier in [Stream, Datagram] {
                    named(&first(carrier, *ports, &bytes));
                }
            }
            bytes[at] = whole;
        }
    }
}

#[test]
fn noise_is_nobodys() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut claimed = std::collections::BTreeMap::new();
    for _ in 0..200_000 {
        let mut bytes = [0; 64];
        for byte in &mut bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state as u8;
        }
        for carrier in [Stream, Datagram] {
            if let Some(app) = named(&first(carrier, ANY, &bytes)) {
                *claimed.entry(app.name()).or_insert(0) += 1;
            }
        }
    }
    let all: u32 = claimed.values().sum();
    assert!(all < 20, "of 400,000: {claimed:?}");
}

#[test]
fn every_recogniser_is_known_once_and_its_starts_let_its_samples_in() {
    for (app, carrier, _, text) in SAMPLES {
        let byte = bytes_of(text)[0];
        assert!(recogniser(*app).starts.has(*carrier, byte), "{app:?} {byte:02x}");
    }
    // Several may know an application by different marks, in one family.
    for (at, family) in FAMILIES.iter().enumerate() {
        for line in *family {
            let others = FAMILIES.iter().enumerate().filter(|(other, _)| *other != at);
            assert!(
                others.flat_map(|(_, other)| other.iter()).all(|other| other.app != line.app),
                "{:?}",
                line.app
            );
        }
    }
}

#[test]
fn a_sequence_of_datagrams_tells_what_one_does_not() {
    let digits = |last: u8| [&[0, 0, 1, last][..], &[7; 12]].concat();
    let (one, two) = (digits(1), digits(2));
    let alone = first(Datagram, [40_000, 6000], &two);
    assert_eq!(named(&alone), None);
    let after = First { before: crate::dpi::Glimpse::of(&one), ..alone };
    assert_eq!(named(&after), Some(App::Eaq));
    let ping = bytes_of("00000000 0102030405060708");
    let pong = bytes_of("00010204 0102030405060708 00000003 00000064 00011940");
    assert_eq!(named(&first(Datagram, [40_000, 64_738], &ping)), Some(App::Mumble));
    let answer = First { other: crate::dpi::Glimpse::of(&ping), ..first(Datagram, ANY, &pong) };
    assert_eq!(named(&answer), Some(App::Mumble));
}
