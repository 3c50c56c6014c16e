//! ONC RPC (RFC 5531) and the programs that NFS needs around it: portmap and rpcbind (RFC 1833), mount (RFC 1813
//! appendix I), and others by number.
//!
//! In: datagrams, or a stream of records (RFC 5531 section 11). Out: one event per answered call with what was
//! asked and who asked. Arguments are read of portmap and mount only. NFS itself is [`super::nfs`], which reads
//! its calls by what is here.

pub(super) mod message;

use super::{Carrier, Context, Dissector, First, Probe, Progress, Starts};
use crate::dpi::scan::Scan;
use message::{Call, Kind, MARK_BYTES, Message, Reply, opaque, record};
use std::collections::VecDeque;
use weir_common::app::App;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// Most calls whose replies are awaited; the oldest makes room.
const PENDING_MAX: usize = 256;
/// Most bytes of a record that are waited for; what is behind them passes.
const RECORD_BYTES_MAX: usize = 8 << 10;

const PORTMAP: u32 = 100_000;
const MOUNT: u32 = 100_005;

/// The programs that are known, with their names and highest versions.
const PROGRAMS: &[(u32, &str, u32)] = &[
    (PORTMAP, "portmap", 4),
    (100_001, "rstat", 5),
    (100_002, "rusers", 3),
    (100_004, "ypserv", 2),
    (MOUNT, "mount", 3),
    (100_007, "ypbind", 3),
    (100_009, "yppasswd", 1),
    (100_011, "rquota", 2),
    (100_021, "nlockmgr", 4),
    (100_024, "status", 1),
    (100_227, "nfs_acl", 3),
    (100_068, "cmsd", 5),
    (100_083, "ttdbserver", 1),
    (395_183, "vxi11_core", 1),
    (395_184, "vxi11_async", 1),
];

/// The dissector of one flow.
#[derive(Debug, Default)]
pub(super) struct Rpc {
    pending: VecDeque<Box<Pending>>,
    transactions: u64,
    is_lost: [bool; 2],
}

#[derive(Debug)]
struct Pending {
    id: u64,
    xid: u32,
    program: u32,
    version: u32,
    procedure: u32,
    about: String,
    credentials: message::Credentials,
}

impl Dissector for Rpc {
    const APP: App = App::Rpc;

    /// A datagram begins with any number, a record with its mark.
    const STARTS: Starts = Starts::DATAGRAM.or(Starts::stream(&[0x80]));

    fn probe(first: &First<'_>) -> Probe {
        message::probe(first, 111, |program, version| {
            PROGRAMS.iter().any(|(known, _, highest)| *known == program && (1..=*highest).contains(&version))
        })
    }

    fn new() -> Self {
        Rpc::default()
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        if context.carrier == Carrier::Datagram {
            self.message(bytes, context);
            return Progress::Used(bytes.len());
        }
        let index = context.direction.index();
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if self.is_lost[index] {
                return Progress::Used(bytes.len());
            }
            let Some((size, _)) = record(rest) else { break };
            let wanted = size.min(RECORD_BYTES_MAX);
            let Some(message) = rest.get(MARK_BYTES..MARK_BYTES + wanted) else { break };
            if Message::parse(message).is_none() {
                self.is_lost[index] = true;
                *context.malformed += 1;
                continue;
            }
            self.message(message, context);
            used = used.saturating_add(MARK_BYTES + size);
        }
        Progress::Used(used)
    }

    fn gap(&mut self, _: u64, context: &mut Context<'_>) -> Progress {
        self.is_lost[context.direction.index()] = true;
        if self.is_lost == [true; 2] { Progress::Done } else { Progress::Used(0) }
    }

    fn close(&mut self, context: &mut Context<'_>) {
        for pending in std::mem::take(&mut self.pending) {
            pending.tell(None, "", context);
        }
    }
}

impl Rpc {
    fn message(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        match Message::parse(bytes).map(|message| (message.xid, message.kind)) {
            Some((xid, Kind::Call(call))) => self.call(xid, &call, context),
            Some((xid, Kind::Reply(reply))) => self.reply(xid, &reply, context),
            None => *context.malformed += 1,
        }
    }

    fn call(&mut self, xid: u32, call: &Call<'_>, context: &mut Context<'_>) {
        if self.pending.iter().any(|pending| pending.xid == xid) {
            return; // sent again
        }
        let name = procedure_name(call.program, call.procedure);
        context.metadata.add(Field::Command, &format!("{} {name}", program_name(call.program)));
        call.credentials.learn(context);
        let about = about(call);
        if !about.is_empty() {
            context.metadata.add(Field::Object, &about);
        }
        let id = self.transactions;
        self.transactions += 1;
        if self.pending.len() >= PENDING_MAX {
            self.pending.pop_front();
        }
        self.pending.push_back(Box::new(Pending {
            id,
            xid,
            program: call.program,
            version: call.version,
            procedure: call.procedure,
            about,
            credentials: call.credentials.clone(),
        }));
    }

    fn reply(&mut self, xid: u32, reply: &Reply<'_>, context: &mut Context<'_>) {
        let Some(at) = self.pending.iter().position(|pending| pending.xid == xid) else { return };
        let Some(pending) = self.pending.remove(at) else { return };
        let mut answer = String::new();
        if pending.program == PORTMAP && pending.procedure == 3 && reply.accept == Some(0) {
            let mut scan = Scan::new(reply.body);
            if pending.version == 2 {
                answer = scan.be32().map(|port| port.to_string()).unwrap_or_default();
            } else if let Some(address) = opaque(&mut scan) {
                answer = String::from_utf8_lossy(address).into_owned();
            }
        }
        if !answer.is_empty() {
            context.metadata.add(Field::Object, &answer);
        }
        pending.tell(Some(reply), &answer, context);
    }
}

impl Pending {
    fn tell(&self, reply: Option<&Reply<'_>>, answer: &str, context: &mut Context<'_>) {
        context.tell(Direction::Forward, Some(self.id), |object| {
            object.number("xid", self.xid);
            if let Some(reply) = reply {
                object.text("status", reply.status());
            }
            self.credentials.describe(object);
            object.text("program", &program_name(self.program)).number("version", self.version);
            object.text("procedure", &procedure_name(self.program, self.procedure));
            if !self.about.is_empty() {
                object.text("object", &self.about);
            }
            if !answer.is_empty() {
                object.text("answer", answer);
            }
        });
    }
}

/// What a call of portmap or mount is about: a program, a path.
fn about(call: &Call<'_>) -> String {
    let mut scan = Scan::new(call.arguments);
    match (call.program, call.version, call.procedure) {
        (PORTMAP, 2, 1..=3) => scan.be32().map(program_name).unwrap_or_default(),
        (PORTMAP, 3 | 4, 1..=3) => scan.be32().map(program_name).unwrap_or_default(),
        (MOUNT, _, 1 | 3) => {
            opaque(&mut scan).map(|path| String::from_utf8_lossy(path).into_owned()).unwrap_or_default()
        }
        _ => String::new(),
    }
}

fn program_name(program: u32) -> String {
    if program == message::NFS {
        return "nfs".to_owned();
    }
    let known = PROGRAMS.iter().find(|(known, ..)| *known == program);
    known.map_or_else(|| program.to_string(), |(_, name, _)| (*name).to_owned())
}

fn procedure_name(program: u32, procedure: u32) -> String {
    let names: &[&str] = match program {
        PORTMAP => &["NULL", "SET", "UNSET", "GETPORT", "DUMP", "CALLIT"],
        MOUNT => &["NULL", "MNT", "DUMP", "UMNT", "UMNTALL", "EXPORT"],
        _ => &["NULL"],
    };
    let name = usize::try_from(procedure).ok().and_then(|at| names.get(at));
    name.map_or_else(|| procedure.to_string(), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::trial::{Trial, survives_damage, survives_damaged_datagrams};

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn getport() -> Vec<u8> {
        words(&[7, 0, 2, PORTMAP, 2, 3, 0, 0, 0, 0, 100_003, 3, 17, 0])
    }

    fn answer() -> Vec<u8> {
        words(&[7, 1, 0, 0, 0, 0, 2049])
    }

    #[test]
    fn a_call_is_told_with_its_answer() {
        let trial = Trial::<Rpc>::new().over_datagrams().client(&getport()).server(&answer());
        assert_eq!(
            trial.event(),
            serde_json::json!({"xid": 7, "status": "ACCEPTED", "auth_type": "NULL", "program": "portmap", "version": 2,
                "procedure": "GETPORT", "object": "nfs", "answer": "2049"})
        );
        assert_eq!(trial.text(Field::Command), "portmap GETPORT");
    }

    #[test]
    fn records_of_a_stream_are_the_same() {
        let mark =
            |message: Vec<u8>| [&(message.len() as u32 | 1 << 31).to_be_bytes()[..], &message].concat();
        let trial = Trial::<Rpc>::new().client(&mark(getport())).server(&mark(answer()));
        assert_eq!(trial.events.len(), 1);
        survives_damage::<Rpc>(&mark(getport()), &mark(answer()));
    }

    #[test]
    fn known_programs_are_recognised() {
        let probe = |bytes: &[u8]| Rpc::probe(&First::of(Carrier::Datagram, Direction::Forward, bytes));
        assert_eq!(probe(&getport()), Probe::Certain);
        assert_eq!(probe(&words(&[7, 0, 2, 100_003, 3, 1, 0, 0, 0, 0])), Probe::NotForUs);
        assert_eq!(probe(&answer()), Probe::NotForUs);
        survives_damaged_datagrams::<Rpc>(&[
            (Direction::Forward, &getport()),
            (Direction::Reverse, &answer()),
        ]);
    }
}
