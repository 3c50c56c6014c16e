//! The names of parts and of numbers: Suricata's sticky buffers and the keywords that compare numbers.
//!
//! In: keywords. Out: [`Buffer`]s and [`Number`]s. A new one is a line here, and whoever reads the protocol tells it.

use super::Stage;

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
