//! The closed list of dissectors, and the enum that is one of them at work.
//!
//! In: bytes and what is known about them. Out: the first dissector that is certain, and calls handed
//! on to it. A match over an enum rather than a trait object: the calls are on the packet's path, and
//! the compiler sees the whole set.

use super::{Carrier, Context, Dissector, Probe, Progress};
use std::fmt;
use weir_common::app::App;
use weir_common::net::Direction;

/// The dissectors that may still be right, one bit each in the order of the list.
pub(super) type Candidates = u64;

macro_rules! dissectors {
    ($($module:ident::$name:ident,)*) => {
        #[repr(u8)]
        enum Place { $($name,)* }

        /// A dissector at work on one flow.
        pub(super) enum Parser { $($name(Box<super::$module::$name>),)* }

        impl fmt::Debug for Parser {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.app().name())
            }
        }

        impl Parser {
            /// Every dissector.
            pub(super) const ALL: Candidates = $(1 << Place::$name as u8)|*;

            /// Asks the candidates what they think of a direction's first bytes, and strikes out those
            /// that say no. The first that is certain begins its work.
            pub(super) fn probe(
                candidates: &mut Candidates, carrier: Carrier, direction: Direction, bytes: &[u8],
            ) -> Option<Parser> {
                $(
                    let bit: Candidates = 1 << Place::$name as u8;
                    if *candidates & bit != 0 {
                        match <super::$module::$name as Dissector>::probe(carrier, direction, bytes) {
                            Probe::Certain => {
                                return Some(Parser::$name(Box::new(<super::$module::$name as Dissector>::new())));
                            }
                            Probe::Unsure => {}
                            Probe::NotForUs => *candidates &= !bit,
                        }
                    }
                )*
                None
            }

            /// Every application, and the bit of its dissector where its handshake ends with ciphertext.
            pub(super) const WITH_HANDSHAKE: &'static [(App, Candidates)] = &[$(
                (
                    <super::$module::$name as Dissector>::APP,
                    (<super::$module::$name as Dissector>::HAS_HANDSHAKE as Candidates) << Place::$name as u8,
                ),
            )*];

            /// The bit that stands for this dissector.
            pub(super) const fn bit(&self) -> Candidates {
                match self { $(Parser::$name(_) => 1 << Place::$name as u8,)* }
            }

            /// The application it reads.
            pub(super) const fn app(&self) -> App {
                match self { $(Parser::$name(_) => <super::$module::$name as Dissector>::APP,)* }
            }

            /// [`Dissector::inspect`].
            #[inline]
            pub(super) fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
                match self { $(Parser::$name(parser) => parser.inspect(bytes, context),)* }
            }

            /// [`Dissector::gap`].
            pub(super) fn gap(&mut self, missing: u64, context: &mut Context<'_>) -> Progress {
                match self { $(Parser::$name(parser) => parser.gap(missing, context),)* }
            }

            /// [`Dissector::close`].
            pub(super) fn close(&mut self, context: &mut Context<'_>) {
                match self { $(Parser::$name(parser) => parser.close(context),)* }
            }

            /// [`Dissector::ciphertext_after`].
            pub(super) fn ciphertext_after(&self, direction: Direction) -> Option<u32> {
                match self { $(Parser::$name(parser) => parser.ciphertext_after(direction),)* }
            }
        }
    };
}

// In the order in which they are asked: what is told apart by its first bytes comes first. A protocol
// is one line here, besides the `mod` line of its file.
dissectors! {
    tls::Tls,
    ssh::Ssh,
    http::Http,
    dns::Dns,
}
