//! Whose side of a transaction a rule is about: what each end says, of which application, and rules about both.
//!
//! In: a rule that is being read. Out: of one with `=>` what it asks of one end, or why it is none; of others, whether one
//! side can be all that they ask for. A rule with `=>` is two signatures, each about one end, and matches when both have
//! in one transaction.

use super::{Reader, Refused, lists, towards};
use weir_common::net::Direction;
use weir_common::rule::{Place, RuleOption};

/// A keyword about transactions that names no buffer.
pub(super) struct Keyword {
    name: String,
    place: Place,
    /// Who says what it is about, where only one end can, or where the rule says it.
    towards: Option<Direction>,
}

impl Keyword {
    /// `bidir`: whose it is in the rule's words, where either end can say it.
    pub(super) fn of(option: &RuleOption, bidir: Option<Direction>) -> Keyword {
        let towards = towards::towards(&option.name).or(bidir);
        Keyword { name: option.name.clone(), place: option.place, towards }
    }
}

impl Reader {
    /// The keywords about transactions that name no buffer.
    fn keywords(&self) -> impl Iterator<Item = &Keyword> {
        self.app_keywords.iter().chain(&self.number_keywords)
    }

    /// What stands behind is said by one end, in a rule about both sides of a transaction.
    pub(super) fn turn(&mut self, option: &RuleOption, direction: Direction) -> Result<(), Refused> {
        lists::none(option)?;
        if self.half.is_none() {
            return Err((option.place, format!("`{}` is for rules with `=>`", option.name)));
        }
        self.lists.bidir = Some(direction);
        Ok(())
    }

    /// Of a rule about both sides of a transaction, what is asked of one.
    pub(super) fn keep(&mut self, half: Direction) -> Result<(), Refused> {
        let refused = |reason: &str| Err((self.place, reason.to_owned()));
        if self.flow.direction.is_some() {
            return refused("`flow` names a direction, and `=>` is about both");
        }
        if self.lists.packet.iter().any(|list| !list.is_empty())
            || !self.anomalies.is_empty()
            || self.hook.is_some()
            || self.carrier.frames.is_some()
        {
            return refused("cannot run: of a rule with `=>` only what transactions hold is looked at");
        }
        let towards = self.lists.side.iter().map(|list| (list.towards, list.place.keyword()));
        let tests = self.keywords().map(|keyword| (keyword.towards, keyword.name.as_str()));
        let mut has = [false; 2];
        for (direction, keyword) in towards.chain(tests) {
            let Some(direction) = direction else {
                let reason = format!(
                    "`{keyword}` may be either end's: `bidir.toserver` or `bidir.toclient` before it says whose"
                );
                return Err((self.place, reason));
            };
            has[direction.index()] = true;
        }
        if has != [true; 2] {
            return refused("all that the rule asks for is one end's: `->` says that");
        }
        let answers = self.lists.side.iter().filter(|list| list.towards == Some(Direction::Reverse));
        if answers.filter_map(|list| list.matches.fast_pattern()).any(|pattern| pattern.is_explicit) {
            return refused("of a rule with `=>` the fast pattern is one of what clients say");
        }
        self.lists.side.retain(|list| list.towards == Some(half));
        let is_meant = |keyword: Option<&Keyword>| keyword.is_some_and(|known| known.towards == Some(half));
        let mut keywords = self.app_keywords.iter();
        self.app.retain(|_| is_meant(keywords.next()));
        let mut keywords = self.number_keywords.iter();
        self.numbers.retain(|_| is_meant(keywords.next()));
        self.flow.direction = Some(half);
        Ok(())
    }

    /// Refuses what no one side of one application's transaction can be.
    pub(super) fn check_sides(&self) -> Result<(), Refused> {
        let lists = self.lists.side.iter().map(|list| (list.place.keyword(), list.towards));
        let directed = lists.clone().filter_map(|(keyword, towards)| Some((keyword, towards?)));
        let mut first: Option<(&str, Direction)> = None;
        for (keyword, direction) in directed {
            let says = towards::who(direction);
            if self.flow.direction.is_some_and(|flow| flow != direction) {
                let reason = format!("`{keyword}` is what {says} say, and the rule's direction is the other");
                return Err((self.place, reason));
            }
            match first {
                Some((other, towards)) if towards != direction => {
                    let reason = format!(
                        "`{keyword}` is what {says} say, `{other}` is not: a rule about both has `=>` between its ends"
                    );
                    return Err((self.place, reason));
                }
                _ => first = Some((keyword, direction)),
            }
        }
        let families = self.keywords().map(|keyword| (keyword.name.as_str(), keyword.place));
        for (keyword, place) in families.chain(lists.map(|(keyword, _)| (keyword, self.place))) {
            let Some(apps) = towards::family(keyword) else { continue };
            if !self.applications.is_any() && !apps.iter().any(|app| self.applications.has(*app)) {
                return Err((
                    place,
                    format!("`{keyword}` is of another protocol than the rule's header names"),
                ));
            }
        }
        match self.size_at {
            Some(place) if !self.lists.side.is_empty() => {
                let reason =
                    "`dsize` is a packet's, and the rule looks into transactions: `bsize` is a buffer's";
                Err((place, reason.into()))
            }
            _ => Ok(()),
        }
    }
}
