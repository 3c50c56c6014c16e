//! `app-layer-protocol`: which application a flow was recognised as.
//!
//! In: names with `|` between them and `!` before them or not, and behind them which of a flow's answers is meant and
//! whether names stand for themselves alone (`exact`); then the answers. Out: whether one of the names is the application,
//! or with `!` none. Nothing holds with `!` while the application is unknown, because recognition is not ready.
//! Deliberately absent: recognition.

use super::flow::FlowFacts;
use super::number::shown;
use weir_common::app::App;
use weir_common::net::Direction;

/// Most names of one test, as in Suricata; a test with more is refused.
const NAMES_MAX: usize = 16;

/// What one answer of recognition is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppKnown {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It was given up.
    Failed,
    /// It is this.
    Known(App),
}

/// The answers for a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppFacts {
    /// By what went to the server, and to the client.
    pub by_direction: [AppKnown; 2],
    /// What it was before it changed into another, as with STARTTLS.
    pub original: AppKnown,
    /// What it is now.
    pub current: AppKnown,
}

/// A test of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::signatures) struct AppProtocolTest {
    wanted: Vec<AppKnown>,
    is_negated: bool,
    mode: Mode,
}

/// Which answer is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// That of the packet's direction.
    Own,
    Final,
    Original,
    Either,
    ToServer,
    ToClient,
}

impl AppProtocolTest {
    pub(super) fn parse(text: &str) -> Result<AppProtocolTest, String> {
        let (is_negated, text) = match text.strip_prefix('!') {
            Some(text) => (true, text.trim().trim_matches('"')),
            None => (false, text),
        };
        let (mut names, mut mode, mut is_exact) = (Vec::new(), None, false);
        for (at, part) in text.split(',').map(str::trim).enumerate() {
            match Mode::of(part).filter(|_| at > 0) {
                Some(read) if mode.is_none() => mode = Some(read),
                Some(_) => return Err(format!("`{part}` is a second answer to be meant")),
                None if at > 0 && part == "exact" && !is_exact => is_exact = true,
                // Before the names had `|` between them they had commas.
                None => names.extend(part.split('|').map(str::trim)),
            }
        }
        if names.len() > NAMES_MAX {
            return Err(format!("more than {NAMES_MAX} applications"));
        }
        let mut wanted = Vec::new();
        for name in names {
            match name {
                "failed" => wanted.push(AppKnown::Failed),
                "unknown" if is_negated => return Err("`unknown` cannot be negated".into()),
                "unknown" => wanted.push(AppKnown::Unknown),
                "http" if is_exact => {
                    return Err("no flow is exactly `http`: expected `http1` or `http2`".into());
                }
                _ => {
                    let apps = suricata_apps(name).ok_or_else(|| unknown_name(name))?;
                    // The first is what the name says, the others are what else it stands for.
                    let count = if is_exact { 1 } else { apps.len() };
                    wanted.extend(apps.into_iter().take(count).map(AppKnown::Known));
                }
            }
        }
        Ok(AppProtocolTest { wanted, is_negated, mode: mode.unwrap_or(Mode::Own) })
    }

    pub(super) fn holds(&self, flow: &FlowFacts) -> bool {
        let apps = &flow.apps;
        let [to_server, to_client] = apps.by_direction;
        let is_wanted = |app: AppKnown| self.wanted.contains(&app);
        let answer = match self.mode {
            Mode::Either => {
                let is_unknown = to_server == AppKnown::Unknown && to_client == AppKnown::Unknown;
                return match self.is_negated {
                    true => !is_unknown && !is_wanted(to_server) && !is_wanted(to_client),
                    false => is_wanted(to_server) || is_wanted(to_client),
                };
            }
            Mode::Own if flow.role(flow.direction) == Direction::Forward => to_server,
            Mode::Own => to_client,
            Mode::Final => apps.current,
            Mode::Original => apps.original,
            Mode::ToServer => to_server,
            Mode::ToClient => to_client,
        };
        match self.is_negated {
            true => answer != AppKnown::Unknown && !is_wanted(answer),
            false => is_wanted(answer),
        }
    }
}

fn unknown_name(name: &str) -> String {
    format!(
        "`{}` is neither an application nor one of `final`, `original`, `either`, `to_server`, `to_client`, \
         `direction` and `exact`",
        shown(name)
    )
}

impl Mode {
    fn of(word: &str) -> Option<Mode> {
        Some(match word {
            "direction" => Mode::Own,
            "final" => Mode::Final,
            "original" => Mode::Original,
            "either" => Mode::Either,
            "to_server" | "toserver" => Mode::ToServer,
            "to_client" | "toclient" => Mode::ToClient,
            _ => return None,
        })
    }
}

/// The applications that Suricata means by a name: some stand for several, of which the first has the name.
pub(in crate::signatures) fn suricata_apps(name: &str) -> Option<Vec<App>> {
    Some(match name {
        "http" => vec![App::Http, App::Http2, App::Doh2],
        "http1" => vec![App::Http],
        "http2" => vec![App::Http2, App::Doh2],
        "dns" => vec![App::Dns, App::Doh2],
        "dcerpc" => vec![App::DceRpc, App::Smb],
        "ssl" => vec![App::Tls],
        "jabber" => vec![App::Xmpp],
        "ikev1" | "ikev2" => vec![App::Ike],
        _ => vec![App::from_name(name).filter(|app| *app != App::Unknown)?],
    })
}
