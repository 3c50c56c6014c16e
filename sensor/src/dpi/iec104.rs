//! IEC 60870-5-104: telecontrol over TCP.
//!
//! In: both directions of a stream. Out: the kinds of information exchanged with their causes and stations, and
//! one event per frame that carries information or controls the connection. Acknowledgements alone are passed
//! over; of the information itself only addresses are read.

use crate::dpi::bytes::{le16, u8_at};
use crate::dpi::{Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;

const START: u8 = 0x68;
/// Bytes of the frame's start and length.
const HEADER_BYTES: usize = 2;
/// Least and most of the length field: control field, and with the longest ASDU.
const LENGTHS: std::ops::RangeInclusive<usize> = 4..=253;
const PORT: u16 = 2404;

/// The dissector of one connection.
#[derive(Debug, Default)]
pub(super) struct Iec104 {
    messages: u64,
    /// By direction: where frames begin is not known.
    is_lost: [bool; 2],
}

/// What a frame's control field says (IEC 60870-5-104 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame<'a> {
    Information { sent: u16, received: u16, asdu: &'a [u8] },
    Supervisory,
    Unnumbered(&'static str),
}

impl<'a> Frame<'a> {
    /// Reads a frame behind its header.
    fn read(bytes: &'a [u8]) -> Option<Frame<'a>> {
        let [a, b, c, d] = *bytes.first_chunk::<4>()?;
        let received = u16::from_le_bytes([c, d]) >> 1;
        match a & 3 {
            1 => (a == 1 && b == 0 && c & 1 == 0 && bytes.len() == 4).then_some(Frame::Supervisory),
            3 => {
                let name = match a {
                    0x07 => "STARTDT act",
                    0x0b => "STARTDT con",
                    0x13 => "STOPDT act",
                    0x23 => "STOPDT con",
                    0x43 => "TESTFR act",
                    0x83 => "TESTFR con",
                    _ => return None,
                };
                ([b, c, d] == [0; 3] && bytes.len() == 4).then_some(Frame::Unnumbered(name))
            }
            _ => {
                let asdu = bytes.get(4..)?;
                let sent = u16::from_le_bytes([a, b]) >> 1;
                (c & 1 == 0 && Asdu::read(asdu).is_some()).then_some(Frame::Information {
                    sent,
                    received,
                    asdu,
                })
            }
        }
    }
}

/// The head of an application service data unit.
#[derive(Clone, Copy, Debug)]
struct Asdu<'a> {
    kind: u8,
    count: u8,
    is_sequence: bool,
    cause: u8,
    originator: u8,
    station: u16,
    objects: &'a [u8],
}

impl<'a> Asdu<'a> {
    fn read(bytes: &'a [u8]) -> Option<Asdu<'a>> {
        let [kind, qualifier, cause, originator] = *bytes.first_chunk::<4>()?;
        type_name(kind)?;
        (cause & 0x3f != 0).then_some(())?;
        Some(Asdu {
            kind,
            count: qualifier & 0x7f,
            is_sequence: qualifier & 0x80 != 0,
            cause,
            originator,
            station: le16(bytes, 4)?,
            objects: bytes.get(6..)?,
        })
    }

    /// The address of the first object.
    fn address(&self) -> Option<u32> {
        let [a, b, c] = *self.objects.first_chunk::<3>()?;
        Some(u32::from_le_bytes([a, b, c, 0]))
    }

    fn write(&self, object: &mut Object<'_>) {
        object.number("type_id", self.kind).text("type", type_name(self.kind).unwrap_or("unknown"));
        object.number("count", self.count).bool("sequence", self.is_sequence);
        object.number("cause", self.cause & 0x3f).text("cause_name", cause_name(self.cause & 0x3f));
        object.bool("negative", self.cause & 0x40 != 0).bool("test", self.cause & 0x80 != 0);
        object.number("originator", self.originator).number("station", self.station);
        if let Some(address) = self.address() {
            object.number("address", address);
        }
    }
}

impl Dissector for Iec104 {
    const APP: App = App::Iec104;

    const STARTS: Starts = Starts::stream(&[START]);

    fn probe(first: &First<'_>) -> Probe {
        let mut rest = first.bytes;
        let mut frames = 0;
        while let Some((&[start, length], after)) = rest.split_first_chunk::<HEADER_BYTES>() {
            let length = usize::from(length);
            if start != START || !LENGTHS.contains(&length) {
                return Probe::NotForUs;
            }
            let Some((frame, after)) = after.split_at_checked(length) else {
                // Information of a kind that there is not need not be waited for.
                let is_other = matches!(after, [a, _, c, _, kind, ..]
                    if a & 1 == 0 && (c & 1 != 0 || type_name(*kind).is_none()));
                if is_other {
                    return Probe::NotForUs;
                }
                break;
            };
            match Frame::read(frame) {
                None => return Probe::NotForUs,
                Some(Frame::Supervisory) if !first.has_port(PORT) => {}
                Some(_) => frames += 1,
            }
            rest = after;
        }
        if frames > 0 { Probe::Certain } else { Probe::Unsure }
    }

    fn new() -> Self {
        Iec104::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        let index = context.direction.index();
        let mut at = 0;
        while let Some(rest) = bytes.get(at..)
            && let Some((&[start, length], after)) = rest.split_first_chunk::<HEADER_BYTES>()
        {
            let length = usize::from(length);
            if start != START || !LENGTHS.contains(&length) {
                // The next frame begins at the next start byte.
                let next =
                    rest.iter().skip(1).position(|byte| *byte == START).map_or(rest.len(), |at| at + 1);
                if !std::mem::replace(&mut self.is_lost[index], true) {
                    context.anomaly("invalid_start", None);
                }
                at += next;
                continue;
            }
            let Some(frame) = after.get(..length) else { break };
            // In the search for a frame only what is one counts.
            if self.is_lost[index] && Frame::read(frame).is_none() {
                at += 1;
                continue;
            }
            self.is_lost[index] = false;
            self.frame(frame, context);
            at += HEADER_BYTES + length;
        }
        Progress::Used(at)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.is_lost[context.direction.index()] = true;
        Progress::Used(0)
    }

    fn close(&mut self, _: &mut Context<'_>) {}
}

impl Iec104 {
    fn frame(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        let direction = context.direction;
        match Frame::read(bytes) {
            Some(Frame::Supervisory) => {}
            Some(Frame::Unnumbered(name)) => {
                context.metadata.add(Field::Command, name);
                let transaction = self.next();
                context.tell(direction, Some(transaction), |object| {
                    object.text("frame", "unnumbered").text("function", name);
                });
            }
            Some(Frame::Information { sent, received, asdu }) => {
                let Some(asdu) = Asdu::read(asdu) else { return };
                context.metadata.add(Field::Command, type_name(asdu.kind).unwrap_or("unknown"));
                context.metadata.add(Field::EndpointName, &asdu.station.to_string());
                if asdu.cause & 0x40 != 0 {
                    context.metadata.add(Field::Status, "negative");
                }
                let transaction = self.next();
                context.tell(direction, Some(transaction), |object| {
                    object.text("frame", "information").number("send_sequence", sent);
                    object.number("receive_sequence", received);
                    asdu.write(&mut object.object("asdu"));
                });
            }
            None => {
                let kind = u8_at(bytes, 0).unwrap_or(0) & 1;
                let event = if kind == 0 { "invalid_asdu" } else { "invalid_control" };
                context.anomaly(event, None);
            }
        }
    }

    fn next(&mut self) -> u64 {
        self.messages += 1;
        self.messages - 1
    }
}

/// Types of information (IEC 60870-5-101 section 7.2.1, with 104's own).
fn type_name(kind: u8) -> Option<&'static str> {
    Some(match kind {
        1 => "M_SP_NA_1",
        2 => "M_SP_TA_1",
        3 => "M_DP_NA_1",
        4 => "M_DP_TA_1",
        5 => "M_ST_NA_1",
        6 => "M_ST_TA_1",
        7 => "M_BO_NA_1",
        8 => "M_BO_TA_1",
        9 => "M_ME_NA_1",
        10 => "M_ME_TA_1",
        11 => "M_ME_NB_1",
        12 => "M_ME_TB_1",
        13 => "M_ME_NC_1",
        14 => "M_ME_TC_1",
        15 => "M_IT_NA_1",
        16 => "M_IT_TA_1",
        17 => "M_EP_TA_1",
        18 => "M_EP_TB_1",
        19 => "M_EP_TC_1",
        20 => "M_PS_NA_1",
        21 => "M_ME_ND_1",
        30 => "M_SP_TB_1",
        31 => "M_DP_TB_1",
        32 => "M_ST_TB_1",
        33 => "M_BO_TB_1",
        34 => "M_ME_TD_1",
        35 => "M_ME_TE_1",
        36 => "M_ME_TF_1",
        37 => "M_IT_TB_1",
        38 => "M_EP_TD_1",
        39 => "M_EP_TE_1",
        40 => "M_EP_TF_1",
        45 => "C_SC_NA_1",
        46 => "C_DC_NA_1",
        47 => "C_RC_NA_1",
        48 => "C_SE_NA_1",
        49 => "C_SE_NB_1",
        50 => "C_SE_NC_1",
        51 => "C_BO_NA_1",
        58 => "C_SC_TA_1",
        59 => "C_DC_TA_1",
        60 => "C_RC_TA_1",
        61 => "C_SE_TA_1",
        62 => "C_SE_TB_1",
        63 => "C_SE_TC_1",
        64 => "C_BO_TA_1",
        70 => "M_EI_NA_1",
        100 => "C_IC_NA_1",
        101 => "C_CI_NA_1",
        102 => "C_RD_NA_1",
        103 => "C_CS_NA_1",
        104 => "C_TS_NA_1",
        105 => "C_RP_NA_1",
        106 => "C_CD_NA_1",
        107 => "C_TS_TA_1",
        110 => "P_ME_NA_1",
        111 => "P_ME_NB_1",
        112 => "P_ME_NC_1",
        113 => "P_AC_NA_1",
        120 => "F_FR_NA_1",
        121 => "F_SR_NA_1",
        122 => "F_SC_NA_1",
        123 => "F_LS_NA_1",
        124 => "F_AF_NA_1",
        125 => "F_SG_NA_1",
        126 => "F_DR_TA_1",
        127 => "F_SC_NB_1",
        _ => return None,
    })
}

fn cause_name(cause: u8) -> &'static str {
    match cause {
        1 => "periodic",
        2 => "background scan",
        3 => "spontaneous",
        4 => "initialized",
        5 => "request",
        6 => "activation",
        7 => "activation confirmation",
        8 => "deactivation",
        9 => "deactivation confirmation",
        10 => "activation termination",
        11 => "return by remote command",
        12 => "return by local command",
        13 => "file transfer",
        20..=36 => "interrogated",
        37..=41 => "counter interrogated",
        44 => "unknown type",
        45 => "unknown cause",
        46 => "unknown station",
        47 => "unknown address",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::Carrier;
    use crate::dpi::trial::{Trial, cuts_do_not_matter, survives_damage};
    use weir_common::net::Direction;

    const START_ACT: &[u8] = &[0x68, 4, 7, 0, 0, 0];
    /// Interrogation of station 10.
    const INTERROGATE: &[u8] = &[0x68, 14, 0, 0, 0, 0, 100, 1, 6, 0, 10, 0, 0, 0, 0, 20];
    const START_CON: &[u8] = &[0x68, 4, 0x0b, 0, 0, 0];
    const ACKNOWLEDGE: &[u8] = &[0x68, 4, 1, 0, 2, 0];

    #[test]
    fn frames_are_told_with_their_information() {
        let client = [START_ACT, INTERROGATE].concat();
        let server = [START_CON, ACKNOWLEDGE].concat();
        let trial = Trial::<Iec104>::new().client(&client).server(&server);
        assert_eq!((trial.malformed, trial.events.len()), (0, 3));
        let body: serde_json::Value = serde_json::from_slice(&trial.events[1].body).unwrap();
        let want = serde_json::json!({
            "frame": "information", "send_sequence": 0, "receive_sequence": 0,
            "asdu": {
                "type_id": 100, "type": "C_IC_NA_1", "count": 1, "sequence": false, "cause": 6,
                "cause_name": "activation", "negative": false, "test": false, "originator": 0,
                "station": 10, "address": 0,
            },
        });
        assert_eq!(body, want);
        assert_eq!(trial.text(Field::EndpointName), "10");
        cuts_do_not_matter::<Iec104>(&client, &server);
        survives_damage::<Iec104>(&client, &server);
    }

    #[test]
    fn only_frames_that_mean_something_are_recognised() {
        let probe = |bytes: &[u8]| Iec104::probe(&First::of(Carrier::Stream, Direction::Forward, bytes));
        assert_eq!(probe(START_ACT), Probe::Certain);
        assert_eq!(probe(INTERROGATE), Probe::Certain);
        assert_eq!(probe(ACKNOWLEDGE), Probe::Unsure);
        assert_eq!(probe(&[0x68, 4, 7, 0, 0, 1]), Probe::NotForUs);
        assert_eq!(probe(&[0x68, 32, 0, 0, 0, 0, 0x90, 1]), Probe::NotForUs);
        assert_eq!(probe(&[0x68, 32, 0, 0, 0, 0, 30, 1]), Probe::Unsure);
        assert_eq!(probe(b"h\0tml"), Probe::NotForUs);
    }
}
