//! The applications that deep packet inspection can recognise: one closed list for both programs.

/// Declares [`App`] with each variant's name and the name that EVE gives it.
macro_rules! apps {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $name:literal),* $(,)?) => {
        /// An application protocol, recognised by content. The number is stable: it is stored.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum App {
            /// Not recognised, or not yet.
            #[default]
            Unknown = 0,
            $($(#[$doc])* $variant = $number,)*
        }

        impl App {
            /// Every application that can be recognised.
            pub const ALL: &[App] = &[$(App::$variant),*];

            /// The name used in EVE's `app_proto`, in IPFIX `applicationName`, in queries.
            pub const fn name(self) -> &'static str {
                match self {
                    App::Unknown => "unknown",
                    $(App::$variant => $name,)*
                }
            }

            /// Whether it carries other applications without being one for its users: a flow keeps its name whatever
            /// is found inside.
            pub const fn is_carrier(self) -> bool {
                matches!(self, App::Socks | App::Proxy)
            }

            /// The type of its events in EVE, and the key of their bodies.
            pub const fn event_name(self) -> &'static str {
                match self {
                    App::FtpData => "ftp_data",
                    App::BittorrentDht => "bittorrent_dht",
                    other => other.name(),
                }
            }

            /// The application of a name, as [`App::name`] gives it.
            pub fn from_name(name: &str) -> Option<App> {
                match name {
                    "unknown" | "failed" | "" => Some(App::Unknown),
                    $($name => Some(App::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

apps! {
    /// Domain Name System, RFC 1035.
    Dns = 1 "dns",
    /// HTTP/1.x, RFC 9112.
    Http = 2 "http",
    /// TLS over TCP, RFC 8446 and before.
    Tls = 3 "tls",
    /// Secure Shell, RFC 4253.
    Ssh = 4 "ssh",
    /// HTTP/2, RFC 9113.
    Http2 = 5 "http2",
    /// WebSocket, RFC 6455.
    WebSocket = 6 "websocket",
    /// QUIC, RFC 9000 and RFC 9369, and Google's before.
    Quic = 7 "quic",
    /// DTLS, RFC 9147 and before.
    Dtls = 8 "dtls",
    /// Multicast DNS, RFC 6762.
    Mdns = 9 "mdns",
    /// Link-local multicast name resolution, RFC 4795.
    Llmnr = 10 "llmnr",
    /// Simple Mail Transfer Protocol, RFC 5321.
    Smtp = 11 "smtp",
    /// Internet Message Access Protocol, RFC 9051.
    Imap = 12 "imap",
    /// Post Office Protocol 3, RFC 1939.
    Pop3 = 13 "pop3",
    /// File Transfer Protocol, control connection, RFC 959.
    Ftp = 14 "ftp",
    /// File Transfer Protocol, data connection, RFC 959.
    FtpData = 15 "ftp-data",
    /// Trivial File Transfer Protocol, RFC 1350.
    Tftp = 16 "tftp",
    /// Network File System over ONC RPC, RFC 1813 and RFC 8881.
    Nfs = 17 "nfs",
    /// ONC RPC other than NFS (portmap, mount), RFC 5531.
    Rpc = 18 "rpc",
    /// Telnet, RFC 854.
    Telnet = 19 "telnet",
    /// Internet Relay Chat, RFC 2812.
    Irc = 20 "irc",
    /// Remote framebuffer (VNC), RFC 6143.
    Rfb = 21 "rfb",
    /// Remote Desktop Protocol, MS-RDPBCGR.
    Rdp = 22 "rdp",
    /// Syslog, RFC 5424 and RFC 3164.
    Syslog = 23 "syslog",
    /// Network News Transfer Protocol, RFC 3977.
    Nntp = 24 "nntp",
    /// Server Message Block 1 to 3, MS-CIFS and MS-SMB2.
    Smb = 25 "smb",
    /// DCE/RPC, MS-RPCE.
    DceRpc = 26 "dcerpc",
    /// Kerberos 5, RFC 4120.
    Krb5 = 27 "krb5",
    /// Lightweight Directory Access Protocol, RFC 4511; CLDAP.
    Ldap = 28 "ldap",
    /// NetBIOS name, datagram and session services, RFC 1002.
    Netbios = 29 "netbios",
    /// RADIUS, RFC 2865.
    Radius = 30 "radius",
    /// Dynamic Host Configuration Protocol, RFC 2131.
    Dhcp = 31 "dhcp",
    /// DHCP for IPv6, RFC 8415.
    Dhcpv6 = 32 "dhcpv6",
    /// Network Time Protocol, RFC 5905.
    Ntp = 33 "ntp",
    /// Simple Network Management Protocol 1 to 3, RFC 3416.
    Snmp = 34 "snmp",
    /// Internet Key Exchange, RFC 7296 and RFC 2408, and ESP in UDP.
    Ike = 35 "ike",
    /// Session Initiation Protocol, RFC 3261.
    Sip = 36 "sip",
    /// Real-time Transport Protocol, RFC 3550.
    Rtp = 37 "rtp",
    /// RTP control, RFC 3550.
    Rtcp = 38 "rtcp",
    /// Real-Time Streaming Protocol, RFC 7826 and RFC 2326.
    Rtsp = 39 "rtsp",
    /// STUN and TURN, RFC 8489 and RFC 8656.
    Stun = 40 "stun",
    /// MySQL's client protocol.
    Mysql = 41 "mysql",
    /// PostgreSQL's frontend protocol.
    Pgsql = 42 "pgsql",
    /// Tabular Data Stream (Microsoft SQL Server), MS-TDS.
    Tds = 43 "tds",
    /// MongoDB's wire protocol.
    Mongodb = 44 "mongodb",
    /// Redis serialization protocol.
    Redis = 45 "redis",
    /// Memcached, text and binary.
    Memcached = 46 "memcached",
    /// MQTT 3 and 5.
    Mqtt = 47 "mqtt",
    /// AMQP 0-9-1 and 1.0.
    Amqp = 48 "amqp",
    /// Modbus/TCP.
    Modbus = 49 "modbus",
    /// DNP3, IEEE 1815.
    Dnp3 = 50 "dnp3",
    /// EtherNet/IP with CIP.
    Enip = 51 "enip",
    /// Siemens S7 communication.
    S7comm = 52 "s7comm",
    /// IEC 60870-5-104.
    Iec104 = 53 "iec104",
    /// BACnet/IP.
    Bacnet = 54 "bacnet",
    /// OPC UA binary, IEC 62541-6.
    Opcua = 55 "opcua",
    /// Constrained Application Protocol, RFC 7252.
    Coap = 56 "coap",
    /// BitTorrent, peer wire, uTP and local discovery.
    Bittorrent = 57 "bittorrent",
    /// BitTorrent's distributed hash table, BEP 5.
    BittorrentDht = 58 "bittorrent-dht",
    /// WireGuard.
    Wireguard = 59 "wireguard",
    /// OpenVPN.
    Openvpn = 60 "openvpn",
    /// Point-to-Point Tunneling Protocol, RFC 2637.
    Pptp = 61 "pptp",
    /// SOCKS 4 and 5, RFC 1928.
    Socks = 62 "socks",
    /// Simple Service Discovery Protocol (UPnP).
    Ssdp = 63 "ssdp",
    /// DNS over HTTP/2, RFC 8484.
    Doh2 = 64 "doh2",
    // Recognised by name only.
    /// Beckhoff ADS/AMS.
    Ads = 100 "ads",
    /// Apple Filing Protocol.
    Afp = 101 "afp",
    /// Apache JServ Protocol.
    Ajp = 102 "ajp",
    /// Automatic tank gauges.
    Atg = 103 "atg",
    /// Binary Floor Control Protocol, RFC 8855.
    Bfcp = 104 "bfcp",
    /// Bidirectional Forwarding Detection, RFC 5880.
    Bfd = 105 "bfd",
    /// Border Gateway Protocol, RFC 4271.
    Bgp = 106 "bgp",
    /// Bitcoin.
    Bitcoin = 107 "bitcoin",
    /// ANSI C12.22.
    C1222 = 108 "c1222",
    /// CAN over UDP.
    Canbus = 109 "can",
    /// CAPWAP, RFC 5415.
    Capwap = 110 "capwap",
    /// Cassandra's native protocol.
    Cassandra = 111 "cassandra",
    /// Ceph's messenger.
    Ceph = 112 "ceph",
    /// Checkmk's agent.
    Checkmk = 113 "checkmk",
    /// CIP I/O.
    Cip = 114 "cip",
    /// EIA-852 (LonTalk over IP).
    CnpIp = 115 "cnp-ip",
    /// collectd's binary protocol.
    Collectd = 116 "collectd",
    /// Diameter, RFC 6733.
    Diameter = 117 "diameter",
    /// Dynamic Link Exchange Protocol, RFC 8175.
    Dlep = 118 "dlep",
    /// DLMS/COSEM.
    Dlms = 119 "dlms",
    /// DNSCrypt.
    Dnscrypt = 120 "dnscrypt",
    /// Distributed Relational Database Architecture.
    Drda = 121 "drda",
    /// eDonkey and Kad.
    Edonkey = 122 "edonkey",
    /// Ethernet Global Data.
    Egd = 123 "egd",
    /// Elasticsearch's transport.
    Elasticsearch = 124 "elasticsearch",
    /// Ethereum's discovery and RLPx.
    Ethereum = 125 "ethereum",
    /// SAIA Ether-S-Bus.
    Ethersbus = 126 "ethersbus",
    /// SAIA Ether-S-I/O.
    Ethersio = 127 "ethersio",
    /// FastCGI.
    Fastcgi = 128 "fastcgi",
    /// Omron FINS.
    Fins = 129 "fins",
    /// Financial Information eXchange.
    Fix = 130 "fix",
    /// FLUTE and ALC, RFC 6726.
    Flute = 131 "flute",
    /// Gearman.
    Gearman = 132 "gearman",
    /// CORBA's GIOP.
    Giop = 133 "giop",
    /// Git's native transport.
    Git = 134 "git",
    /// Gnutella.
    Gnutella = 135 "gnutella",
    /// GPRS Tunnelling Protocol.
    Gtp = 136 "gtp",
    /// H.323.
    H323 = 137 "h323",
    /// HART-IP.
    HartIp = 138 "hart-ip",
    /// HiSLIP.
    Hislip = 139 "hislip",
    /// HL7 version 2 over MLLP.
    Hl7 = 140 "hl7",
    /// Hot Standby Router Protocol, RFC 2281.
    Hsrp = 141 "hsrp",
    /// Inter-Asterisk eXchange 2, RFC 5456.
    Iax2 = 142 "iax2",
    /// iSCSI, RFC 7143.
    Iscsi = 143 "iscsi",
    /// Java RMI.
    JavaRmi = 144 "java-rmi",
    /// JSON-RPC over TCP.
    JsonRpc = 145 "json-rpc",
    /// Apache Kafka.
    Kafka = 146 "kafka",
    /// Kismet's remote capture.
    Kismet = 147 "kismet",
    /// KNXnet/IP.
    Knxip = 148 "knxip",
    /// Label Distribution Protocol, RFC 5036.
    Ldp = 149 "ldp",
    /// Locator/ID Separation Protocol, RFC 9301.
    Lisp = 150 "lisp",
    /// Lustre's LNet.
    Lustre = 151 "lustre",
    /// Megaco (H.248), RFC 3525.
    Megaco = 152 "megaco",
    /// Media Gateway Control Protocol, RFC 3435.
    Mgcp = 153 "mgcp",
    /// Manufacturing Message Specification.
    Mms = 154 "mms",
    /// Monero.
    Monero = 155 "monero",
    /// MPEG transport stream.
    Mpegts = 156 "mpegts",
    /// Mumble.
    Mumble = 157 "mumble",
    /// Munin's node.
    Munin = 158 "munin",
    /// Nano.
    Nano = 159 "nano",
    /// NAT-PMP and PCP, RFC 6886 and RFC 6887.
    NatPmp = 160 "nat-pmp",
    /// NATS.
    Nats = 161 "nats",
    /// NetFlow and IPFIX.
    Netflow = 162 "netflow",
    /// OpenFlow.
    Openflow = 163 "openflow",
    /// ActiveMQ OpenWire.
    Openwire = 164 "openwire",
    /// Packet Forwarding Control Protocol.
    Pfcp = 165 "pfcp",
    /// Protocol buffers over TCP or UDP.
    Protobuf = 166 "protobuf",
    /// PROXY protocol (HAProxy).
    Proxy = 167 "proxy",
    /// Precision Time Protocol, IEEE 1588.
    Ptp = 168 "ptp",
    /// Raft.
    Raft = 169 "raft",
    /// Roughtime.
    Roughtime = 170 "roughtime",
    /// RMCP (IPMI, ASF).
    Rmcp = 171 "rmcp",
    /// Remote shell and login.
    Rsh = 172 "rsh",
    /// rsync.
    Rsync = 173 "rsync",
    /// Real-Time Messaging Protocol.
    Rtmp = 174 "rtmp",
    /// RTPS (DDS).
    Rtps = 175 "rtps",
    /// Rx (AFS).
    Rx = 176 "rx",
    /// Siemens S7 communication plus.
    S7commPlus = 177 "s7comm-plus",
    /// Skinny Client Control Protocol.
    Sccp = 178 "sccp",
    /// sFlow.
    Sflow = 179 "sflow",
    /// Service Location Protocol, RFC 2608.
    Slp = 180 "slp",
    /// SMPP.
    Smpp = 181 "smpp",
    /// SOME/IP.
    Someip = 182 "someip",
    /// STOMP.
    Stomp = 183 "stomp",
    /// Stratum (mining).
    Stratum = 184 "stratum",
    /// Syncthing.
    Syncthing = 185 "syncthing",
    /// IEEE C37.118 synchrophasors.
    Synphasor = 186 "synphasor",
    /// TeamSpeak.
    Teamspeak = 187 "teamspeak",
    /// Teredo, RFC 4380.
    Teredo = 188 "teredo",
    /// Apache Thrift.
    Thrift = 189 "thrift",
    /// tinc.
    Tinc = 190 "tinc",
    /// Oracle TNS.
    Tns = 191 "tns",
    /// TRDP (IEC 61375).
    Trdp = 192 "trdp",
    /// UFTP.
    Uftp = 193 "uftp",
    /// VXLAN, RFC 7348.
    Vxlan = 194 "vxlan",
    /// GENEVE, RFC 8926.
    Geneve = 195 "geneve",
    /// WHOIS, RFC 3912.
    Whois = 196 "whois",
    /// WS-Discovery.
    WsDiscovery = 197 "ws-discovery",
    /// X Display Manager Control Protocol.
    Xdmcp = 198 "xdmcp",
    /// XMPP, RFC 6120.
    Xmpp = 199 "xmpp",
    /// X Window System.
    X11 = 200 "x11",
    /// Z39.50.
    Z3950 = 201 "z3950",
    /// Zabbix.
    Zabbix = 202 "zabbix",
    /// L2TP, RFC 2661.
    L2tp = 203 "l2tp",
    /// Routing Information Protocol, RFC 2453.
    Rip = 204 "rip",
    /// TACACS+, RFC 8907.
    Tacacs = 205 "tacacs",
    /// Finger, RFC 1288.
    Finger = 206 "finger",
    /// Gopher, RFC 1436.
    Gopher = 207 "gopher",
    /// Tor's directory outside TLS.
    Tor = 208 "tor",
    /// ZeroMQ's ZMTP.
    Zeromq = 209 "zeromq",
    /// Apache ZooKeeper.
    Zookeeper = 210 "zookeeper",
    /// PROFINET over UDP.
    Profinet = 211 "profinet",
    /// Canon BJNP.
    Bjnp = 212 "bjnp",
    /// SOAP outside HTTP.
    Soap = 213 "soap",
    /// Niagara Fox.
    Fox = 214 "fox",
    /// Remote login, RFC 1282.
    Rlogin = 240 "rlogin",
    // Products and games with protocols of their own, recognised by name only.
    /// activision's own protocol.
    Activision = 300 "activision",
    /// alicloud's own protocol.
    Alicloud = 301 "alicloud",
    /// amongus's own protocol.
    Amongus = 302 "amongus",
    /// avast's own protocol.
    Avast = 303 "avast",
    /// avastsecuredns's own protocol.
    Avastsecuredns = 304 "avastsecuredns",
    /// ciscovpn's own protocol.
    Ciscovpn = 305 "ciscovpn",
    /// citrix's own protocol.
    Citrix = 306 "citrix",
    /// cloudflarewarp's own protocol.
    Cloudflarewarp = 307 "cloudflarewarp",
    /// cod-mobile's own protocol.
    CodMobile = 308 "cod-mobile",
    /// cpha's own protocol.
    Cpha = 309 "cpha",
    /// crynetwork's own protocol.
    Crynetwork = 310 "crynetwork",
    /// dingtalk's own protocol.
    Dingtalk = 311 "dingtalk",
    /// discord's own protocol.
    Discord = 312 "discord",
    /// dropbox's own protocol.
    Dropbox = 313 "dropbox",
    /// eaq's own protocol.
    Eaq = 314 "eaq",
    /// epicgames's own protocol.
    Epicgames = 315 "epicgames",
    /// gaijinentertainment's own protocol.
    Gaijinentertainment = 316 "gaijinentertainment",
    /// genshinimpact's own protocol.
    Genshinimpact = 317 "genshinimpact",
    /// halflife2's own protocol.
    Halflife2 = 318 "halflife2",
    /// heroes-of-the-storm's own protocol.
    HeroesOfTheStorm = 319 "heroes-of-the-storm",
    /// hp-virtgrp's own protocol.
    HpVirtgrp = 320 "hp-virtgrp",
    /// i3d's own protocol.
    I3d = 321 "i3d",
    /// imo's own protocol.
    Imo = 322 "imo",
    /// iqiyi's own protocol.
    Iqiyi = 323 "iqiyi",
    /// kakaotalk-voice's own protocol.
    KakaotalkVoice = 324 "kakaotalk-voice",
    /// kcp's own protocol.
    Kcp = 325 "kcp",
    /// linecall's own protocol.
    Linecall = 326 "linecall",
    /// lolwildrift's own protocol.
    Lolwildrift = 327 "lolwildrift",
    /// lotusnotes's own protocol.
    Lotusnotes = 328 "lotusnotes",
    /// maplestory's own protocol.
    Maplestory = 329 "maplestory",
    /// merakicloud's own protocol.
    Merakicloud = 330 "merakicloud",
    /// nestlogsink's own protocol.
    Nestlogsink = 331 "nestlogsink",
    /// neteasegames's own protocol.
    Neteasegames = 332 "neteasegames",
    /// nintendo's own protocol.
    Nintendo = 333 "nintendo",
    /// nomachine's own protocol.
    Nomachine = 334 "nomachine",
    /// nordvpn's own protocol.
    Nordvpn = 335 "nordvpn",
    /// oicq's own protocol.
    Oicq = 336 "oicq",
    /// ookla's own protocol.
    Ookla = 337 "ookla",
    /// pathofexile's own protocol.
    Pathofexile = 338 "pathofexile",
    /// radmin's own protocol.
    Radmin = 339 "radmin",
    /// raknet's own protocol.
    Raknet = 340 "raknet",
    /// riotgames's own protocol.
    Riotgames = 341 "riotgames",
    /// ripeatlas's own protocol.
    Ripeatlas = 342 "ripeatlas",
    /// sd-rtn's own protocol.
    SdRtn = 343 "sd-rtn",
    /// skype-teamscall's own protocol.
    SkypeTeamscall = 344 "skype-teamscall",
    /// softether's own protocol.
    Softether = 345 "softether",
    /// sonos's own protocol.
    Sonos = 346 "sonos",
    /// source-engine's own protocol.
    SourceEngine = 347 "source-engine",
    /// spotify's own protocol.
    Spotify = 348 "spotify",
    /// starcraft's own protocol.
    Starcraft = 349 "starcraft",
    /// steam's own protocol.
    Steam = 350 "steam",
    /// steamdatagramrelay's own protocol.
    Steamdatagramrelay = 351 "steamdatagramrelay",
    /// tailscale's own protocol.
    Tailscale = 352 "tailscale",
    /// targusdataspeed's own protocol.
    Targusdataspeed = 353 "targusdataspeed",
    /// teamviewer's own protocol.
    Teamviewer = 354 "teamviewer",
    /// telegram's own protocol.
    Telegram = 355 "telegram",
    /// tencentgames's own protocol.
    Tencentgames = 356 "tencentgames",
    /// tes-online's own protocol.
    TesOnline = 357 "tes-online",
    /// threema's own protocol.
    Threema = 358 "threema",
    /// tivoconnect's own protocol.
    Tivoconnect = 359 "tivoconnect",
    /// tocaboca's own protocol.
    Tocaboca = 360 "tocaboca",
    /// tplink-shp's own protocol.
    TplinkShp = 361 "tplink-shp",
    /// truphone's own protocol.
    Truphone = 362 "truphone",
    /// tuyalp's own protocol.
    Tuyalp = 363 "tuyalp",
    /// ubntac2's own protocol.
    Ubntac2 = 364 "ubntac2",
    /// ultrasurf's own protocol.
    Ultrasurf = 365 "ultrasurf",
    /// viber's own protocol.
    Viber = 366 "viber",
    /// vmware's own protocol.
    Vmware = 367 "vmware",
    /// webex's own protocol.
    Webex = 368 "webex",
    /// whatsapp's own protocol.
    Whatsapp = 369 "whatsapp",
    /// worldofwarcraft's own protocol.
    Worldofwarcraft = 370 "worldofwarcraft",
    /// xiaomi's own protocol.
    Xiaomi = 371 "xiaomi",
    /// yojimbo's own protocol.
    Yojimbo = 372 "yojimbo",
    /// zerotier's own protocol.
    Zerotier = 373 "zerotier",
    /// zoom's own protocol.
    Zoom = 374 "zoom",
    /// zug's own protocol.
    Zug = 375 "zug",
    /// anydesk's own protocol.
    Anydesk = 376 "anydesk",
    /// rustdesk's own protocol.
    Rustdesk = 377 "rustdesk",
    /// quake3's own protocol.
    Quake3 = 378 "quake3",
    /// minecraft's own protocol.
    Minecraft = 379 "minecraft",
    /// hamachi's own protocol.
    Hamachi = 380 "hamachi",
    /// Microsoft's Delivery Optimization.
    Msdo = 381 "msdo",
    /// The SQL Server Resolution Protocol, which says at which port an instance listens (MC-SQLR).
    MsSqlM = 382 "ms-sql-m",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_application() {
        for app in App::ALL {
            assert_eq!(App::from_name(app.name()), Some(*app));
        }
        assert_eq!(App::from_name("gophers"), None);
    }
}
