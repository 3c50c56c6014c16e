//! What inspection learned about a flow: a short list of named values.
//!
//! [`Field`] is the one table of those names. A row gives a field's application, its key in
//! `--records` and in the store, and the element that carries it in IPFIX; exporter, collector and
//! store read the table, so that a new protocol's field is one row here and nothing elsewhere.

use crate::app::App;
use std::borrow::Cow;

/// Most bytes kept of one text value; longer text is cut at a character border and marked with `…`.
pub const TEXT_BYTES_MAX: usize = 512;
/// Most values kept in one list; later ones are left out.
pub const LIST_VALUES_MAX: usize = 256;
/// Most bytes kept in one list, of all values together; what would exceed it is left out. So many long values
/// fit as 16 of the longest, and as many short ones (names, addresses) as one flow is likely to have.
pub const LIST_BYTES_MAX: usize = 16 * TEXT_BYTES_MAX;
/// Most bytes kept of a request's target, which is longer than other texts.
pub const TARGET_BYTES_MAX: usize = 2048;

/// How a field's value looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// UTF-8 text; bytes that are not UTF-8 are replaced.
    Text,
    /// An unsigned number.
    Number,
    /// Texts in the order seen, without repeats.
    TextList,
}

/// Where a field goes in IPFIX: enterprise number and element number. Enterprise 0 is IANA's registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ElementId {
    /// Private enterprise number; 0 for IANA. [`WEIR_PEN`] stands for the configured one.
    pub enterprise: u32,
    /// Element number, 1 to 32767.
    pub number: u16,
}

/// The private enterprise number of Weir's own elements: reserved for documentation by RFC 5612.
pub const WEIR_PEN: u32 = 32473;

const fn iana(number: u16) -> ElementId {
    ElementId { enterprise: 0, number }
}

const fn weir(number: u16) -> ElementId {
    ElementId { enterprise: WEIR_PEN, number }
}

/// Whose records carry a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Every application's.
    Every,
    /// Those of every application that does not describe itself wholly by fields of its own.
    Common,
    /// Those of every application that carries files.
    Files,
    /// One application's, and those that carry it along ([`Family::is_carried_by`]).
    Of(App),
}

impl Family {
    /// Whether records of an application carry the fields of this family.
    pub const fn is_carried_by(self, app: App) -> bool {
        match (self, app) {
            (_, App::Unknown) => false,
            (Family::Every, _) => true,
            (
                Family::Files,
                App::Http
                | App::Http2
                | App::Smtp
                | App::Imap
                | App::Pop3
                | App::Ftp
                | App::FtpData
                | App::Tftp
                | App::Smb
                | App::Nfs,
            ) => true,
            (Family::Files, _) => false,
            (Family::Common, App::Dns | App::Http | App::Tls | App::Ssh | App::Quic) => false,
            (Family::Common, _) => true,
            (Family::Of(App::DceRpc), App::Smb) => true,
            (Family::Of(App::Dns), App::Mdns | App::Llmnr | App::Doh2) => true,
            (Family::Of(App::Http), App::Http2 | App::WebSocket | App::Ssdp | App::Doh2) => true,
            (Family::Of(App::Tls), App::Quic | App::Dtls | App::Http2 | App::Doh2 | App::Openvpn) => true,
            (Family::Of(App::Smtp), App::Imap | App::Pop3 | App::Nntp) => true,
            (Family::Of(App::Dns | App::Http | App::Tls | App::Ssh), App::Socks | App::Proxy) => true,
            (Family::Of(own), _) => own as u16 == app as u16,
        }
    }
}

macro_rules! family {
    (Every) => {
        Family::Every
    };
    (Files) => {
        Family::Files
    };
    (Common) => {
        Family::Common
    };
    ($app:ident) => {
        Family::Of(App::$app)
    };
}

macro_rules! fields {
    ($($(#[$doc:meta])* $variant:ident $family:ident $shape:ident $key:literal $element_name:literal $element:expr;)*) => {
        /// One kind of thing that inspection can learn about a flow.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Field { $($(#[$doc])* $variant,)* }

        impl Field {
            /// Every field, in the order of the table.
            pub const ALL: &[Field] = &[$(Field::$variant),*];

            /// Whose records carry the field.
            pub const fn family(self) -> Family {
                match self { $(Field::$variant => family!($family),)* }
            }

            /// How the value looks.
            pub const fn shape(self) -> Shape {
                match self { $(Field::$variant => Shape::$shape,)* }
            }

            /// The key in `--records`, the column in the store.
            pub const fn key(self) -> &'static str {
                match self { $(Field::$variant => $key,)* }
            }

            /// The IPFIX element's name.
            pub const fn element_name(self) -> &'static str {
                match self { $(Field::$variant => $element_name,)* }
            }

            /// The IPFIX element.
            pub const fn element(self) -> ElementId {
                match self { $(Field::$variant => $element,)* }
            }
        }
    };
}

// Numbers of Weir's own elements are never reused. 1 to 99 belong to the flow itself (ipfix/elements.rs).
// Rows of one group of protocols stand together, numbers with room between the groups.
fields! {
    /// The application that the flow began with, where it changed (STARTTLS, an upgrade, a proxy).
    OriginalApp Every Text "app_proto_orig" "weirOriginalApplicationName" weir(400);
    /// The application inside, where the flow keeps the name of what carries it (a proxy).
    InnerApp Every Text "app_proto_inner" "weirInnerApplicationName" weir(406);
    /// What the initiator spoke instead, where that is not what the responder understood.
    AppToServer Every Text "app_proto_ts" "weirApplicationNameToServer" weir(407);
    /// What the responder spoke instead, where that is not what the initiator understood.
    AppToClient Every Text "app_proto_tc" "weirApplicationNameToClient" weir(408);
    /// The service that a name in the flow belongs to (`dpi.services`).
    Brand Every Text "brand" "weirServiceName" weir(401);
    /// The kind of service it is.
    Category Every Text "category" "weirServiceCategory" weir(402);
    /// Names of files that passed.
    FileNames Files TextList "file_names" "weirFileNames" weir(403);
    /// Their kinds, as media types found by content.
    FileTypes Files TextList "file_types" "weirFileTypes" weir(404);
    /// SHA-256 of those that passed whole.
    FileSha256 Files TextList "file_sha256" "weirFileSha256" weir(405);
    /// Version of the protocol.
    Version Common Text "app_version" "weirProtocolVersion" weir(410);
    /// What the client says it is: product and version.
    ClientSoftware Common Text "client_software" "weirClientSoftware" weir(411);
    /// What the server says it is: product and version.
    ServerSoftware Common Text "server_software" "weirServerSoftware" weir(412);
    /// Accounts, as the client named them.
    User Common TextList "user" "weirUserName" weir(413);
    /// What an end calls itself: host name, NetBIOS name, workstation.
    EndpointName Common TextList "endpoint_name" "weirEndpointName" weir(414);
    /// The realm, domain or workgroup.
    Domain Common Text "domain" "weirDomainName" weir(415);
    /// Commands, methods, operations or function codes.
    Command Common TextList "command" "weirCommand" weir(416);
    /// What they were about: files, shares, topics, databases, resources.
    Object Common TextList "object" "weirObject" weir(417);
    /// How the other end answered: codes or words.
    Status Common TextList "status" "weirStatus" weir(418);
    /// Names asked for.
    DnsQuery Dns TextList "dns_query" "weirDnsQueryName" weir(100);
    /// Addresses and names answered.
    DnsAnswers Dns TextList "dns_answers" "weirDnsAnswers" weir(101);
    /// Response code of the last response.
    DnsRcode Dns Number "dns_rcode" "weirDnsResponseCode" weir(102);
    /// The type asked for, as text (A, AAAA, TXT ...).
    DnsQueryType Dns Text "dns_qtype" "weirDnsQueryType" weir(103);
    /// Request method of the first request.
    HttpMethod Http Text "http_method" "httpRequestMethod" iana(459);
    /// Host header.
    HttpHost Http Text "http_host" "httpRequestHost" iana(460);
    /// Request target.
    HttpUri Http Text "http_uri" "httpRequestTarget" iana(461);
    /// Status code of the first response.
    HttpStatus Http Number "http_status" "httpStatusCode" iana(457);
    /// User-Agent header.
    HttpUserAgent Http Text "http_ua" "httpUserAgent" iana(468);
    /// Content-Type of the first response.
    HttpContentType Http Text "http_content_type" "httpContentType" iana(469);
    /// Server header.
    HttpServer Http Text "http_server" "weirHttpServer" weir(110);
    /// Server name indication.
    TlsServerName Tls Text "sni" "weirTlsServerName" weir(120);
    /// The negotiated version as Suricata writes it (TLS 1.2, TLS 1.3 ...).
    TlsVersion Tls Text "tls_version" "weirTlsVersion" weir(121);
    /// Protocols offered by ALPN, joined by commas.
    TlsAlpn Tls Text "alpn" "weirTlsAlpn" weir(122);
    /// Number of the cipher suite that the server chose.
    TlsCipher Tls Number "tls_cipher" "weirTlsCipherSuite" weir(123);
    /// JA3 fingerprint of the client (MD5 in hexadecimal).
    TlsJa3 Tls Text "ja3" "weirTlsJa3" weir(124);
    /// JA3S fingerprint of the server (MD5 in hexadecimal).
    TlsJa3s Tls Text "ja3s" "weirTlsJa3s" weir(125);
    /// JA4 fingerprint of the client.
    TlsJa4 Tls Text "ja4" "weirTlsJa4" weir(126);
    /// Subject of the server's certificate.
    TlsSubject Tls Text "tls_subject" "weirTlsCertificateSubject" weir(127);
    /// Issuer of the server's certificate.
    TlsIssuer Tls Text "tls_issuer" "weirTlsCertificateIssuer" weir(128);
    /// Serial number of the server's certificate, hexadecimal pairs joined by colons.
    TlsSerial Tls Text "tls_serial" "weirTlsCertificateSerial" weir(129);
    /// SHA-1 fingerprint of the server's certificate, hexadecimal pairs joined by colons.
    TlsFingerprint Tls Text "tls_fingerprint" "weirTlsCertificateSha1" weir(130);
    /// Begin of the certificate's validity, seconds since the epoch.
    TlsNotBefore Tls Number "tls_notbefore" "weirTlsCertificateNotBefore" weir(131);
    /// End of the certificate's validity, seconds since the epoch.
    TlsNotAfter Tls Number "tls_notafter" "weirTlsCertificateNotAfter" weir(132);
    /// The client's software version banner.
    SshClient Ssh Text "ssh_client" "weirSshClientBanner" weir(140);
    /// The server's software version banner.
    SshServer Ssh Text "ssh_server" "weirSshServerBanner" weir(141);
    /// HASSH fingerprint of the client (MD5 in hexadecimal).
    SshHassh Ssh Text "hassh" "weirSshHassh" weir(142);
    /// HASSH fingerprint of the server (MD5 in hexadecimal).
    SshHasshServer Ssh Text "hassh_server" "weirSshHasshServer" weir(143);
    // The web: 430 to 459.
    /// Request methods, where a flow has several.
    HttpMethods Http TextList "http_methods" "weirHttpMethods" weir(430);
    /// Hosts asked for, where a flow has several.
    HttpHosts Http TextList "http_hosts" "weirHttpHosts" weir(431);
    /// Request targets, where a flow has several.
    HttpUris Http TextList "http_uris" "weirHttpTargets" weir(432);
    /// Status codes, where a flow has several.
    HttpStatuses Http TextList "http_statuses" "weirHttpStatusCodes" weir(433);
    /// User agents, where a flow has several.
    HttpUserAgents Http TextList "http_uas" "weirHttpUserAgents" weir(434);
    // Cryptography, tunnels, voice: 460 to 499.
    /// Versions of QUIC that long headers named, in hexadecimal as on the wire.
    QuicVersion Quic TextList "quic_version" "weirQuicVersion" weir(460);
    /// User agent that a QUIC client named in the clear or in its transport parameters.
    QuicUserAgent Quic Text "quic_ua" "weirQuicUserAgent" weir(461);
    /// Addresses and ports that STUN servers saw a client at.
    StunMapped Stun TextList "stun_mapped" "weirStunMappedAddresses" weir(462);
    /// Addresses and ports of the peers that a TURN server relays to.
    StunPeers Stun TextList "stun_peers" "weirStunPeerAddresses" weir(463);
    /// Addresses and ports that a TURN server relays from.
    StunRelayed Stun TextList "stun_relayed" "weirStunRelayedAddresses" weir(464);
    /// Kinds of media: names of static payload types, numbers of dynamic ones, what SDP announced.
    RtpPayload Rtp TextList "rtp_payload" "weirRtpPayloads" weir(465);
    /// Who calls, as SIP addresses.
    SipFrom Sip TextList "sip_from" "weirSipFrom" weir(466);
    /// Who is called, as SIP addresses.
    SipTo Sip TextList "sip_to" "weirSipTo" weir(467);
    /// Names of calls.
    SipCallId Sip TextList "sip_call_id" "weirSipCallId" weir(468);
    /// Algorithms that the responder of a key exchange chose.
    IkeAlgorithms Ike TextList "ike_algorithms" "weirIkeAlgorithms" weir(469);
    /// Whether the client's hello is encrypted, or pretends so: `ech`, `esni`.
    TlsEncryptedHello Tls Text "tls_encrypted_hello" "weirTlsEncryptedHello" weir(470);
    /// Subject of the client's certificate.
    TlsClientSubject Tls Text "tls_client_subject" "weirTlsClientCertificateSubject" weir(471);
    // Windows, identity, management: 500 to 549.
    /// Shares that were connected.
    SmbShare Smb TextList "smb_share" "weirSmbShare" weir(500);
    /// Interfaces of DCE/RPC that were bound: services' names, or UUIDs.
    DceRpcInterface DceRpc TextList "dcerpc_interface" "weirDceRpcInterface" weir(501);
    /// Encryption types of tickets that were issued.
    Krb5Encryption Krb5 TextList "krb5_encryption" "weirKerberosTicketEncryption" weir(505);
    /// The client's hardware address.
    DhcpClientMac Dhcp Text "dhcp_client_mac" "weirDhcpClientMac" weir(510);
    /// The address that was assigned.
    DhcpAssignedIp Dhcp Text "dhcp_assigned_ip" "weirDhcpAssignedAddress" weir(511);
    /// Numbers of the parameters that the client asks for, in its order: tells operating systems apart.
    DhcpParameters Dhcp Text "dhcp_parameters" "weirDhcpParameterList" weir(512);
    /// The authoritative engine's identifier, hexadecimal.
    SnmpEngine Snmp Text "snmp_engine" "weirSnmpEngineId" weir(515);
    /// The station that was called, often an access point and its network's name.
    RadiusCalledStation Radius Text "radius_called_station" "weirRadiusCalledStation" weir(520);
    /// The station that calls, often a hardware address.
    RadiusCallingStation Radius Text "radius_calling_station" "weirRadiusCallingStation" weir(521);
    /// Names of the virtual channels that the client asks for.
    RdpChannels Rdp TextList "rdp_channels" "weirRdpChannels" weir(525);
    // Mail, files, terminals: 550 to 599.
    /// Senders of mails, from envelopes and headers.
    MailFrom Smtp TextList "mail_from" "weirMailFrom" weir(550);
    /// Recipients of mails, from envelopes and headers.
    MailTo Smtp TextList "mail_to" "weirMailTo" weir(551);
    /// Subjects of mails, decoded.
    MailSubject Smtp TextList "mail_subject" "weirMailSubject" weir(552);
    /// Message-IDs of mails.
    MailMessageId Smtp TextList "mail_message_id" "weirMailMessageId" weir(553);
    // Data and messages: 600 to 649.
    // Industry: 650 to 699.
}

impl Field {
    /// Most bytes kept of one text.
    pub const fn text_bytes_max(self) -> usize {
        match self {
            Field::HttpUri | Field::HttpUris => TARGET_BYTES_MAX,
            _ => TEXT_BYTES_MAX,
        }
    }

    /// The fields that records of an application carry, in table order.
    pub fn of(app: App) -> impl Iterator<Item = Field> {
        Field::ALL.iter().copied().filter(move |field| field.family().is_carried_by(app))
    }

    /// The field of a key, as [`Field::key`] gives it.
    pub fn from_key(key: &str) -> Option<Field> {
        Field::ALL.iter().copied().find(|field| field.key() == key)
    }

    /// The field that an IPFIX element carries.
    pub fn from_element(element: ElementId) -> Option<Field> {
        Field::ALL.iter().copied().find(|field| field.element() == element)
    }
}

/// A field's value; which variant a field has is its [`Shape`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// For [`Shape::Text`].
    Text(Box<str>),
    /// For [`Shape::Number`].
    Number(u64),
    /// For [`Shape::TextList`].
    TextList(Vec<Box<str>>),
}

/// The values learned about one flow, at most one per field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    values: Vec<(Field, Value)>,
    /// No field: it is EVE's alone (`flow.tx_cnt`).
    transactions: u64,
}

impl Metadata {
    /// Nothing learned.
    pub const EMPTY: Metadata = Metadata { values: Vec::new(), transactions: 0 };

    /// Whether nothing was learned.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.transactions == 0
    }

    /// How many transactions of the application were told as events.
    pub fn transactions(&self) -> u64 {
        self.transactions
    }

    /// So many transactions, or more, were told.
    pub fn note_transactions(&mut self, count: u64) {
        self.transactions = self.transactions.max(count);
    }

    /// How many fields have a value.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// The values in the order they were learned.
    pub fn iter(&self) -> impl Iterator<Item = (Field, &Value)> {
        self.values.iter().map(|(field, value)| (*field, value))
    }

    /// The value that was learned as the `place`th, from 0.
    pub fn at(&self, place: usize) -> Option<&Value> {
        self.values.get(place).map(|(_, value)| value)
    }

    /// The value of a field.
    pub fn get(&self, field: Field) -> Option<&Value> {
        self.values.iter().find(|(have, _)| *have == field).map(|(_, value)| value)
    }

    /// The text of a field, when it has one.
    pub fn text(&self, field: Field) -> Option<&str> {
        match self.get(field)? {
            Value::Text(text) => Some(text),
            Value::TextList(list) => list.first().map(|text| &**text),
            Value::Number(_) => None,
        }
    }

    /// The number of a field, when it has one.
    pub fn number(&self, field: Field) -> Option<u64> {
        match self.get(field)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The texts of a list field; empty without one.
    pub fn list(&self, field: Field) -> &[Box<str>] {
        match self.get(field) {
            Some(Value::TextList(list)) => list,
            _ => &[],
        }
    }

    /// Sets a text field, unless it is set already: a flow is described by what came first.
    pub fn set_text(&mut self, field: Field, text: &str) {
        debug_assert_eq!(field.shape(), Shape::Text);
        if self.get(field).is_none() {
            self.values.push((field, Value::Text(bounded(text, field.text_bytes_max()).into())));
        }
    }

    /// Sets a text field from bytes of the wire, replacing what is not UTF-8.
    pub fn set_bytes(&mut self, field: Field, bytes: &[u8]) {
        self.set_text(field, &String::from_utf8_lossy(&bytes[..bytes.len().min(field.text_bytes_max() + 4)]));
    }

    /// Sets a number field, unless it is set already.
    pub fn set_number(&mut self, field: Field, number: u64) {
        debug_assert_eq!(field.shape(), Shape::Number);
        if self.get(field).is_none() {
            self.values.push((field, Value::Number(number)));
        }
    }

    /// Whether a list has as many values or bytes as it may: nothing can be added.
    pub fn is_full(&self, field: Field) -> bool {
        let list = self.list(field);
        list.len() >= LIST_VALUES_MAX || list_bytes(list) >= LIST_BYTES_MAX
    }

    /// Adds to a list field what it does not have yet, up to [`LIST_VALUES_MAX`] and [`LIST_BYTES_MAX`].
    pub fn add(&mut self, field: Field, text: &str) {
        debug_assert_eq!(field.shape(), Shape::TextList);
        let text = bounded(text, field.text_bytes_max());
        let at = self.values.iter().position(|(have, _)| *have == field);
        match at.map(|at| &mut self.values[at].1) {
            Some(Value::TextList(list)) => {
                // One walk, because lists of names grow long: what they hold together, and whether this is among it.
                let mut bytes = text.len();
                for have in &*list {
                    if have.len() == text.len() && **have == *text {
                        return;
                    }
                    bytes += have.len();
                }
                if list.len() < LIST_VALUES_MAX && bytes <= LIST_BYTES_MAX {
                    list.push(text.into());
                }
            }
            Some(_) => debug_assert!(false, "{field:?} is not a list"),
            None => self.values.push((field, Value::TextList(vec![text.into()]))),
        }
    }
}

fn list_bytes(list: &[Box<str>]) -> usize {
    list.iter().map(|text| text.len()).sum()
}

/// Cuts text, at a character border, with an ellipsis where something is missing.
fn bounded(text: &str, bytes_max: usize) -> Cow<'_, str> {
    const MARK: &str = "…";
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let mut end = bytes_max - MARK.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}{MARK}", &text[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn keys_and_elements_are_distinct_and_lead_back() {
        let keys: HashSet<_> = Field::ALL.iter().map(|field| field.key()).collect();
        let elements: HashSet<_> = Field::ALL.iter().map(|field| field.element()).collect();
        assert_eq!(keys.len(), Field::ALL.len());
        assert_eq!(elements.len(), Field::ALL.len());
        for field in Field::ALL {
            assert_eq!(Field::from_key(field.key()), Some(*field));
            assert_eq!(Field::from_element(field.element()), Some(*field));
        }
    }

    #[test]
    fn the_first_value_stays_and_lists_are_bounded() {
        let mut metadata = Metadata::default();
        metadata.set_text(Field::HttpHost, "first.example");
        metadata.set_text(Field::HttpHost, "second.example");
        assert_eq!(metadata.text(Field::HttpHost), Some("first.example"));
        for number in 0..LIST_VALUES_MAX + 5 {
            metadata.add(Field::DnsQuery, &format!("n{number}.example"));
            metadata.add(Field::DnsQuery, "n0.example");
        }
        assert_eq!(metadata.list(Field::DnsQuery).len(), LIST_VALUES_MAX);
        assert!(metadata.is_full(Field::DnsQuery) && !metadata.is_full(Field::DnsAnswers));
        for number in 0..LIST_VALUES_MAX {
            metadata.add(Field::DnsAnswers, &format!("{number:0>TEXT_BYTES_MAX$}"));
        }
        assert_eq!(metadata.list(Field::DnsAnswers).len(), LIST_BYTES_MAX / TEXT_BYTES_MAX);
        assert!(metadata.is_full(Field::DnsAnswers));
    }

    #[test]
    fn long_text_is_cut_at_a_character_and_marked() {
        let mut metadata = Metadata::default();
        for field in [Field::HttpUri, Field::HttpHost] {
            metadata.set_text(field, &"é".repeat(TARGET_BYTES_MAX));
            let kept = metadata.text(field).unwrap();
            assert!(kept.len() <= field.text_bytes_max() && kept.ends_with("é…"));
        }
        metadata.set_bytes(Field::HttpUserAgent, b"caf\xff");
        assert_eq!(metadata.text(Field::HttpUserAgent), Some("caf\u{fffd}"));
    }
}
