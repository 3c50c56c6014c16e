//! The `[signatures]` section.

use schemars::JsonSchema;
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// Signatures in Suricata's rule language.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignaturesConfig {
    /// Rule files, and directories of `*.rules`. Empty: no signatures.
    pub rules: Vec<String>,
    /// Address and port groups of the rules by name, as `HOME_NET = "[10.0.0.0/8]"`, beside Suricata's usual ones.
    pub variables: BTreeMap<String, String>,
    /// Thresholds and suppressions, in the form of Suricata's `threshold.config`. Empty: none.
    pub thresholds: String,
    /// Categories of reputations (`iprep`), one `number,name,text` a line. Empty: none.
    pub reputation_categories: String,
    /// Files of reputations, one `address,category,score` a line.
    pub reputations: Vec<String>,
    /// Database of addresses' countries (`geoip`) in MaxMind's format. Empty: none.
    pub countries: String,
    /// Let rules name files of data sets outside of their own directory.
    pub absolute_data_files: bool,
    /// Most bytes of each direction of a TCP flow that are searched; what lies beyond is only looked at by rules about
    /// single packets (`tcp-pkt`), as with Suricata's `stream.reassembly.depth`. 0: no limit.
    pub stream_depth_bytes: u64,
    /// A rule whose evaluation takes this share of a worker's time, in percent, for a second in which packets are lost is set
    /// aside until rules are loaded anew: logged, listed in `status` and the summary. 0: never.
    #[serde(deserialize_with = "percentage")]
    pub set_aside_percent: u8,
    /// Put the payload in which an alert was found into its EVE event: `payload` (Base64) and `payload_printable`; of a
    /// stream, what its sender has said since the other end spoke last. Every byte of TCP is copied for that.
    pub alert_payload: bool,
    /// Most bytes of a stream that an alert carries, and that are kept of each direction of a TCP flow for it; the
    /// newest are. Suricata's `payload-buffer-size`.
    pub alert_payload_bytes_max: u32,
    /// Put the packet at which an alert was raised into its EVE event: `packet` (Base64).
    pub alert_packet: bool,
    /// Tell in an alert's EVE event where more is to be read about its rule: `alert.references`.
    pub alert_references: bool,
    /// What searches for many patterns at once: `automatic` (libhs of vectorscan or Hyperscan where it is installed,
    /// else `aho-corasick`), `vectorscan` or `aho-corasick`.
    pub matcher: Matcher,
    /// Directory in which what libhs compiles is kept, so that a restart need not compile it again. It is used where it
    /// is there, and is its user's alone to write to; what was not used for longest goes when it is 512 MiB. Empty:
    /// nowhere.
    pub cache_directory: String,
}

/// What searches for many patterns at once.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Matcher {
    /// The fastest that is there.
    #[default]
    Automatic,
    /// libhs.
    Vectorscan,
    /// The built-in one.
    AhoCorasick,
}

impl Default for SignaturesConfig {
    fn default() -> Self {
        SignaturesConfig {
            rules: Vec::new(),
            variables: BTreeMap::new(),
            thresholds: String::new(),
            reputation_categories: String::new(),
            reputations: Vec::new(),
            countries: String::new(),
            absolute_data_files: false,
            stream_depth_bytes: 1 << 20,
            set_aside_percent: 25,
            alert_payload: false,
            alert_payload_bytes_max: 4096,
            alert_packet: false,
            alert_references: false,
            matcher: Matcher::default(),
            cache_directory: "/var/cache/weir".into(),
        }
    }
}

fn percentage<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    match u8::deserialize(deserializer)? {
        percent @ 0..=100 => Ok(percent),
        more => {
            Err(D::Error::invalid_value(Unexpected::Unsigned(more.into()), &"a percentage from 0 to 100"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_time_is_a_percentage() {
        let read = |percent: u32| {
            toml::from_str::<SignaturesConfig>(&format!("set_aside_percent = {percent}"))
                .map(|config| config.set_aside_percent)
                .map_err(|error| error.message().to_owned())
        };
        assert_eq!((read(0), read(100)), (Ok(0), Ok(100)));
        let refused = "invalid value: integer `101`, expected a percentage from 0 to 100";
        assert_eq!(read(101), Err(refused.to_owned()));
    }
}
