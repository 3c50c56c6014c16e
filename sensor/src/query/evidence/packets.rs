//! The file's packets against the manifest, in one pass.
//!
//! In: the file's blocks and the statement's entries. Out: a verdict for each entry, and problems for packets that
//! belong to none. As many hashes are held as an exporter makes at once; a file in which more entries take turns was
//! not exported so, and those that waited longest count as altered.

use super::file::{Block, Blocks, Packet};
use super::ring::RingFrames;
use super::{ACTIVE_MAX, EvidenceCheck, EvidenceQuestion, Problem, ProblemKind};
use crate::capture::{Frame, LinkType};
use crate::query::manifest::{FRAME_BITS, OrderHash, PacketsHash, Statement};
use crate::ring::format::BlockHeader;
use std::collections::HashMap;
use std::io;

/// What was seen of an entry.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    packets: u64,
    last_index: u64,
    unordered: bool,
    fits: bool,
}

struct Pass<'s> {
    statement: &'s Statement,
    seen: Vec<Seen>,
    active: HashMap<usize, (u64, PacketsHash)>,
    order: OrderHash,
    /// Link types of the file's interfaces.
    interfaces: Vec<u16>,
    sections: u64,
    ring: Option<RingFrames<'s>>,
}

/// Reads the file and compares.
pub(super) fn verify(
    question: &EvidenceQuestion<'_>,
    statement: &Statement,
    headers: &[Option<BlockHeader>],
    manifest: &[u64],
    check: &mut EvidenceCheck,
) -> io::Result<()> {
    let ring = match &question.ring {
        Some(directory) => Some(RingFrames::open(directory, question.ring_key, headers)?),
        None => None,
    };
    let mut pass = Pass {
        statement,
        seen: vec![Seen::default(); statement.blocks.len()],
        active: HashMap::new(),
        order: OrderHash::new(),
        interfaces: Vec::new(),
        sections: 0,
        ring,
    };
    let mut blocks = Blocks::open(&question.file)?;
    let whole = loop {
        match blocks.next() {
            Ok(Some((offset, block))) => pass.block(offset, block, manifest, check),
            Ok(None) => break true,
            Err(what) => {
                let what = format!("{what}; what follows cannot be read, and its packets count as missing");
                check.say(Problem::new(ProblemKind::File, what));
                break false;
            }
        }
    };
    pass.conclude(whole, check);
    Ok(())
}

impl Pass<'_> {
    fn block(&mut self, offset: u64, block: Block<'_>, manifest: &[u64], check: &mut EvidenceCheck) {
        let file = |what: String| Problem::new(ProblemKind::File, format!("byte {offset}: {what}"));
        match block {
            Block::Section => {
                self.sections += 1;
                if self.sections > 1 {
                    check.say(file(
                        "a further section begins, which was not exported with this manifest".into(),
                    ));
                }
            }
            Block::Interface { link, nanoseconds } => {
                let number = self.interfaces.len();
                let listed = self.statement.interfaces.get(number);
                if listed.is_some_and(|(_, listed)| *listed != link) {
                    check
                        .say(file(format!("the link type of interface {number} is {link}, and was another")));
                }
                if !nanoseconds {
                    check.say(file(format!(
                        "the times of interface {number} are no longer in nanoseconds since 1970"
                    )));
                }
                self.interfaces.push(link);
            }
            Block::Packet(packet) => self.packet(&packet, check),
            Block::ForeignPacket => {
                check.packets += 1;
                let what = "a packet block of a kind that is not exported";
                check.say(Problem { packet: Some(check.packets), ..Problem::new(ProblemKind::Added, what) });
            }
            Block::Manifest if !manifest.contains(&offset) => {
                check.say(file("a further manifest; a file has one".into()));
            }
            Block::Manifest | Block::Other => {}
        }
    }

    fn packet(&mut self, packet: &Packet<'_>, check: &mut EvidenceCheck) {
        check.packets += 1;
        let number = check.packets;
        let added = |what: String| Problem { packet: Some(number), ..Problem::new(ProblemKind::Added, what) };
        let Some(id) = packet.id else {
            return check
                .say(added(format!("captured {}: it has no packet id: it was not exported", packet.time)));
        };
        self.order.packet(id);
        let index = usize::try_from(id >> FRAME_BITS).unwrap_or(usize::MAX);
        let (Some(entry), Some(seen)) = (self.statement.blocks.get(index), self.seen.get_mut(index)) else {
            return check.say(added(format!(
                "captured {}: its packet id names no block of the manifest",
                packet.time
            )));
        };
        let in_block = id & ((1 << FRAME_BITS) - 1);
        seen.unordered |= entry.number.is_some() && seen.packets > 0 && in_block <= seen.last_index;
        seen.last_index = in_block;
        seen.packets += 1;
        if seen.packets > entry.frames {
            // The verdict on the entry says how many.
            return;
        }
        let interface = usize::try_from(packet.interface).unwrap_or(usize::MAX);
        let frame = Frame {
            time: packet.time,
            link: LinkType(self.interfaces.get(interface).copied().unwrap_or(u16::MAX)),
            interface: self.statement.interfaces.get(interface).map_or(u32::MAX, |listed| listed.0),
            wire_len: packet.wire_len,
            data: packet.data,
        };
        let full = seen.packets == entry.frames;
        self.hash(index, id, &frame, packet, number);
        if full && let Some((_, hash)) = self.active.remove(&index) {
            let fits = hash.finish() == entry.packets_hash;
            self.seen.get_mut(index).into_iter().for_each(|seen| seen.fits = fits);
        }
        if entry.number.is_some()
            && let Some(ring) = &mut self.ring
        {
            ring.compare(index, in_block as u32, &frame, number, check);
        }
    }

    fn hash(&mut self, index: usize, id: u64, frame: &Frame<'_>, packet: &Packet<'_>, turn: u64) {
        if !self.active.contains_key(&index) && self.active.len() >= ACTIVE_MAX {
            let waits = self.active.iter().min_by_key(|(_, (used, _))| *used).map(|(index, _)| *index);
            waits.iter().for_each(|index| drop(self.active.remove(index)));
        }
        let (used, hash) = self.active.entry(index).or_insert_with(|| (turn, PacketsHash::new()));
        *used = turn;
        hash.frame(id, frame, frame.interface, packet.left_out.as_ref());
    }

    fn conclude(mut self, whole: bool, check: &mut EvidenceCheck) {
        let mut all_fit = true;
        for (entry, seen) in self.statement.blocks.iter().zip(&self.seen) {
            let say =
                |check: &mut EvidenceCheck, kind, what: String| check.say(Problem::block(kind, entry, what));
            if seen.packets < entry.frames {
                let what = format!("{} of {} packets are missing", entry.frames - seen.packets, entry.frames);
                say(check, ProblemKind::Missing, what);
            } else if seen.packets > entry.frames {
                let what = format!("{} packets too many carry this block's ids", seen.packets - entry.frames);
                say(check, ProblemKind::Added, what);
            } else if !seen.fits {
                let what =
                    format!("one or more of its {} packets are not as they were exported", entry.frames);
                let kind = if seen.unordered { ProblemKind::Reordered } else { ProblemKind::Altered };
                say(check, kind, what);
            } else {
                check.blocks_verified += 1;
                continue;
            }
            all_fit = false;
        }
        let order = std::mem::replace(&mut self.order, OrderHash::new()).finish();
        if all_fit && whole && order != self.statement.order_hash {
            let what = "each block's packets are as they were exported, and blocks stand among each other in another order";
            check.say(Problem::new(ProblemKind::Reordered, what));
        }
        let listed: u64 = self.statement.blocks.iter().map(|entry| entry.frames).fold(0, u64::saturating_add);
        if listed != self.statement.frames {
            let what =
                format!("the entries have {listed} packets, the file should have {}", self.statement.frames);
            check.say(Problem::new(ProblemKind::Manifest, what));
        }
        check.ring = self.ring.map(RingFrames::finish);
    }
}
