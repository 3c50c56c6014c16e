//! Records for a collector that does not take everything.
//!
//! In: whole records. Out: the fields that its profile selects, as one record or as one for each direction, in the
//! message that is being filled. Selections are made once per template.

use super::ipfix::{Assembler, Tally};
use std::collections::HashMap;
use std::ops::Range;
use weir_common::ipfix::encode::{TextLimits, encode_flow};
use weir_common::ipfix::options::OptionsKind;
use weir_common::ipfix::profile::{Profile, Selection};
use weir_common::ipfix::template::{FieldSpec, Layout};
use weir_common::net::Direction;
use weir_common::record::{DirectionStats, FlowRecord};

pub(super) struct Selected {
    profile: Profile,
    /// By the identifier of the whole record's template.
    flows: HashMap<u16, Selection>,
    options: HashMap<OptionsKind, Option<Selection>>,
    room: Room,
}

/// What is used again from record to record.
#[derive(Default)]
struct Room {
    whole: Vec<u8>,
    places: Vec<Range<usize>>,
    forward: Vec<u8>,
    reverse: Vec<u8>,
}

impl Selected {
    /// `None` for a profile that takes everything, which needs no selection.
    pub(super) fn new(profile: Profile) -> Option<Selected> {
        let room = Room::default();
        (profile != Profile::FULL).then(|| Selected {
            profile,
            flows: HashMap::new(),
            options: HashMap::new(),
            room,
        })
    }

    /// Whether messages say where in the spool their records stand.
    pub(super) fn has_places(&self) -> bool {
        Selection::of_options(OptionsKind::Place, self.profile).is_some()
    }

    /// The layout whose template a record of `layout` is sent with: a biflow that is split has that of a uniflow.
    pub(super) fn sent_layout(&self, layout: Layout) -> Layout {
        Layout { biflow: layout.biflow && self.profile.biflow, ..layout }
    }

    /// The fields of a template, by the layout it is sent with.
    pub(super) fn fields(&self, layout: Layout) -> Vec<FieldSpec> {
        Selection::of(layout, self.profile).fields().to_vec()
    }

    /// The same of an options template; `None` when this collector is not sent it.
    pub(super) fn options_fields(&self, kind: OptionsKind) -> Option<Vec<FieldSpec>> {
        Selection::of_options(kind, self.profile).map(|selection| selection.fields().to_vec())
    }

    pub(super) fn profile(&self) -> Profile {
        self.profile
    }

    fn selection(&mut self, layout: Layout) -> &Selection {
        let profile = self.profile;
        self.flows.entry(layout.id()).or_insert_with(|| Selection::of(layout, profile))
    }

    fn options_selection(&mut self, kind: OptionsKind) -> &Option<Selection> {
        let profile = self.profile;
        self.options.entry(kind).or_insert_with(|| Selection::of_options(kind, profile))
    }

    /// Appends a flow record, with shorter texts if it does not fit otherwise. Gives how many steps it was shortened,
    /// `None` when it could not be sent at all.
    pub(super) fn flow(
        &mut self,
        record: &FlowRecord,
        layout: Layout,
        enterprise: u32,
        templates: usize,
        data: &mut Assembler,
    ) -> Option<usize> {
        let set = self.sent_layout(layout).id();
        let mut room = std::mem::take(&mut self.room);
        let selection = self.selection(layout);
        let step = TextLimits::STEPS.iter().position(|limits| {
            room.select(selection, |out| encode_flow(record, layout, *limits, enterprise, out));
            // Both or none, so that a record that is shortened for one of them is not sent twice.
            if !data.can_hold(room.forward.len().max(room.reverse.len())) {
                return false;
            }
            if !selection.is_split() {
                return data
                    .push(set, Tally::of(record), templates, |out| out.extend_from_slice(&room.forward));
            }
            // A direction without packets is no flow; which way the first went is still what the other says.
            let one = |stats: &DirectionStats| Tally {
                packets: stats.packets,
                octets: stats.octets,
                ..Tally::of(record)
            };
            let directions = [(&record.forward, &room.forward), (&record.reverse, &room.reverse)];
            directions.into_iter().filter(|(stats, _)| stats.packets > 0).all(|(stats, octets)| {
                data.push(set, one(stats), templates, |out| out.extend_from_slice(octets))
            })
        });
        self.room = room;
        step
    }

    /// Appends an options record; false when no message can hold it. One that this collector is not sent counts as in.
    pub(super) fn option(
        &mut self,
        kind: OptionsKind,
        tally: Tally,
        templates: usize,
        data: &mut Assembler,
        write: &dyn Fn(&mut Vec<u8>),
    ) -> bool {
        let mut room = std::mem::take(&mut self.room);
        let is_in = match self.options_selection(kind) {
            None => true,
            Some(selection) => {
                room.select(selection, write);
                data.push(kind.id(), tally, templates, |out| out.extend_from_slice(&room.forward))
            }
        };
        self.room = room;
        is_in
    }
}

impl Room {
    fn select(&mut self, selection: &Selection, write: impl FnOnce(&mut Vec<u8>)) {
        for octets in [&mut self.whole, &mut self.forward, &mut self.reverse] {
            octets.clear();
        }
        write(&mut self.whole);
        selection.write(&self.whole, Direction::Forward, &mut self.places, &mut self.forward);
        if selection.is_split() {
            selection.write(&self.whole, Direction::Reverse, &mut self.places, &mut self.reverse);
        }
    }
}
