//! The lists of a rule being read: what is looked for where, and which list an option goes to.

use super::legacy;
use super::towards::towards;
use super::{List, PacketPart, Refused};
use crate::dpi::buffers::Buffer;
use crate::signatures::matches::{self, MatchList, Names, Transforms};
use crate::signatures::packet::HeaderBuffer;
use crate::signatures::state::DataTest;
use weir_common::net::Direction;
use weir_common::rule::RuleOption;

/// Most lists of one rule.
const LISTS_MAX: usize = 64;

/// Which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Packet(usize),
    Side(usize),
}

/// The lists so far.
#[derive(Debug)]
pub(super) struct Lists {
    pub(super) packet: Vec<List<PacketPart>>,
    pub(super) side: Vec<List<Buffer>>,
    /// Where a content goes.
    current: Place,
    /// Where a modifier of the last content goes.
    last: Place,
    pub(super) names: Names,
    /// The rule's protocol, which frames are named by.
    protocol: Box<str>,
    /// Who says what follows, where the rule says it (`bidir.toserver`) and either end can.
    pub(super) bidir: Option<Direction>,
}

impl Lists {
    /// Those of a rule of this protocol, empty.
    pub(super) fn of(protocol: &str) -> Lists {
        let payload = List::new(PacketPart::Payload);
        let (current, last) = (Place::Packet(0), Place::Packet(0));
        let names = Names::default();
        let (side, protocol) = (Vec::new(), protocol.into());
        Lists { packet: vec![payload], side, current, last, names, protocol, bidir: None }
    }
}

impl<P> List<P> {
    pub(super) fn is_empty(&self) -> bool {
        self.matches.is_empty() && self.data.is_empty()
    }

    fn new(place: P) -> List<P> {
        let (transforms, matches) = (Transforms::default(), MatchList::default());
        List { place, transforms, matches, data: Vec::new(), towards: None }
    }
}

impl Lists {
    /// Reads an option; none: it has nothing to do with lists.
    pub(super) fn option(&mut self, option: &RuleOption) -> Option<Result<(), Refused>> {
        let name = option.name.as_str();
        if option.value.is_none() {
            if let Some(buffer) = Buffer::of(name) {
                return Some(self.sticky(buffer, option));
            }
            let part = match name {
                "ip.src" => Some(PacketPart::SourceAddress),
                "ip.dst" => Some(PacketPart::DestinationAddress),
                name => HeaderBuffer::of(name).map(PacketPart::Header),
            };
            if let Some(part) = part {
                self.packet.push(List::new(part));
                self.go_to(Place::Packet(self.packet.len() - 1));
                return Some(self.within_limit(option));
            }
        }
        if let Some(buffer) = legacy::modifier(name) {
            return Some(self.move_last(buffer, option));
        }
        match name {
            "absent" if self.current == Place::Packet(0) => {
                Some(Err((option.place, "`absent` stands behind no buffer".into())))
            }
            "pkt_data" => {
                self.go_to(Place::Packet(0));
                Some(none(option))
            }
            "frame" => Some(self.frame(option)),
            "uricontent" => {
                let content = RuleOption { name: "content".into(), ..option.clone() };
                self.last = self.legacy_list(Buffer::HttpUri);
                self.put(self.last, &content)
            }
            // Older keywords that have what is looked for as their value.
            "tls.subject" | "tls.issuerdn" | "tls.fingerprint" | "ssh.softwareversion" => {
                let buffer = match name {
                    "tls.subject" => Buffer::TlsCertSubject,
                    "tls.issuerdn" => Buffer::TlsCertIssuer,
                    "tls.fingerprint" => Buffer::TlsCertFingerprint,
                    _ => Buffer::SshSoftware,
                };
                let content = RuleOption { name: "content".into(), ..option.clone() };
                self.last = self.legacy_list(buffer);
                self.put(self.last, &content)
            }
            "urilen" => {
                let keyword = matches::urilen_buffer(option.value.as_deref().unwrap_or_default());
                let place = self.legacy_list(Buffer::of(keyword)?);
                self.put(place, option)
            }
            name if matches::is_modifier(name) => self.put(self.last, option),
            "pcre" => {
                let keyword = option.value.as_deref().and_then(matches::pcre_buffer);
                let place = match keyword.and_then(Buffer::of) {
                    Some(buffer) => self.legacy_list(buffer),
                    None => self.place_of(option),
                };
                self.last = place;
                self.put(place, option)
            }
            _ => match self.transform(option) {
                Some(done) => Some(done),
                None => {
                    let place = self.place_of(option);
                    let done = self.put(place, option);
                    if done.is_some() {
                        self.last = place;
                    }
                    done
                }
            },
        }
    }

    /// What the whole rule shows; takes out lists in which nothing is looked for.
    pub(super) fn finish(&mut self, at: weir_common::rule::Place) -> Result<(), Refused> {
        self.packet.retain(|list| !list.is_empty());
        if let Some(empty) = self.side.iter().find(|list| list.is_empty()) {
            let keyword = empty.place.keyword();
            return Err((at, format!("`{keyword}` is named and nothing is looked for in it")));
        }
        for list in self.side.iter().filter(|list| list.transforms.is_empty()) {
            list.matches.check_letters(list.place.keyword())?;
        }
        let digits =
            self.side.iter_mut().filter(|list| list.place.is_of_digits() && list.transforms.is_empty());
        digits.for_each(|list| list.matches.ignore_case());
        let packet = self.packet.iter_mut().map(|list| (&list.transforms, &mut list.matches));
        let side = self.side.iter_mut().map(|list| (&list.transforms, &mut list.matches));
        packet.chain(side).try_for_each(|(transforms, matches)| {
            matches.check_transforms(transforms)?;
            matches.finish()
        })
    }

    /// Where a match goes: into the buffer named last, or, where none was and it is relative to the match before it, to
    /// that.
    fn place_of(&self, option: &RuleOption) -> Place {
        let value = option.value.as_deref().unwrap_or_default();
        let is_relative = match option.name.as_str() {
            "content" => false,
            // Flags stand behind the last slash.
            "pcre" => value.rsplit(|byte| *byte == b'/').next().is_some_and(|flags| flags.contains(&b'R')),
            _ => value.split(|byte| *byte == b',').any(|word| word.trim_ascii() == b"relative"),
        };
        if self.current == Place::Packet(0) && is_relative { self.last } else { self.current }
    }

    /// A set that the buffer named last is looked up in.
    pub(super) fn data(&mut self, test: DataTest, option: &RuleOption) -> Result<(), Refused> {
        let data = match self.current {
            Place::Packet(0) => None,
            Place::Packet(at) => self.packet.get_mut(at).map(|list| &mut list.data),
            Place::Side(at) => self.side.get_mut(at).map(|list| &mut list.data),
        };
        let reason = || (option.place, format!("`{}` stands behind no buffer", option.name));
        data.ok_or_else(reason)?.push(test);
        Ok(())
    }

    fn go_to(&mut self, place: Place) {
        (self.current, self.last) = (place, place);
    }

    fn within_limit(&self, option: &RuleOption) -> Result<(), Refused> {
        if self.packet.len() + self.side.len() > LISTS_MAX {
            return Err((option.place, format!("a rule looks into more than {LISTS_MAX} places")));
        }
        Ok(())
    }

    /// The same buffer named again goes on in it, as long as nothing transforms it and it has but one value.
    fn sticky(&mut self, buffer: Buffer, option: &RuleOption) -> Result<(), Refused> {
        let towards = self.towards(buffer);
        let goes_on = |list: &List<Buffer>| {
            list.place == buffer && list.transforms.is_empty() && list.towards == towards
        };
        let at = match self.side.iter().position(goes_on).filter(|_| !buffer.is_multiple()) {
            Some(at) => at,
            None => self.begin(buffer),
        };
        if let Some(list) = self.side.get_mut(at) {
            list.matches.resume();
        }
        self.go_to(Place::Side(at));
        self.within_limit(option)
    }

    fn begin(&mut self, buffer: Buffer) -> usize {
        let towards = self.towards(buffer);
        self.side.push(List { towards, ..List::new(buffer) });
        self.side.len() - 1
    }

    /// Who says what a buffer holds.
    fn towards(&self, buffer: Buffer) -> Option<Direction> {
        towards(buffer.keyword()).or(self.bidir)
    }

    /// Where the older keywords put what they are about.
    fn legacy_list(&mut self, buffer: Buffer) -> Place {
        let found = self.side.iter().position(|list| list.place == buffer && list.transforms.is_empty());
        Place::Side(found.unwrap_or_else(|| self.begin(buffer)))
    }

    /// `http_uri;` and the like: the content before it belongs in a buffer.
    fn move_last(&mut self, buffer: Buffer, option: &RuleOption) -> Result<(), Refused> {
        none(option)?;
        let Some(content) = self.list(self.last).and_then(|(_, matches)| matches.take_last()) else {
            return Err((option.place, format!("`{}` stands behind no content", option.name)));
        };
        let place = self.legacy_list(buffer);
        if let Some((_, matches)) = self.list(place) {
            matches.push(content);
        }
        self.last = place;
        self.within_limit(option)
    }

    /// `frame:tls.pdu`: what an application's dissector tells of the stream's structure.
    fn frame(&mut self, option: &RuleOption) -> Result<(), Refused> {
        let value = String::from_utf8_lossy(option.value.as_deref().unwrap_or_default()).trim().to_owned();
        // What every application has: its stream, which a rule about it looks into anyway.
        if value.strip_suffix("stream").is_some_and(|app| self.is_own_application(app)) {
            self.go_to(Place::Packet(0));
            return Ok(());
        }
        match Buffer::of_frame(&value, &self.protocol) {
            Some(buffer) => self.sticky(buffer, option),
            None => Err((option.place, format!("cannot run `frame:{value}`: not known to this engine"))),
        }
    }

    /// Whether the words before a frame's name are the application that the rule's header names.
    fn is_own_application(&self, app: &str) -> bool {
        let is_application =
            !matches!(&*self.protocol, "ip" | "tcp" | "udp" | "icmp" | "tcp-pkt" | "tcp-stream");
        is_application && (app.is_empty() || app.strip_suffix('.') == Some(&*self.protocol))
    }

    /// A transform of the buffer that was named before it.
    fn transform(&mut self, option: &RuleOption) -> Option<Result<(), Refused>> {
        let at = match self.current {
            Place::Side(at) => at,
            Place::Packet(_) => {
                let (transforms, matches) = self.list(self.current)?;
                return match transforms.option(option)? {
                    Ok(()) if !matches.is_empty() => {
                        Some(Err((option.place, format!("`{}` stands behind what it changes", option.name))))
                    }
                    done => Some(done),
                };
            }
        };
        let list = self.side.get_mut(at)?;
        let mut transforms = list.transforms.clone();
        let done = transforms.option(option)?;
        if list.matches.is_empty() {
            list.transforms = transforms;
        } else {
            // What stood before it looks at the buffer as it is.
            let buffer = list.place;
            let at = self.begin(buffer);
            self.side[at].transforms = transforms;
            self.go_to(Place::Side(at));
        }
        Some(done)
    }

    fn put(&mut self, place: Place, option: &RuleOption) -> Option<Result<(), Refused>> {
        let Lists { packet, side, names, .. } = self;
        let matches = match place {
            Place::Packet(at) => &mut packet.get_mut(at)?.matches,
            Place::Side(at) => &mut side.get_mut(at)?.matches,
        };
        matches.option(option, names)
    }

    fn list(&mut self, place: Place) -> Option<(&mut Transforms, &mut MatchList)> {
        match place {
            Place::Packet(at) => {
                self.packet.get_mut(at).map(|list| (&mut list.transforms, &mut list.matches))
            }
            Place::Side(at) => self.side.get_mut(at).map(|list| (&mut list.transforms, &mut list.matches)),
        }
    }
}

/// A keyword without a value.
pub(super) fn none(option: &RuleOption) -> Result<(), Refused> {
    match option.value {
        None => Ok(()),
        Some(_) => Err((option.value_place, format!("`{}` takes no value", option.name))),
    }
}
