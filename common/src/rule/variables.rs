//! The variables of rule headers: `$HOME_NET`, `$HTTP_PORTS` and the like.
//!
//! In: names and their texts. Out: the text of a name. A rule says by its place whether addresses or ports
//! are meant; a text is read when a rule uses it, so that one that is wrong is reported with that rule.

use std::collections::HashMap;

/// Suricata's address variables, as its configuration has them when it is installed.
const ADDRESSES: &[(&str, &str)] = &[
    ("HOME_NET", "[192.168.0.0/16,10.0.0.0/8,172.16.0.0/12]"),
    ("EXTERNAL_NET", "!$HOME_NET"),
    ("HTTP_SERVERS", "$HOME_NET"),
    ("SMTP_SERVERS", "$HOME_NET"),
    ("SQL_SERVERS", "$HOME_NET"),
    ("DNS_SERVERS", "$HOME_NET"),
    ("TELNET_SERVERS", "$HOME_NET"),
    ("AIM_SERVERS", "$EXTERNAL_NET"),
    ("DC_SERVERS", "$HOME_NET"),
    ("DNP3_SERVER", "$HOME_NET"),
    ("DNP3_CLIENT", "$HOME_NET"),
    ("MODBUS_CLIENT", "$HOME_NET"),
    ("MODBUS_SERVER", "$HOME_NET"),
    ("ENIP_CLIENT", "$HOME_NET"),
    ("ENIP_SERVER", "$HOME_NET"),
];

/// Suricata's port variables.
const PORTS: &[(&str, &str)] = &[
    ("HTTP_PORTS", "80"),
    ("SHELLCODE_PORTS", "!80"),
    ("ORACLE_PORTS", "1521"),
    ("SSH_PORTS", "22"),
    ("DNP3_PORTS", "20000"),
    ("MODBUS_PORTS", "502"),
    ("FILE_DATA_PORTS", "[$HTTP_PORTS,110,143]"),
    ("FTP_PORTS", "21"),
    ("GENEVE_PORTS", "6081"),
    ("VXLAN_PORTS", "4789"),
    ("TEREDO_PORTS", "3544"),
    ("SIP_PORTS", "[5060,5061]"),
];

/// Names and texts; Suricata's usual ones unless set otherwise.
#[derive(Clone, Debug)]
pub struct Variables {
    texts: HashMap<String, String>,
}

impl Default for Variables {
    fn default() -> Variables {
        let usual = ADDRESSES.iter().chain(PORTS);
        Variables { texts: usual.map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect() }
    }
}

impl Variables {
    /// Sets a variable, known or new.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(format!("`{name}` is not a variable's name: expected letters, digits and `_`"));
        }
        self.texts.insert(name.to_owned(), text.trim().to_owned());
        Ok(())
    }

    /// The names and texts, sorted.
    pub fn sorted(&self) -> Vec<(&str, &str)> {
        let mut all: Vec<(&str, &str)> =
            self.texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        all.sort_unstable();
        all
    }

    /// The text of a name.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::super::group;
    use super::*;

    #[test]
    fn every_usual_variable_can_be_read() {
        let variables = Variables::default();
        for (name, _) in ADDRESSES {
            group::addresses(&format!("${name}"), &variables)
                .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
        for (name, _) in PORTS {
            group::ports(&format!("${name}"), &variables).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
    }

    #[test]
    fn a_variable_that_is_set_takes_effect_in_others() {
        let mut variables = Variables::default();
        variables.set("HOME_NET", " any ").unwrap();
        assert!(group::addresses("$HTTP_SERVERS", &variables).unwrap().is_all());
        let error = group::addresses("$EXTERNAL_NET", &variables).unwrap_err();
        assert!(error.reason.contains("holds nothing"), "{error:?}");
        assert!(variables.set("HOME-NET", "any").is_err() && variables.set("", "any").is_err());
    }
}
