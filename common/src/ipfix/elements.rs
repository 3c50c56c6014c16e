//! The one table of information elements that Weir writes or understands.
//!
//! In: nothing. Out: for each element its number, name, abstract data type, semantics and units, as in
//! IANA's IPFIX registry, and the same for Weir's own, which IANA has no element for. The elements of
//! inspection's fields come from [`crate::metadata::Field`]; [`own`] joins both for the descriptions
//! that RFC 5610 sends in-band. Deliberately absent: elements that nothing here uses.

use crate::metadata::{ElementId, Field, Shape, WEIR_PEN};

/// The enterprise number of reverse elements (RFC 5103 section 6.1).
pub const REVERSE_PEN: u32 = 29_305;
/// The enterprise number of CERT, whose elements YAF, SiLK and others know.
pub const CERT_PEN: u32 = 6871;

/// Abstract data types, with the numbers of RFC 5610 section 3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the definitions, RFC 7012 section 3.1")]
pub enum DataType {
    OctetArray = 0,
    Unsigned8 = 1,
    Unsigned16 = 2,
    Unsigned32 = 3,
    Unsigned64 = 4,
    MacAddress = 12,
    Text = 13,
    DateTimeSeconds = 14,
    DateTimeMilliseconds = 15,
    DateTimeMicroseconds = 16,
    DateTimeNanoseconds = 17,
    Ipv4Address = 18,
    Ipv6Address = 19,
    BasicList = 20,
}

impl DataType {
    /// Octets of a value in full size; `None` where the length varies.
    pub const fn length(self) -> Option<u16> {
        Some(match self {
            DataType::Unsigned8 => 1,
            DataType::Unsigned16 => 2,
            DataType::Unsigned32 | DataType::DateTimeSeconds | DataType::Ipv4Address => 4,
            DataType::Unsigned64
            | DataType::DateTimeMilliseconds
            | DataType::DateTimeMicroseconds
            | DataType::DateTimeNanoseconds => 8,
            DataType::MacAddress => 6,
            DataType::Ipv6Address => 16,
            DataType::OctetArray | DataType::Text | DataType::BasicList => return None,
        })
    }
}

/// Semantics, with the numbers of RFC 5610 section 3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the definitions, RFC 7012 section 3.2")]
pub enum Semantics {
    Default = 0,
    Quantity = 1,
    TotalCounter = 2,
    DeltaCounter = 3,
    Identifier = 4,
    Flags = 5,
    List = 6,
}

/// Units, with the numbers of RFC 5610 section 3.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[expect(missing_docs, reason = "the names are the definitions, RFC 5610 section 3.3")]
pub enum Units {
    None = 0,
    Octets = 2,
    Packets = 3,
    Flows = 4,
    Seconds = 5,
    Milliseconds = 6,
    Microseconds = 7,
    Nanoseconds = 8,
    Messages = 10,
    Hops = 11,
}

/// An information element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// Enterprise and number; [`WEIR_PEN`] stands for the configured enterprise number.
    pub id: ElementId,
    /// The registered name.
    pub name: &'static str,
    /// Abstract data type.
    pub data_type: DataType,
    /// Semantics.
    pub semantics: Semantics,
    /// Units.
    pub units: Units,
    /// What Weir's own element means; empty for IANA's, whose registry says it.
    pub description: &'static str,
}

macro_rules! elements {
    ($($pen:ident $constant:ident $number:literal $name:literal $data_type:ident $semantics:ident $units:ident $($description:literal)?;)*) => {
        $(
            #[doc = concat!("`", $name, "` (", $number, ").")]
            pub const $constant: Element = Element {
                id: ElementId { enterprise: elements!(@pen $pen), number: $number },
                name: $name,
                data_type: DataType::$data_type,
                semantics: Semantics::$semantics,
                units: Units::$units,
                description: concat!($($description)?),
            };
        )*

        /// Every element of the table.
        pub const ALL: &[Element] = &[$($constant),*];
    };
    (@pen iana) => { 0 };
    (@pen weir) => { WEIR_PEN };
    (@pen cert) => { CERT_PEN };
}

// Elements that are only read (from other exporters) stand here as well as those that are written.
elements! {
    iana OCTET_DELTA_COUNT 1 "octetDeltaCount" Unsigned64 DeltaCounter Octets;
    iana PACKET_DELTA_COUNT 2 "packetDeltaCount" Unsigned64 DeltaCounter Packets;
    iana LAYER2_OCTET_DELTA_COUNT 352 "layer2OctetDeltaCount" Unsigned64 DeltaCounter Octets;
    iana PROTOCOL_IDENTIFIER 4 "protocolIdentifier" Unsigned8 Identifier None;
    iana IP_CLASS_OF_SERVICE 5 "ipClassOfService" Unsigned8 Identifier None;
    iana TCP_CONTROL_BITS 6 "tcpControlBits" Unsigned16 Flags None;
    iana SOURCE_TRANSPORT_PORT 7 "sourceTransportPort" Unsigned16 Identifier None;
    iana SOURCE_IPV4_ADDRESS 8 "sourceIPv4Address" Ipv4Address Default None;
    iana INGRESS_INTERFACE 10 "ingressInterface" Unsigned32 Identifier None;
    iana DESTINATION_TRANSPORT_PORT 11 "destinationTransportPort" Unsigned16 Identifier None;
    iana DESTINATION_IPV4_ADDRESS 12 "destinationIPv4Address" Ipv4Address Default None;
    iana FLOW_END_SYS_UP_TIME 21 "flowEndSysUpTime" Unsigned32 Default Milliseconds;
    iana FLOW_START_SYS_UP_TIME 22 "flowStartSysUpTime" Unsigned32 Default Milliseconds;
    iana MINIMUM_IP_TOTAL_LENGTH 25 "minimumIpTotalLength" Unsigned64 Default Octets;
    iana MAXIMUM_IP_TOTAL_LENGTH 26 "maximumIpTotalLength" Unsigned64 Default Octets;
    iana SOURCE_IPV6_ADDRESS 27 "sourceIPv6Address" Ipv6Address Default None;
    iana DESTINATION_IPV6_ADDRESS 28 "destinationIPv6Address" Ipv6Address Default None;
    iana ICMP_TYPE_CODE_IPV4 32 "icmpTypeCodeIPv4" Unsigned16 Identifier None;
    iana EXPORTED_OCTET_TOTAL_COUNT 40 "exportedOctetTotalCount" Unsigned64 TotalCounter Octets;
    iana EXPORTED_MESSAGE_TOTAL_COUNT 41 "exportedMessageTotalCount" Unsigned64 TotalCounter Messages;
    iana EXPORTED_FLOW_RECORD_TOTAL_COUNT 42 "exportedFlowRecordTotalCount" Unsigned64 TotalCounter Flows;
    iana MINIMUM_TTL 52 "minimumTTL" Unsigned8 Default Hops;
    iana MAXIMUM_TTL 53 "maximumTTL" Unsigned8 Default Hops;
    iana SOURCE_MAC_ADDRESS 56 "sourceMacAddress" MacAddress Default None;
    iana VLAN_ID 58 "vlanId" Unsigned16 Identifier None;
    iana MPLS_TOP_LABEL_STACK_SECTION 70 "mplsTopLabelStackSection" OctetArray Default None;
    iana MPLS_LABEL_STACK_SECTION_2 71 "mplsLabelStackSection2" OctetArray Default None;
    iana MPLS_LABEL_STACK_SECTION_3 72 "mplsLabelStackSection3" OctetArray Default None;
    iana DESTINATION_MAC_ADDRESS 80 "destinationMacAddress" MacAddress Default None;
    iana OCTET_TOTAL_COUNT 85 "octetTotalCount" Unsigned64 TotalCounter Octets;
    iana PACKET_TOTAL_COUNT 86 "packetTotalCount" Unsigned64 TotalCounter Packets;
    iana APPLICATION_NAME 96 "applicationName" Text Default None;
    iana FLOW_END_REASON 136 "flowEndReason" Unsigned8 Identifier None;
    iana ICMP_TYPE_CODE_IPV6 139 "icmpTypeCodeIPv6" Unsigned16 Identifier None;
    iana EXPORTING_PROCESS_ID 144 "exportingProcessId" Unsigned32 Identifier None;
    iana TEMPLATE_ID 145 "templateId" Unsigned16 Identifier None;
    iana FLOW_ID 148 "flowId" Unsigned64 Identifier None;
    iana OBSERVATION_DOMAIN_ID 149 "observationDomainId" Unsigned32 Identifier None;
    iana FLOW_START_SECONDS 150 "flowStartSeconds" DateTimeSeconds Default Seconds;
    iana FLOW_END_SECONDS 151 "flowEndSeconds" DateTimeSeconds Default Seconds;
    iana FLOW_START_MILLISECONDS 152 "flowStartMilliseconds" DateTimeMilliseconds Default Milliseconds;
    iana FLOW_END_MILLISECONDS 153 "flowEndMilliseconds" DateTimeMilliseconds Default Milliseconds;
    iana FLOW_START_MICROSECONDS 154 "flowStartMicroseconds" DateTimeMicroseconds Default Microseconds;
    iana FLOW_END_MICROSECONDS 155 "flowEndMicroseconds" DateTimeMicroseconds Default Microseconds;
    iana FLOW_START_NANOSECONDS 156 "flowStartNanoseconds" DateTimeNanoseconds Default Nanoseconds;
    iana FLOW_END_NANOSECONDS 157 "flowEndNanoseconds" DateTimeNanoseconds Default Nanoseconds;
    iana FLOW_START_DELTA_MICROSECONDS 158 "flowStartDeltaMicroseconds" Unsigned32 Default Microseconds;
    iana FLOW_END_DELTA_MICROSECONDS 159 "flowEndDeltaMicroseconds" Unsigned32 Default Microseconds;
    iana SYSTEM_INIT_TIME_MILLISECONDS 160 "systemInitTimeMilliseconds" DateTimeMilliseconds Default Milliseconds;
    iana FLOW_DURATION_MILLISECONDS 161 "flowDurationMilliseconds" Unsigned32 Default Milliseconds;
    iana FLOW_DURATION_MICROSECONDS 162 "flowDurationMicroseconds" Unsigned32 Default Microseconds;
    iana IGNORED_PACKET_TOTAL_COUNT 164 "ignoredPacketTotalCount" Unsigned64 TotalCounter Packets;
    iana IGNORED_OCTET_TOTAL_COUNT 165 "ignoredOctetTotalCount" Unsigned64 TotalCounter Octets;
    iana NOT_SENT_FLOW_TOTAL_COUNT 166 "notSentFlowTotalCount" Unsigned64 TotalCounter Flows;
    iana NOT_SENT_PACKET_TOTAL_COUNT 167 "notSentPacketTotalCount" Unsigned64 TotalCounter Packets;
    iana NOT_SENT_OCTET_TOTAL_COUNT 168 "notSentOctetTotalCount" Unsigned64 TotalCounter Octets;
    iana FLOW_KEY_INDICATOR 173 "flowKeyIndicator" Unsigned64 Flags None;
    iana ICMP_TYPE_IPV4 176 "icmpTypeIPv4" Unsigned8 Identifier None;
    iana ICMP_CODE_IPV4 177 "icmpCodeIPv4" Unsigned8 Identifier None;
    iana ICMP_TYPE_IPV6 178 "icmpTypeIPv6" Unsigned8 Identifier None;
    iana ICMP_CODE_IPV6 179 "icmpCodeIPv6" Unsigned8 Identifier None;
    iana UDP_SOURCE_PORT 180 "udpSourcePort" Unsigned16 Identifier None;
    iana UDP_DESTINATION_PORT 181 "udpDestinationPort" Unsigned16 Identifier None;
    iana TCP_SOURCE_PORT 182 "tcpSourcePort" Unsigned16 Identifier None;
    iana TCP_DESTINATION_PORT 183 "tcpDestinationPort" Unsigned16 Identifier None;
    iana TCP_WINDOW_SIZE 186 "tcpWindowSize" Unsigned16 Default None;
    iana IP_TTL 192 "ipTTL" Unsigned8 Default Hops;
    iana OCTET_DELTA_SUM_OF_SQUARES 198 "octetDeltaSumOfSquares" Unsigned64 Default None;
    iana INITIATOR_OCTETS 231 "initiatorOctets" Unsigned64 DeltaCounter Octets;
    iana RESPONDER_OCTETS 232 "responderOctets" Unsigned64 DeltaCounter Octets;
    iana BIFLOW_DIRECTION 239 "biflowDirection" Unsigned8 Identifier None;
    iana DOT1Q_VLAN_ID 243 "dot1qVlanId" Unsigned16 Identifier None;
    iana DOT1Q_CUSTOMER_VLAN_ID 245 "dot1qCustomerVlanId" Unsigned16 Identifier None;
    iana INITIATOR_PACKETS 298 "initiatorPackets" Unsigned64 DeltaCounter Packets;
    iana RESPONDER_PACKETS 299 "responderPackets" Unsigned64 DeltaCounter Packets;
    iana OBSERVATION_DOMAIN_NAME 300 "observationDomainName" Text Default None;
    iana SELECTOR_ID 302 "selectorId" Unsigned64 Identifier None;
    iana INFORMATION_ELEMENT_ID 303 "informationElementId" Unsigned16 Identifier None;
    iana SELECTOR_ALGORITHM 304 "selectorAlgorithm" Unsigned16 Identifier None;
    iana SAMPLING_PACKET_INTERVAL 305 "samplingPacketInterval" Unsigned32 Quantity Packets;
    iana SAMPLING_PACKET_SPACE 306 "samplingPacketSpace" Unsigned32 Quantity Packets;
    iana SELECTOR_ID_TOTAL_PACKETS_OBSERVED 318 "selectorIdTotalPktsObserved" Unsigned64 TotalCounter Packets;
    iana SELECTOR_ID_TOTAL_PACKETS_SELECTED 319 "selectorIdTotalPktsSelected" Unsigned64 TotalCounter Packets;
    iana OBSERVATION_TIME_MILLISECONDS 323 "observationTimeMilliseconds" DateTimeMilliseconds Default Milliseconds;
    iana OBSERVATION_TIME_NANOSECONDS 325 "observationTimeNanoseconds" DateTimeNanoseconds Default Nanoseconds;
    iana INFORMATION_ELEMENT_DATA_TYPE 339 "informationElementDataType" Unsigned8 Default None;
    iana INFORMATION_ELEMENT_DESCRIPTION 340 "informationElementDescription" Text Default None;
    iana INFORMATION_ELEMENT_NAME 341 "informationElementName" Text Default None;
    iana INFORMATION_ELEMENT_RANGE_BEGIN 342 "informationElementRangeBegin" Unsigned64 Quantity None;
    iana INFORMATION_ELEMENT_RANGE_END 343 "informationElementRangeEnd" Unsigned64 Quantity None;
    iana INFORMATION_ELEMENT_SEMANTICS 344 "informationElementSemantics" Unsigned8 Default None;
    iana INFORMATION_ELEMENT_UNITS 345 "informationElementUnits" Unsigned16 Default None;
    iana PRIVATE_ENTERPRISE_NUMBER 346 "privateEnterpriseNumber" Unsigned32 Identifier None;
    iana HTTP_STATUS_CODE 457 "httpStatusCode" Unsigned16 Identifier None;

    // CERT's; the reverse of one has bit 0x4000 set.
    cert REVERSE_FLOW_DELTA_MILLISECONDS 21 "reverseFlowDeltaMilliseconds" Unsigned32 Quantity Milliseconds;
    cert PAYLOAD_ENTROPY 35 "payloadEntropy" Unsigned8 Quantity None;
    cert REVERSE_PAYLOAD_ENTROPY 16_419 "reversePayloadEntropy" Unsigned8 Quantity None;

    // Weir's own: numbers 1 to 99; 100 and up are inspection's (metadata.rs). Never reused.
    weir COMMUNITY_ID 1 "weirCommunityId" OctetArray Default None
        "Digest of the flow's Community ID version 1; its text form is 1: and the base64 of these 20 octets.";
    weir FLOW_STATE 2 "weirFlowState" Unsigned8 Identifier None
        "State at the end of the record: 0 new, 1 established, 2 closed.";
    weir TEXT 3 "weirText" Text Default None
        "One text in a basicList, described by the element that holds the list.";
    weir RING_EXTENTS 4 "weirRingExtents" Text Default None
        "Blocks of the sensor's ring that hold the flow's packets: RUN.LANE:FIRST-LAST,FIRST-LAST, with ~ in front when blocks without such packets are among them.";
    weir RING_EXPIRY 5 "weirRingExpiry" DateTimeMilliseconds Default Milliseconds
        "When the ring is expected to remove the first of these blocks at the rate at which it fills. 0: not known.";
    weir RING_FRAMES 6 "weirRingFrameDeltaCount" Unsigned32 DeltaCounter Packets
        "Frames of the flow that the ring took.";
    weir RING_MISSED_FRAMES 7 "weirRingMissedFrameDeltaCount" Unsigned32 DeltaCounter Packets
        "Frames of the flow that the ring could not take.";
    weir CAPTURED_FRAMES 10 "weirCapturedFrameTotalCount" Unsigned64 TotalCounter Packets
        "Frames handed to the sensor's workers.";
    weir KERNEL_DROPPED_FRAMES 11 "weirKernelDroppedFrameTotalCount" Unsigned64 TotalCounter Packets
        "Frames the kernel dropped because the capture buffer was full.";
    weir INTERFACE_DROPPED_FRAMES 12 "weirInterfaceDroppedFrameTotalCount" Unsigned64 TotalCounter Packets
        "Frames the interface dropped before the kernel saw them.";
    weir UNDECODED_FRAMES 13 "weirUndecodedFrameTotalCount" Unsigned64 TotalCounter Packets
        "Frames that could not be metered because a header is cut off or malformed.";
    weir QUEUE_DROPPED_FLOWS 14 "weirQueueDroppedFlowTotalCount" Unsigned64 TotalCounter Flows
        "Flow records lost between the workers and export because the queue was full.";
    weir EARLY_ENDED_FLOWS 15 "weirEarlyEndedFlowTotalCount" Unsigned64 TotalCounter Flows
        "Flow records made early because the flow table was full.";
    weir RING_DROPPED_FRAMES 16 "weirRingDroppedFrameTotalCount" Unsigned64 TotalCounter Packets
        "Frames that are missing in the sensor's ring of packets.";
    weir CONNECTION_STATE 20 "weirConnectionState" Unsigned8 Identifier None
        "How the flow went, as Zeek's conn_state: 1 S0, 2 S1, 3 SF, 4 REJ, 5 S2, 6 S3, 7 RSTO, 8 RSTR, 9 RSTOS0, 10 RSTRH, 11 SH, 12 SHR, 13 OTH. 0: not known.";
    weir TCP_HISTORY 21 "weirTcpHistory" Text Default None
        "What happened in the connection, in the letters of Zeek's history.";
    weir SERVER_ROUND_TRIP_TIME 22 "weirServerRoundTripTime" Unsigned32 Quantity Microseconds
        "From SYN to SYN with ACK. All ones: not seen.";
    weir CLIENT_ROUND_TRIP_TIME 23 "weirClientRoundTripTime" Unsigned32 Quantity Microseconds
        "From SYN with ACK to the handshake's ACK. All ones: not seen.";
    weir PACKET_PAYLOADS 24 "weirFirstPacketPayloads" BasicList List None
        "The first packets, both directions, in order: each one's weirPacketPayload.";
    weir PACKET_TIMES 25 "weirFirstPacketTimes" BasicList List None
        "The same packets: each one's weirPacketTime.";
    weir PACKET_FLAGS 26 "weirFirstPacketFlags" BasicList List None
        "The same packets: each one's tcpControlBits, the low eight.";
    weir PACKET_DIRECTIONS 27 "weirFirstPacketDirections" BasicList List None
        "The same packets: each one's weirPacketDirection.";
    weir PACKET_PAYLOAD 28 "weirPacketPayload" Unsigned16 Quantity Octets
        "Octets of a packet's payload. 65535: as many or more.";
    weir PACKET_TIME 29 "weirPacketTime" Unsigned32 Quantity Microseconds
        "Time of a packet since the record's start. All ones: more than fits.";
    weir PACKET_DIRECTION 31 "weirPacketDirection" Unsigned8 Identifier None
        "Which way a packet went: 1 from the initiator, 2 from the responder.";
    weir TUNNEL 32 "weirTunnel" Text Default None
        "The tunnel that the packets came in: kind, source, port, destination, port, depth, identifier. Empty: none.";
    weir RETRANSMITTED_SEGMENTS 33 "weirRetransmittedSegmentDeltaCount" Unsigned32 DeltaCounter Packets
        "TCP segments that repeat sequence numbers.";
    weir OUT_OF_ORDER_SEGMENTS 34 "weirOutOfOrderSegmentDeltaCount" Unsigned32 DeltaCounter Packets
        "TCP segments that came after later ones, sooner than a retransmission could be.";
    weir DUPLICATE_ACKS 35 "weirDuplicateAckDeltaCount" Unsigned32 DeltaCounter Packets
        "TCP acknowledgements that say again what the one before said and do not answer a keep-alive.";
    weir ZERO_WINDOW_SEGMENTS 36 "weirZeroWindowSegmentDeltaCount" Unsigned32 DeltaCounter Packets
        "TCP segments with a window of zero.";
    weir MISSED_OCTETS 37 "weirMissedOctetDeltaCount" Unsigned64 DeltaCounter Octets
        "Octets that TCP's other end acknowledged and that were not seen.";
    weir MINIMUM_GAP 38 "weirMinimumInterarrivalTime" Unsigned32 Quantity Microseconds
        "Shortest time between two packets.";
    weir MAXIMUM_GAP 39 "weirMaximumInterarrivalTime" Unsigned32 Quantity Microseconds
        "Longest time between two packets.";
    weir GAP_SUM 40 "weirInterarrivalTimeSum" Unsigned64 Quantity Microseconds
        "Sum of the times between packets.";
    weir GAP_SUM_OF_SQUARES 41 "weirInterarrivalTimeSumOfSquares" Unsigned64 Quantity None
        "Sum of the squares of the times between packets, in square microseconds. All ones: more than fits.";
    // The same for the responder; RFC 5103 reverses only IANA's elements. Always thirty above.
    weir REVERSE_RETRANSMITTED_SEGMENTS 63 "weirReverseRetransmittedSegmentDeltaCount" Unsigned32 DeltaCounter Packets
        "The same for the responder's direction: TCP segments that repeat sequence numbers.";
    weir REVERSE_OUT_OF_ORDER_SEGMENTS 64 "weirReverseOutOfOrderSegmentDeltaCount" Unsigned32 DeltaCounter Packets
        "The same for the responder's direction: TCP segments that came after later ones, sooner than a retransmission could be.";
    weir REVERSE_DUPLICATE_ACKS 65 "weirReverseDuplicateAckDeltaCount" Unsigned32 DeltaCounter Packets
        "The same for the responder's direction: TCP acknowledgements that say again what the one before said and do not answer a keep-alive.";
    weir REVERSE_ZERO_WINDOW_SEGMENTS 66 "weirReverseZeroWindowSegmentDeltaCount" Unsigned32 DeltaCounter Packets
        "The same for the responder's direction: TCP segments with a window of zero.";
    weir REVERSE_MISSED_OCTETS 67 "weirReverseMissedOctetDeltaCount" Unsigned64 DeltaCounter Octets
        "The same for the responder's direction: octets that TCP's other end acknowledged and that were not seen.";
    weir REVERSE_MINIMUM_GAP 68 "weirReverseMinimumInterarrivalTime" Unsigned32 Quantity Microseconds
        "The same for the responder's direction: shortest time between two packets.";
    weir REVERSE_MAXIMUM_GAP 69 "weirReverseMaximumInterarrivalTime" Unsigned32 Quantity Microseconds
        "The same for the responder's direction: longest time between two packets.";
    weir REVERSE_GAP_SUM 70 "weirReverseInterarrivalTimeSum" Unsigned64 Quantity Microseconds
        "The same for the responder's direction: sum of the times between packets.";
    weir REVERSE_GAP_SUM_OF_SQUARES 71 "weirReverseInterarrivalTimeSumOfSquares" Unsigned64 Quantity None
        "The same for the responder's direction: sum of the squares of the times between packets, in square microseconds. All ones: more than fits.";
    weir ALERT_SIGNATURE 80 "weirAlertSignatureId" Unsigned32 Identifier None
        "The signature that matched: sid of its rule.";
    weir ALERT_GENERATOR 81 "weirAlertGeneratorId" Unsigned32 Identifier None
        "Whose numbering the signature's number is of: gid of its rule.";
    weir ALERT_REVISION 82 "weirAlertRevision" Unsigned32 Identifier None
        "Revision of the signature.";
    weir ALERT_SEVERITY 83 "weirAlertSeverity" Unsigned8 Identifier None
        "Severity of the signature: 1 is worst.";
    weir ALERT_TARGET 84 "weirAlertTarget" Unsigned8 Identifier None
        "Which end the signature calls the target: 1 the initiator, 2 the responder, 0 none.";
    weir ALERT_MESSAGE 85 "weirAlertMessage" Text Default None
        "What the signature says it found.";
    weir ALERT_CATEGORY 86 "weirAlertCategory" Text Default None
        "The signature's class in words.";
    weir SPOOL_EPOCH 90 "weirSpoolEpoch" Unsigned64 Identifier None
        "Which spool of the exporter numbered the records: drawn when the spool was begun.";
    weir SPOOL_SEQUENCE 91 "weirSpoolSequence" Unsigned64 Identifier None
        "Number of the first record in its spool; the records that follow in the message are numbered on from it.";
    weir SPOOL_RECORDS 92 "weirSpoolRecordCount" Unsigned64 Quantity None
        "How many numbers are spoken for from there on. Those without a record in the message will not come: they are lost, or were delivered before.";
}

/// Sections of an MPLS label stack, topmost first; each empty or three octets.
pub const MPLS_SECTIONS: [Element; 3] =
    [MPLS_TOP_LABEL_STACK_SECTION, MPLS_LABEL_STACK_SECTION_2, MPLS_LABEL_STACK_SECTION_3];
/// What TCP had to repair, for the initiator's direction and the responder's.
pub const TROUBLE: [(Element, Element); 5] = [
    (RETRANSMITTED_SEGMENTS, REVERSE_RETRANSMITTED_SEGMENTS),
    (OUT_OF_ORDER_SEGMENTS, REVERSE_OUT_OF_ORDER_SEGMENTS),
    (DUPLICATE_ACKS, REVERSE_DUPLICATE_ACKS),
    (ZERO_WINDOW_SEGMENTS, REVERSE_ZERO_WINDOW_SEGMENTS),
    (MISSED_OCTETS, REVERSE_MISSED_OCTETS),
];
/// Times between packets, for the initiator's direction and the responder's.
pub const GAPS: [(Element, Element); 4] = [
    (MINIMUM_GAP, REVERSE_MINIMUM_GAP),
    (MAXIMUM_GAP, REVERSE_MAXIMUM_GAP),
    (GAP_SUM, REVERSE_GAP_SUM),
    (GAP_SUM_OF_SQUARES, REVERSE_GAP_SUM_OF_SQUARES),
];

/// The value of a number element that says the sensor did not see one.
pub const NUMBER_NOT_SEEN: u64 = u64::MAX;

/// How inspection's field travels: its element, with what RFC 5610 says about it.
///
/// Numbers are `unsigned64` with all ones for "not seen", except IANA's `httpStatusCode`, where it is 0;
/// texts are strings, empty for "not seen"; lists are basicLists (RFC 6313) of [`TEXT`].
pub fn of_field(field: Field) -> Element {
    let (data_type, semantics) = match field.shape() {
        Shape::Text => (DataType::Text, Semantics::Default),
        Shape::Number if field.element().enterprise == 0 => (DataType::Unsigned16, Semantics::Identifier),
        Shape::Number => (DataType::Unsigned64, Semantics::Identifier),
        Shape::TextList => (DataType::BasicList, Semantics::List),
    };
    let description = match field.shape() {
        Shape::Text => "Empty: not seen.",
        Shape::Number => "All ones: not seen.",
        Shape::TextList => "A list of weirText in the order seen, without repeats.",
    };
    let (id, name) = (field.element(), field.element_name());
    Element { id, name, data_type, semantics, units: Units::None, description }
}

/// Weir's own elements, those of inspection's fields included: what RFC 5610 describes in-band.
pub fn own() -> impl Iterator<Item = Element> {
    let fields = Field::ALL.iter().copied().map(of_field);
    ALL.iter().copied().chain(fields).filter(|element| element.id.enterprise == WEIR_PEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_number_and_no_name_is_given_twice() {
        let own: HashSet<_> = own().map(|element| element.id).collect();
        assert_eq!(own.len(), super::own().count());
        let ids: HashSet<_> = ALL.iter().map(|element| element.id).collect();
        let names: HashSet<_> = ALL.iter().map(|element| element.name).collect();
        assert_eq!((ids.len(), names.len()), (ALL.len(), ALL.len()));
    }

    #[test]
    fn the_flow_s_own_numbers_stay_below_inspection_s() {
        for element in ALL.iter().filter(|element| element.id.enterprise == WEIR_PEN) {
            assert!((1..100).contains(&element.id.number), "{}", element.name);
            assert!(!element.description.is_empty(), "{}", element.name);
        }
        for field in Field::ALL.iter().filter(|field| field.element().enterprise == WEIR_PEN) {
            assert!(field.element().number >= 100, "{field:?}");
        }
    }
}
