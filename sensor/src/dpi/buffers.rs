//! What one end says in a transaction, as the named parts that signatures look into.
//!
//! In: the parts, from the dissector that reads them, raw and in the order in which they are known. Out: the
//! transaction's [`Side`]s, for whoever looks into them after each packet. Knows no rule: a set of [`Wanted`]
//! parts says which are worth being copied, and without it nothing is kept at all.
//!
//! A side is told in stages: its head is complete, then its body. Most protocols have only one stage and are
//! [`Sides::end`]ed at once. At [`SIDE_BYTES_MAX`] further parts are cut off, at [`SIDES_MAX`] the oldest side is
//! taken for ended; both are counted.

use std::ops::Range;
use weir_common::app::App;
use weir_common::net::Direction;

/// Most bytes kept of one side; what is beyond is cut off.
pub const SIDE_BYTES_MAX: usize = 256 << 10;
/// Most bytes of a body that are kept, as Suricata's `request-body-limit` and `response-body-limit`.
pub const BODY_BYTES_MAX: usize = 100 << 10;
/// Most sides of one flow that are open at once; at the limit the oldest counts as ended.
pub const SIDES_MAX: usize = 32;
/// Most values of one side; further ones are left out.
pub const VALUES_MAX: usize = 4096;

/// Most frames of one flow that were told since signatures looked; further ones are left out and counted.
pub const FRAMES_MAX: usize = 1024;
/// Number of the first frame: frames are sides of their own, with numbers that no transaction has.
pub const FIRST_FRAME: u64 = 1 << 63;

/// Number of what belongs to no transaction.
pub const NO_TRANSACTION: u64 = u64::MAX;

/// How much of a side is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Parts of its head.
    #[default]
    Begun,
    /// Its head.
    Head,
    /// And the head of what its body carries: that of a mail.
    Inner,
    /// All that will be kept of it.
    Body,
}

macro_rules! buffers {
    ($($variant:ident $stage:ident $($name:literal)+;)*) => {
        /// A named part of a transaction: Suricata's sticky buffers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        #[expect(missing_docs, reason = "each is named as the keyword beside it, which Suricata documents")]
        pub enum Buffer { $($variant,)* }

        impl Buffer {
            /// How many there are.
            pub const COUNT: usize = [$(Buffer::$variant),*].len();
            /// All, by number.
            pub const ALL: [Buffer; Buffer::COUNT] = [$(Buffer::$variant),*];

            /// The buffer of a keyword; some have an older name as well. A name in parentheses is no keyword.
            pub fn of(keyword: &str) -> Option<Buffer> {
                match keyword { _ if keyword.starts_with('(') => None, $($($name)|+ => Some(Buffer::$variant),)* _ => None }
            }

            /// The buffer of a frame as `frame:` names it: with the application before it (`tls.pdu`, `smb.smb2.hdr`), or
            /// without where the rule's header names that (`pdu`, `smb2.hdr`).
            pub fn of_frame(name: &str, app: &str) -> Option<Buffer> {
                // What the header calls by several names is one application here.
                let app = if app == "http" { "http1" } else { app };
                let named = |keyword: String| Buffer::of(&keyword);
                named(format!("frame:{name}")).or_else(|| named(format!("frame:{app}.{name}")))
            }

            /// When its last value is known.
            pub const fn stage(self) -> Stage {
                match self { $(Buffer::$variant => Stage::$stage,)* }
            }

            /// Whether a transaction's side may have several values of it, each looked at for itself.
            pub fn is_multiple(self) -> bool {
                let keyword = self.keyword();
                let families = ["dns.", "mdns.", "llmnr.", "file.", "email.", "ldap.", "mqtt.", "sdp.", "frame:", "http2."];
                let single = ["email.from", "email.subject", "email.date", "email.message_id", "email.x_mailer", "email.command"];
                let names = [
                    "tls.certs", "tls.alpn", "tls.subjectaltname", "http.request_header", "http.response_header",
                    "smtp.rcpt_to", "imap.request", "imap.response", "krb5.cname", "krb5.sname", "quic.cyu.hash", "quic.cyu.string", "ike.vendor",
                    "sip.from", "sip.to", "sip.via", "sip.user_agent", "sip.content_type", "sip.content_length",
                ];
                !single.contains(&keyword)
                    && (names.contains(&keyword) || families.iter().any(|family| keyword.starts_with(family)))
            }

            /// Whether it holds hexadecimal digits, in which the case of letters does not matter, whatever a rule says.
            pub fn is_of_digits(self) -> bool {
                matches!(
                    self,
                    Buffer::Ja3Hash | Buffer::Ja3sHash | Buffer::TlsCertFingerprint | Buffer::TlsCertSerial
                        | Buffer::SshHassh | Buffer::SshHasshServer | Buffer::QuicCyuHash
                )
            }

            /// Its keyword.
            pub const fn keyword(self) -> &'static str {
                match self { $(Buffer::$variant => [$($name),+][0],)* }
            }
        }
    };
}

// A name with a blank in it is no keyword: what it names serves the keywords that take names or several numbers.
macro_rules! numbers {
    ($($variant:ident $($name:literal)+;)*) => {
        /// A named number of a transaction, which rules compare.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        #[expect(missing_docs, reason = "each is named as the keyword beside it, which Suricata documents")]
        pub enum Number { $($variant,)* }

        impl Number {
            /// How many there are.
            pub const COUNT: usize = [$(Number::$variant),*].len();

            /// The number of a keyword; some have an older name as well. A name in parentheses is no keyword: only
            /// tests of applications ask for it.
            pub fn of(keyword: &str) -> Option<Number> {
                match keyword { _ if keyword.starts_with('(') => None, $($($name)|+ => Some(Number::$variant),)* _ => None }
            }
        }
    };
}

buffers! {
    // The web.
    HttpUri Head "http.uri";
    HttpUriRaw Head "http.uri.raw";
    HttpMethod Head "http.method";
    HttpProtocol Head "http.protocol" "http_protocol";
    HttpHost Head "http.host";
    HttpHostRaw Head "http.host.raw";
    HttpUserAgent Head "http.user_agent";
    HttpReferer Head "http.referer" "http_referer";
    HttpCookie Head "http.cookie";
    HttpAccept Head "http.accept" "http_accept";
    HttpAcceptLang Head "http.accept_lang" "http_accept_lang";
    HttpAcceptEnc Head "http.accept_enc" "http_accept_enc";
    HttpConnection Head "http.connection" "http_connection";
    HttpContentType Head "http.content_type" "http_content_type";
    HttpContentLen Head "http.content_len" "http_content_len";
    HttpServer Head "http.server";
    HttpLocation Head "http.location";
    HttpStatCode Head "http.stat_code";
    HttpStatMsg Head "http.stat_msg";
    HttpStart Head "http.start" "http_start";
    HttpHeader Head "http.header";
    HttpHeaderRaw Head "http.header.raw";
    HttpRequestHeader Head "http.request_header";
    HttpResponseHeader Head "http.response_header";
    HttpHeaderNames Head "http.header_names" "http_header_names";
    HttpRequestLine Head "http.request_line" "http_request_line";
    HttpResponseLine Head "http.response_line" "http_response_line";
    HttpRequestBody Body "http.request_body";
    HttpResponseBody Body "http.response_body";
    Http2HeaderName Head "http2.header_name";
    Http2Header Head "http2.header";
    WebsocketPayload Head "websocket.payload";
    // Files.
    FileData Body "file.data" "file_data";
    FileName Body "file.name";
    FileMagic Body "file.magic";
    FileMd5 Body "file md5";
    FileSha1 Body "file sha1";
    FileSha256 Body "file sha256";
    // Names.
    DnsQuery Head "dns.query" "dns_query";
    DnsQueriesRrname Head "dns.queries.rrname" "dns.query.name";
    DnsResponseRrname Head "dns.response.rrname";
    DnsAnswersRrname Head "dns.answers.rrname" "dns.answer.name";
    DnsAuthoritiesRrname Head "dns.authorities.rrname";
    DnsAdditionalsRrname Head "dns.additionals.rrname";
    MdnsQueriesRrname Head "mdns.queries.rrname";
    MdnsResponseRrname Head "mdns.response.rrname";
    MdnsAnswersRrname Head "mdns.answers.rrname";
    MdnsAuthoritiesRrname Head "mdns.authorities.rrname";
    MdnsAdditionalsRrname Head "mdns.additionals.rrname";
    LlmnrQueriesRrname Head "llmnr.queries.rrname";
    LlmnrResponseRrname Head "llmnr.response.rrname";
    LlmnrAnswersRrname Head "llmnr.answers.rrname";
    LlmnrAuthoritiesRrname Head "llmnr.authorities.rrname";
    LlmnrAdditionalsRrname Head "llmnr.additionals.rrname";
    // Cryptography.
    TlsSni Head "tls.sni" "tls_sni";
    TlsCertSubject Head "tls.cert_subject" "tls_cert_subject";
    TlsCertIssuer Head "tls.cert_issuer" "tls_cert_issuer";
    TlsCertSerial Head "tls.cert_serial" "tls_cert_serial";
    TlsCertFingerprint Head "tls.cert_fingerprint" "tls_cert_fingerprint";
    TlsCerts Head "tls.certs";
    TlsSubjectaltname Head "tls.subjectaltname";
    TlsAlpn Head "tls.alpn";
    TlsRandom Head "tls.random";
    TlsRandomTime Head "tls.random_time";
    TlsRandomBytes Head "tls.random_bytes";
    Ja3Hash Head "ja3.hash" "ja3_hash";
    Ja3String Head "ja3.string" "ja3_string";
    Ja3sHash Head "ja3s.hash";
    Ja3sString Head "ja3s.string";
    Ja4Hash Head "ja4.hash";
    QuicSni Head "quic.sni";
    QuicUa Head "quic.ua" "quic.user_agent";
    QuicVersion Head "quic.version";
    QuicCyuHash Head "quic.cyu.hash";
    QuicCyuString Head "quic.cyu.string";
    SshProto Head "ssh.proto" "ssh_proto";
    SshSoftware Head "ssh.software" "ssh_software";
    SshHassh Body "ssh.hassh" "ssh-hassh";
    SshHasshString Body "ssh.hassh.string" "ssh-hassh-string";
    SshHasshServer Body "ssh.hassh.server" "ssh-hassh-server";
    SshHasshServerString Body "ssh.hassh.server.string" "ssh-hassh-server-string";
    IkeInitSpi Head "ike.init_spi";
    IkeRespSpi Head "ike.resp_spi";
    IkeVendor Head "ike.vendor";
    IkeNoncePayload Head "ike.nonce_payload";
    IkeKeyExchangePayload Head "ike.key_exchange_payload";
    // Mail and files.
    SmtpHelo Head "smtp.helo";
    SmtpMailFrom Head "smtp.mail_from";
    SmtpRcptTo Head "smtp.rcpt_to";
    EmailFrom Inner "email.from";
    EmailTo Inner "email.to";
    EmailCc Inner "email.cc";
    EmailSubject Inner "email.subject";
    EmailDate Inner "email.date";
    EmailMessageId Inner "email.message_id";
    EmailXMailer Inner "email.x_mailer";
    EmailUrl Body "email.url";
    EmailReceived Inner "email.received";
    EmailBodyMd5 Body "email.body_md5";
    EmailCommand Head "email.command";
    ImapRequest Head "imap.request";
    ImapResponse Head "imap.response";
    FtpCommand Head "ftp.command";
    FtpCommandData Head "ftp.command_data";
    FtpReply Head "ftp.reply";
    FtpCompletionCode Head "ftp.completion_code";
    // Windows and identity.
    SmbNamedPipe Head "smb.named_pipe" "smb_named_pipe";
    SmbShare Head "smb.share" "smb_share";
    SmbNtlmsspUser Head "smb.ntlmssp_user";
    SmbNtlmsspDomain Head "smb.ntlmssp_domain";
    DcerpcStubData Head "dcerpc.stub_data" "dce_stub_data";
    // An interface accepted for a call: its UUID's text, its version, whether its bind was a first fragment.
    DcerpcIface Head "(dcerpc.iface)";
    Krb5Cname Head "krb5.cname" "krb5_cname";
    Krb5Sname Head "krb5.sname" "krb5_sname";
    LdapRequestDn Head "ldap.request.dn";
    LdapResponsesDn Head "ldap.responses.dn";
    LdapRequestAttributeType Head "ldap.request.attribute_type";
    LdapResponsesAttributeType Head "ldap.responses.attribute_type";
    LdapResponsesMessage Head "ldap.responses.message";
    SnmpCommunity Head "snmp.community";
    SnmpUsm Head "snmp.usm";
    // Voice.
    SdpMediaSessionInfo Head "sdp.media.session_info" "sdp.media_description.session_info";
    SipMethod Head "sip.method";
    SipUri Head "sip.uri";
    SipProtocol Head "sip.protocol";
    SipStatCode Head "sip.stat_code";
    SipStatMsg Head "sip.stat_msg";
    SipRequestLine Head "sip.request_line";
    SipResponseLine Head "sip.response_line";
    SipFrom Head "sip.from";
    SipTo Head "sip.to";
    SipVia Head "sip.via";
    SipUserAgent Head "sip.user_agent";
    SipContentType Head "sip.content_type";
    SipContentLength Head "sip.content_length";
    SdpOrigin Head "sdp.origin";
    SdpSessionName Head "sdp.session_name";
    SdpSessionInfo Head "sdp.session_info";
    SdpUri Head "sdp.uri";
    SdpEmail Head "sdp.email";
    SdpPhoneNumber Head "sdp.phone_number";
    SdpConnectionData Head "sdp.connection_data";
    SdpBandwidth Head "sdp.bandwidth";
    SdpTime Head "sdp.time";
    SdpRepeatTime Head "sdp.repeat_time";
    SdpTimezone Head "sdp.timezone";
    SdpEncryptionKey Head "sdp.encryption_key";
    SdpAttribute Head "sdp.attribute";
    SdpMediaMedia Head "sdp.media.media" "sdp.media_description.media";
    SdpMediaInfo Head "sdp.media.media_info";
    SdpMediaConnectionData Head "sdp.media.connection_data" "sdp.media_description.connection_data";
    SdpMediaEncryptionKey Head "sdp.media.encryption_key" "sdp.media_description.encryption_key";
    // Data and messages.
    MqttConnectClientid Head "mqtt.connect.clientid";
    MqttConnectUsername Head "mqtt.connect.username";
    MqttConnectPassword Head "mqtt.connect.password";
    MqttConnectWilltopic Head "mqtt.connect.willtopic";
    MqttConnectWillmessage Head "mqtt.connect.willmessage";
    MqttConnectProtocolString Head "mqtt.connect.protocol_string";
    MqttPublishTopic Head "mqtt.publish.topic";
    MqttPublishMessage Head "mqtt.publish.message";
    MqttSubscribeTopic Head "mqtt.subscribe.topic";
    MqttUnsubscribeTopic Head "mqtt.unsubscribe.topic";
    RfbName Head "rfb.name";
    NtpReferenceId Head "ntp.reference_id";
    PgsqlQuery Head "pgsql.query";
    // Industry.
    CipAttribute Head "cip.attribute";
    Dnp3Data Head "dnp3_data" "dnp3.data";
    EnipProductName Head "enip.product_name";
    EnipServiceName Head "enip.service_name";
    // A CIP message: its service, then each class (`c`) and attribute (`a`) that a request names, four bytes each.
    EnipCip Head "(enip.cip)";
    // What a request writes, two bytes for each coil or register.
    ModbusValues Head "(modbus.values)";
    // Frames of services.
    FrameNbssPdu Head "frame:smb.nbss.pdu" "frame:nbss.pdu";
    FrameNbssHdr Head "frame:smb.nbss.hdr" "frame:nbss.hdr";
    FrameNbssData Head "frame:smb.nbss.data" "frame:nbss.data";
    FrameSmb1Pdu Head "frame:smb.smb1.pdu" "frame:smb1.pdu";
    FrameSmb1Hdr Head "frame:smb.smb1.hdr" "frame:smb1.hdr";
    FrameSmb1Data Head "frame:smb.smb1.data" "frame:smb1.data";
    FrameSmb2Pdu Head "frame:smb.smb2.pdu" "frame:smb2.pdu";
    FrameSmb2Hdr Head "frame:smb.smb2.hdr" "frame:smb2.hdr";
    FrameSmb2Data Head "frame:smb.smb2.data" "frame:smb2.data";
    FrameSmb3Pdu Head "frame:smb.smb3.pdu" "frame:smb3.pdu";
    FrameSmb3Hdr Head "frame:smb.smb3.hdr" "frame:smb3.hdr";
    FrameSmb3Data Head "frame:smb.smb3.data" "frame:smb3.data";
    FrameDcerpcPdu Head "frame:dcerpc.pdu";
    FrameDcerpcHdr Head "frame:dcerpc.hdr";
    FrameDcerpcData Head "frame:dcerpc.data";
    FrameLdapPdu Head "frame:ldap.pdu";
    FrameMqttPdu Head "frame:mqtt.pdu";
    FrameMqttHeader Head "frame:mqtt.header";
    FrameMqttData Head "frame:mqtt.data";
    FrameModbusPdu Head "frame:modbus.pdu";
    FrameEnipPdu Head "frame:enip.pdu";
    FrameEnipHdr Head "frame:enip.hdr";
    FrameEnipData Head "frame:enip.data";
    FrameEnipItem Head "frame:enip.enip_item";
    FrameEnipCip Head "frame:enip.cip";
    FrameHttp1Request Head "frame:http1.request";
    FrameHttp1Response Head "frame:http1.response";
    FrameHttp2Pdu Head "frame:http2.pdu";
    FrameHttp2Hdr Head "frame:http2.hdr";
    FrameHttp2Data Head "frame:http2.data";
    FrameSmtpCommandLine Head "frame:smtp.command_line";
    FrameSmtpData Head "frame:smtp.data";
    FrameSmtpResponseLine Head "frame:smtp.response_line";
    FrameWebsocketPdu Head "frame:websocket.pdu";
    FrameWebsocketHeader Head "frame:websocket.header";
    FrameWebsocketData Head "frame:websocket.data";
    FrameDnsPdu Head "frame:dns.pdu" "frame:mdns.pdu" "frame:llmnr.pdu";
    FrameTlsPdu Head "frame:tls.pdu";
    FrameTlsHdr Head "frame:tls.hdr";
    FrameTlsData Head "frame:tls.data";
    FrameTlsAlert Head "frame:tls.alert";
    FrameTlsHeartbeat Head "frame:tls.heartbeat";
    FrameTlsSsl2Pdu Head "frame:tls.ssl2.pdu" "frame:ssl2.pdu";
    FrameTlsSsl2Hdr Head "frame:tls.ssl2.hdr" "frame:ssl2.hdr";
    FrameSshRecordPdu Head "frame:ssh.record.pdu" "frame:record.pdu";
    FrameSshRecordHdr Head "frame:ssh.record.hdr" "frame:record.hdr";
    FrameSshRecordData Head "frame:ssh.record.data" "frame:record.data";
    FrameSipPdu Head "frame:sip.pdu";
    FrameSipRequestLine Head "frame:sip.request.line";
    FrameSipResponseLine Head "frame:sip.response.line";
    FrameSipRequestHeaders Head "frame:sip.request.headers";
    FrameSipResponseHeaders Head "frame:sip.response.headers";
    FrameSipRequestBody Head "frame:sip.request.body";
    FrameSipResponseBody Head "frame:sip.response.body";
    FrameRfbPdu Head "frame:rfb.pdu";
    FrameTelnetPdu Head "frame:telnet.pdu";
    FrameTelnetCtl Head "frame:telnet.ctl";
    FrameTelnetData Head "frame:telnet.data";
    FrameRpcPdu Head "frame:nfs.rpc.pdu" "frame:rpc.pdu";
    FrameRpcHdr Head "frame:nfs.rpc.hdr" "frame:rpc.hdr";
    FrameRpcData Head "frame:nfs.rpc.data" "frame:rpc.data";
    FrameRpcCreds Head "frame:nfs.rpc.creds" "frame:rpc.creds";
    FrameNfsPdu Head "frame:nfs.nfs.pdu" "frame:nfs.pdu";
    FrameNfsStatus Head "frame:nfs.nfs.status" "frame:nfs.status";
    FrameNfs4Pdu Head "frame:nfs.nfs4.pdu" "frame:nfs4.pdu";
    FrameNfs4Hdr Head "frame:nfs.nfs4.hdr" "frame:nfs4.hdr";
    FrameNfs4Ops Head "frame:nfs.nfs4.ops" "frame:nfs4.ops";
    FrameNfs4Status Head "frame:nfs.nfs4.status" "frame:nfs4.status";
}

numbers! {
    // The web.
    Http2ErrorCode "http2 error code";
    Http2FrameType "http2 frame type";
    Http2Priority "http2 priority";
    Http2Window "http2 window";
    Http2SizeUpdate "http2 size update";
    Http2Setting "http2 setting";
    // Files: how long one is that was seen to its end, and how long one is at least.
    FileSize "file size";
    FileSizeMin "file size at least";
    // Mail and files.
    FtpDynamicPort "ftp dynamic port";
    FtpMode "ftp mode";
    FtpReplyReceived "ftp reply received";
    FtpBounce "ftp bounce";
    WebsocketOpcode "websocket opcode";
    WebsocketFlags "websocket flags";
    WebsocketMask "websocket.mask";
    FtpdataCommand "ftp-data command";
    // Names.
    DnsOpcode "(dns.opcode)";
    DnsRcode "(dns.rcode)";
    DnsRrtype "(dns.rrtype)";
    // Cryptography.
    TlsVersion "(tls.version)";
    TlsState "(tls.state)";
    TlsKeyExchange "(tls.key_exchange)";
    TlsCertChainLen "(tls.cert_chain_len)";
    TlsNotBefore "(tls.not_before)";
    TlsNotAfter "(tls.not_after)";
    TlsCertSeenAt "(tls.certificate_seen_at)";
    IkeExchtype "(ike.exchtype)";
    IkeKeyExchangePayloadLength "ike.key_exchange_payload_length";
    IkeNoncePayloadLength "ike.nonce_payload_length";
    IkeAlgEnc "(ike.alg_enc)";
    IkeAlgHash "(ike.alg_hash)";
    IkeAlgAuth "(ike.alg_auth)";
    IkeAlgDh "(ike.alg_dh)";
    IkeAlgPrf "(ike.alg_prf)";
    IkeSaGroupType "(ike.sa_group_type)";
    IkeSaLifeType "(ike.sa_life_type)";
    IkeSaLifeDuration "(ike.sa_life_duration)";
    IkeSaKeyLength "(ike.sa_key_length)";
    IkeSaFieldSize "(ike.sa_field_size)";
    // Windows and identity.
    SmbVersion "(smb.version)";
    DcerpcOpnum "(dcerpc.opnum)";
    // 1: the numbers in stubs have their lowest byte first, as the header's data representation says.
    DcerpcLittleEndian "(dcerpc.little_endian)";
    SnmpVersion "snmp.version";
    SnmpPduType "(snmp.pdu_type)";
    NtpVersion "(ntp.version)";
    NtpStratum "(ntp.stratum)";
    NtpMode "(ntp.mode)";
    DhcpLeasetime "dhcp.leasetime";
    DhcpRebindingTime "dhcp.rebinding_time";
    DhcpRenewalTime "dhcp.renewal_time";
    RfbSectype "rfb.sectype";
    RfbSecresult "(rfb.secresult)";
    Krb5MsgType "(krb5_msg_type)";
    Krb5ErrCode "(krb5_err_code)";
    Krb5TicketEncryption "(krb5.ticket_encryption)";
    LdapRequestOperation "(ldap.request.operation)";
    LdapResponsesOperation "(ldap.responses.operation)";
    LdapResponsesResultCode "(ldap.responses.result_code)";
    // Data and messages.
    MqttProtocolVersion "(mqtt.protocol_version)";
    MqttType "(mqtt.type)";
    MqttFlags "(mqtt.flags)";
    MqttQos "(mqtt.qos)";
    MqttReasonCode "(mqtt.reason_code)";
    MqttConnackSessionPresent "(mqtt.connack.session_present)";
    MqttConnectFlags "(mqtt.connect.flags)";
    NfsProcedure "(nfs_procedure)";
    NfsVersion "(nfs.version)";
    // Industry.
    Dnp3Func "(dnp3_func)";
    Dnp3Ind "(dnp3_ind)";
    // The group in the high byte, the variation in the low one.
    Dnp3Obj "(dnp3_obj)";
    EnipCommand "(enip_command)";
    EnipStatus "(enip.status)";
    EnipProtocolVersion "(enip.protocol_version)";
    EnipRevision "(enip.revision)";
    EnipIdentityStatus "(enip.identity_status)";
    EnipState "(enip.state)";
    EnipSerial "(enip.serial)";
    EnipProductCode "(enip.product_code)";
    EnipDeviceType "(enip.device_type)";
    EnipVendorId "(enip.vendor_id)";
    EnipCapabilities "(enip.capabilities)";
    EnipCipClass "(enip.cip_class)";
    EnipCipInstance "(enip.cip_instance)";
    EnipCipAttribute "(enip.cip_attribute)";
    EnipCipStatus "(enip.cip_status)";
    EnipCipExtendedstatus "(enip.cip_extendedstatus)";
    ModbusUnit "(modbus.unit)";
    ModbusFunction "(modbus.function)";
    ModbusSubfunction "(modbus.subfunction)";
    // Bits: 1 unassigned, 2 assigned, 4 user's, 8 reserved.
    ModbusCategory "(modbus.category)";
    // Bits: 1 read, 2 write, 4 discretes, 8 coils, 16 input, 32 holding.
    ModbusAccess "(modbus.access)";
    // The first and the last address that a request is about, counted from 1.
    ModbusFirst "(modbus.first)";
    ModbusLast "(modbus.last)";
    // The first address that is written.
    ModbusWritten "(modbus.written)";
}

/// Which parts are worth being kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    buffers: Bits,
    numbers: Bits,
    /// Somebody looks at what is odd (`app-layer-event`).
    pub anomalies: bool,
    /// Somebody asks whether there are transactions at all.
    pub any: bool,
}

type Bits = [u64; 8];

const _: () = assert!(Buffer::COUNT <= 512 && Number::COUNT <= 512, "Bits holds 512");

impl Wanted {
    /// Everything.
    pub fn all() -> Wanted {
        Wanted { buffers: [u64::MAX; 8], numbers: [u64::MAX; 8], anomalies: true, any: true }
    }

    /// All but frames.
    #[cfg(test)]
    pub fn all_but_frames() -> Wanted {
        let mut all = Wanted::all();
        let frames = Buffer::ALL.into_iter().filter(|buffer| buffer.keyword().starts_with("frame:"));
        for at in frames.map(|buffer| usize::from(buffer as u16)) {
            all.buffers[at / 64] &= !(1 << (at % 64));
        }
        all
    }

    /// This one is.
    pub fn want(&mut self, buffer: Buffer) {
        set(&mut self.buffers, buffer as u16);
    }

    /// This one is.
    pub fn want_number(&mut self, number: Number) {
        set(&mut self.numbers, number as u16);
    }

    /// Whether it is.
    #[inline]
    pub fn has(&self, buffer: Buffer) -> bool {
        has(&self.buffers, buffer as u16)
    }

    /// Whether it is.
    #[inline]
    pub fn has_number(&self, number: Number) -> bool {
        has(&self.numbers, number as u16)
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        *self == Wanted::default()
    }
}

fn set(bits: &mut Bits, at: u16) {
    if let Some(word) = bits.get_mut(usize::from(at / 64)) {
        *word |= 1 << (at % 64);
    }
}

#[inline]
fn has(bits: &Bits, at: u16) -> bool {
    bits.get(usize::from(at / 64)).is_some_and(|word| word & 1 << (at % 64) != 0)
}

/// A part and where its bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    buffer: Buffer,
    range: Range<u32>,
    /// They are in [`Side::body`].
    is_of_body: bool,
}

/// What is known of a frame beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Bytes that it has on the wire, as far as its head says; 0: as many as are told.
    pub length: u64,
    /// Transaction that it belongs to, where that is known.
    pub transaction: Option<u64>,
}

/// What one end says in a transaction, or one frame: a part of the stream's own structure, which signatures look into
/// for itself.
#[derive(Clone, Debug)]
pub struct Side {
    /// Application of the dissector.
    pub app: App,
    /// Who says it, in the dissector's view.
    pub direction: Direction,
    /// Number of the transaction in its flow.
    pub transaction: u64,
    /// How much of it is known.
    pub stage: Stage,
    /// How much was looked into by signatures, and what they found out: theirs.
    pub looked: Looked,
    /// What was cut off or left out at a limit.
    pub is_cut: bool,
    /// It is a frame.
    pub frame: Option<Frame>,
    /// Something of it was told beside what is odd: it is a side that signatures may ask about what it lacks.
    is_told: bool,
    /// It is told of after its end; see [`Sides::late`].
    is_late: bool,
    bytes: Vec<u8>,
    /// What was given as a whole, and not copied.
    body: Vec<u8>,
    values: Vec<Value>,
    numbers: Vec<(Number, u64)>,
    anomalies: Vec<&'static str>,
}

/// What signatures remember of a side.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// Up to which stage it was looked into.
    pub stage: Stage,
    /// Values that were searched for patterns.
    pub values: usize,
    /// Numbers that were looked at.
    pub numbers: usize,
    /// Anomalies that were looked at.
    pub anomalies: usize,
    /// Signatures that may match when more is known.
    pub candidates: Vec<u32>,
    /// Signatures that matched.
    pub matched: Vec<u32>,
}

impl Side {
    fn new(app: App, direction: Direction, transaction: u64) -> Side {
        Side {
            app,
            direction,
            transaction,
            stage: Stage::Begun,
            looked: Looked::default(),
            is_cut: false,
            frame: None,
            is_told: false,
            is_late: false,
            bytes: Vec::new(),
            body: Vec::new(),
            values: Vec::new(),
            numbers: Vec::new(),
            anomalies: Vec::new(),
        }
    }

    /// Tells a part whose bytes nobody needs any more: the first of a side is kept as it is.
    pub fn put_whole(&mut self, buffer: Buffer, bytes: Vec<u8>) {
        if !self.body.is_empty() || self.bytes.len() + bytes.len() > SIDE_BYTES_MAX {
            return self.put(buffer, &bytes);
        }
        if self.begin(buffer)
            && let Some(last) = self.values.last_mut()
        {
            (last.range, last.is_of_body) = (0..bytes.len() as u32, true);
            self.body = bytes;
        }
    }

    /// Tells a part.
    pub fn put(&mut self, buffer: Buffer, bytes: &[u8]) {
        if !self.begin(buffer) {
            return;
        }
        self.append(bytes);
        let end = self.bytes.len() as u32;
        if let Some(last) = self.values.last_mut() {
            last.range.end = end;
        }
    }

    /// Whether signatures may be asked about it: what is merely odd, and what comes after its end, is no side of a
    /// transaction, and a rule that asks for what it lacks would find that there.
    pub fn is_askable(&self) -> bool {
        self.is_told && !self.is_late
    }

    /// More bytes of the part that was told last: it grows with what follows ([`BODY_BYTES_MAX`]). Begins it where
    /// another was told last. False: no more is wanted.
    ///
    /// A value that signatures have looked into cannot grow, for they would not look again: the bytes begin another, and
    /// the side counts as cut.
    pub fn grow(&mut self, buffer: Buffer, bytes: &[u8]) -> bool {
        let is_last = self.values.last().is_some_and(|last| last.buffer == buffer && !last.is_of_body);
        let is_looked_into = is_last && self.values.len() <= self.looked.values;
        self.is_cut |= is_looked_into;
        if (!is_last || is_looked_into) && !self.begin(buffer) {
            return false;
        }
        let have = self.values.last().map_or(0, |last| last.range.len());
        let room = BODY_BYTES_MAX.saturating_sub(have);
        self.append(bytes.get(..room).unwrap_or(bytes));
        let end = self.bytes.len() as u32;
        if let Some(last) = self.values.last_mut() {
            last.range.end = end;
        }
        bytes.len() < room
    }

    /// Begins a value; false: it is one too many.
    fn begin(&mut self, buffer: Buffer) -> bool {
        let has_room = self.values.len() < VALUES_MAX;
        self.is_cut |= !has_room;
        if has_room {
            let end = self.bytes.len() as u32;
            self.values.push(Value { buffer, range: end..end, is_of_body: false });
        }
        has_room
    }

    /// The part that was told last is this one as well.
    pub fn share(&mut self, buffer: Buffer) {
        let Some(same) = self.values.last().cloned() else { return };
        if self.begin(buffer)
            && let Some(last) = self.values.last_mut()
        {
            *last = Value { buffer, ..same };
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = SIDE_BYTES_MAX.saturating_sub(self.bytes.len() + self.body.len());
        self.is_cut |= bytes.len() > room;
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// Tells a number.
    pub fn put_number(&mut self, number: Number, value: u64) {
        if self.numbers.len() < VALUES_MAX {
            self.numbers.push((number, value));
        }
    }

    /// The values of all parts, in the order in which they were told.
    pub fn values(&self) -> impl Iterator<Item = (Buffer, &[u8])> {
        self.values.iter().map(|value| (value.buffer, self.slice(value)))
    }

    /// The values of a part.
    pub fn values_of(&self, buffer: Buffer) -> impl Iterator<Item = &[u8]> {
        self.values.iter().filter(move |value| value.buffer == buffer).map(|value| self.slice(value))
    }

    /// The values of a number.
    pub fn numbers_of(&self, number: Number) -> impl Iterator<Item = u64> {
        self.numbers.iter().filter(move |(have, _)| *have == number).map(|(_, value)| *value)
    }

    /// The values of all numbers.
    pub fn numbers(&self) -> impl Iterator<Item = (Number, u64)> {
        self.numbers.iter().copied()
    }

    /// What was odd, in the dissector's words.
    pub fn anomalies(&self) -> &[&'static str] {
        &self.anomalies
    }

    fn slice(&self, value: &Value) -> &[u8] {
        let bytes = if value.is_of_body { &self.body } else { &self.bytes };
        bytes.get(value.range.start as usize..value.range.end as usize).unwrap_or_default()
    }
}

/// The sides of one flow that are open or were not looked into yet.
#[derive(Clone, Debug, Default)]
pub struct Sides {
    list: Vec<Side>,
    /// Something was told since signatures looked.
    pub is_fresh: bool,
    /// Frames so far.
    frames: u64,
    /// Frames that were left out at [`FRAMES_MAX`].
    pub frames_left_out: u64,
    /// How often a side was told of after its end, and nobody looked.
    pub late: u64,
    /// The sides that were forgotten last, the newest in the place before `closed_at`.
    closed: Vec<Closed>,
    closed_at: usize,
}

/// A side that was looked into to its end.
#[derive(Clone, Copy, Debug)]
struct Closed {
    app: App,
    direction: Direction,
    transaction: u64,
}

impl Sides {
    /// What an end says in a transaction, begun if need be.
    pub fn of(&mut self, app: App, direction: Direction, transaction: u64) -> &mut Side {
        let side = self.at(app, direction, transaction);
        side.is_told = true;
        side
    }

    fn at(&mut self, app: App, direction: Direction, transaction: u64) -> &mut Side {
        self.is_fresh = true;
        let is_it =
            |side: &Side| side.direction == direction && side.transaction == transaction && side.app == app;
        let at = match self.list.iter().rposition(is_it) {
            Some(at) => at,
            None => {
                if self.list.len() >= SIDES_MAX
                    && let Some(oldest) = self.list.iter_mut().find(|side| side.stage < Stage::Body)
                {
                    oldest.stage = Stage::Body;
                    oldest.is_cut = true;
                }
                let mut side = Side::new(app, direction, transaction);
                if self.is_closed(app, direction, transaction) {
                    self.late += 1;
                    (side.is_late, side.stage) = (true, Stage::Body);
                }
                self.list.push(side);
                self.list.len() - 1
            }
        };
        &mut self.list[at]
    }

    /// A frame begins, whose bytes are told by [`Sides::frame_bytes`] and end with [`Sides::end_frame`]. Returns its number;
    /// none: it is one too many.
    pub fn begin_frame(
        &mut self,
        app: App,
        direction: Direction,
        buffer: Buffer,
        frame: Frame,
    ) -> Option<u64> {
        if self.list.iter().filter(|side| side.frame.is_some()).count() >= FRAMES_MAX {
            self.frames_left_out += 1;
            return None;
        }
        let number = FIRST_FRAME | self.frames;
        self.frames += 1;
        let side = self.of(app, direction, number);
        side.frame = Some(frame);
        side.put(buffer, &[]);
        Some(number)
    }

    /// More bytes of a frame, which keeps no more of them than a body does ([`BODY_BYTES_MAX`]).
    pub fn frame_bytes(&mut self, number: u64, bytes: &[u8]) {
        if let Some(side) = self.list.iter_mut().rev().find(|side| side.transaction == number)
            && let Some(buffer) = side.values.first().map(|value| value.buffer)
        {
            let goes_on = side.grow(buffer, bytes);
            side.is_cut |= !goes_on;
        }
    }

    /// A frame is over.
    pub fn end_frame(&mut self, number: u64) {
        if let Some(side) = self.list.iter_mut().rev().find(|side| side.transaction == number) {
            let seen = side.values.first().map_or(0, |value| value.range.len() as u64);
            side.is_cut |= side.frame.is_some_and(|frame| frame.length > seen);
            side.stage = Stage::Body;
            self.is_fresh = true;
        }
    }

    /// Tells that something is odd, which need not be a transaction's.
    pub fn anomaly(&mut self, app: App, direction: Direction, transaction: u64, event: &'static str) {
        let side = self.at(app, direction, transaction);
        if side.anomalies.len() < VALUES_MAX {
            side.anomalies.push(event);
        }
    }

    /// The sides, oldest first.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Side> {
        self.list.iter_mut()
    }

    /// Forgets what was looked into to its end.
    pub fn tidy(&mut self) {
        self.is_fresh = false;
        let Sides { list, closed, closed_at, .. } = self;
        list.retain(|side| {
            let is_open = side.looked.stage < Stage::Body;
            // What belongs to no transaction may come again, and frames never do.
            if !is_open && side.is_askable() && side.transaction < FIRST_FRAME {
                let &Side { app, direction, transaction, .. } = side;
                let side = Closed { app, direction, transaction };
                match closed.get_mut(*closed_at) {
                    Some(oldest) => *oldest = side,
                    None => closed.push(side),
                }
                *closed_at = (*closed_at + 1) % SIDES_MAX;
            }
            is_open
        });
    }

    pub(super) fn is_closed(&self, app: App, direction: Direction, transaction: u64) -> bool {
        let is_it = |closed: &&Closed| {
            closed.transaction == transaction && closed.direction == direction && closed.app == app
        };
        self.closed.iter().any(|closed| is_it(&closed))
    }

    /// The flow has ended: nothing more will come of any side.
    pub fn end_all(&mut self) {
        for side in &mut self.list {
            side.stage = Stage::Body;
            self.is_fresh = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_tests_ask_for_is_no_keyword() {
        assert_eq!((Buffer::of("(dcerpc.iface)"), Number::of("(dcerpc.opnum)")), (None, None));
        assert_eq!(Buffer::of("smb_share"), Some(Buffer::SmbShare));
        assert_eq!(Buffer::DcerpcIface.keyword(), "(dcerpc.iface)");
    }

    const HERE: (App, Direction, u64) = (App::Http, Direction::Forward, 3);

    fn side(sides: &mut Sides) -> &mut Side {
        sides.of(HERE.0, HERE.1, HERE.2)
    }

    /// Signatures look into everything.
    fn look(sides: &mut Sides) {
        for side in sides.iter_mut() {
            (side.looked.stage, side.looked.values) = (side.stage, side.values().count());
        }
        sides.tidy();
    }

    #[test]
    fn what_is_odd_alone_is_no_side_that_lacks_what_a_rule_looks_for() {
        let mut sides = Sides::default();
        sides.anomaly(HERE.0, HERE.1, HERE.2, "odd");
        assert!(sides.iter_mut().all(|side| !side.is_askable()));
        side(&mut sides).stage = Stage::Head;
        assert!(side(&mut sides).is_askable());
        assert_eq!(side(&mut sides).anomalies(), ["odd"]);
    }

    #[test]
    fn a_side_that_was_looked_into_to_its_end_does_not_begin_again() {
        let mut sides = Sides::default();
        side(&mut sides).stage = Stage::Body;
        look(&mut sides);
        sides.anomaly(HERE.0, HERE.1, HERE.2, "odd");
        side(&mut sides).put(Buffer::HttpUri, b"/");
        assert!(!side(&mut sides).is_askable());
        assert_eq!(side(&mut sides).anomalies(), ["odd"]);
        assert_eq!(sides.late, 1);
        look(&mut sides);
        assert_eq!(sides.iter_mut().count(), 0);
        // What belongs to no transaction comes again.
        for _ in 0..2 {
            let side = sides.of(HERE.0, HERE.1, NO_TRANSACTION);
            side.stage = Stage::Body;
            assert!(side.is_askable());
            look(&mut sides);
        }
        // As many are remembered as may be open at once.
        for transaction in 100..100 + SIDES_MAX as u64 {
            sides.of(HERE.0, HERE.1, transaction).stage = Stage::Body;
            look(&mut sides);
        }
        assert!(side(&mut sides).is_askable());
    }

    #[test]
    fn a_value_that_was_looked_into_does_not_grow() {
        let mut sides = Sides::default();
        let told = side(&mut sides);
        told.put(Buffer::HttpUri, b"/a");
        told.grow(Buffer::HttpUri, b"b");
        assert_eq!(told.values().collect::<Vec<_>>(), [(Buffer::HttpUri, &b"/ab"[..])]);
        told.stage = Stage::Head;
        look(&mut sides);
        let told = side(&mut sides);
        told.grow(Buffer::HttpUri, b"c");
        told.grow(Buffer::HttpUri, b"d");
        let values = [(Buffer::HttpUri, &b"/ab"[..]), (Buffer::HttpUri, b"cd")];
        assert_eq!(told.values().collect::<Vec<_>>(), values);
        assert!(told.is_cut);
    }

    #[test]
    fn what_is_one_value_too_many_goes_into_no_other() {
        let mut sides = Sides::default();
        let side = side(&mut sides);
        (0..VALUES_MAX).for_each(|_| side.put(Buffer::HttpUri, b"/"));
        assert!(!side.is_cut && !side.grow(Buffer::HttpHost, b"host"));
        side.share(Buffer::HttpHost);
        assert_eq!(
            (side.values().count(), side.values().last()),
            (VALUES_MAX, Some((Buffer::HttpUri, &b"/"[..])))
        );
        assert!(side.is_cut);
    }
}
