//! Which service a name belongs to: brand and category of a flow.
//!
//! In: lines `domain  brand  category`, ours and the owner's (`dpi.services`), and the names that a flow's metadata
//! has. Out: [`Field::Brand`] and [`Field::Category`]. A domain stands for everything below it too; the longest that
//! fits decides. Addresses are deliberately no evidence: networks are shared and change hands.

use hashbrown::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};
use weir_common::metadata::{Field, Metadata};

/// The services that are known without a file.
const BUILT_IN: &str = include_str!("services.txt");
/// Longest domain name, in bytes (RFC 1035 section 2.3.4). Longer ones belong to nobody.
const NAME_BYTES_MAX: usize = 255;
/// Most labels of a name that are looked at, from the right.
const LABELS_MAX: usize = 16;
/// Most bad lines that one error shows.
const BAD_LINES_MAX: usize = 20;

/// Services by domain.
#[derive(Debug, Default)]
pub struct Services {
    /// Brand and category, as places in `words`.
    domains: HashMap<Box<str>, [u32; 2], foldhash::fast::RandomState>,
    words: Vec<Box<str>>,
}

/// Why a file of services cannot be used: every bad line, or the first of them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ServicesError(String);

impl Services {
    /// The services that are known without a file.
    pub fn built_in() -> Arc<Services> {
        static SERVICES: LazyLock<Arc<Services>> = LazyLock::new(|| {
            let mut services = Services::default();
            // A test reads it without a bad line.
            let _ = services.add("services.txt", BUILT_IN);
            Arc::new(services)
        });
        SERVICES.clone()
    }

    /// Those and a file's; an empty path names none.
    pub fn load(path: &str) -> Result<Arc<Services>, ServicesError> {
        if path.is_empty() {
            return Ok(Services::built_in());
        }
        let text =
            std::fs::read_to_string(path).map_err(|error| ServicesError(format!("{path}: {error}")))?;
        let mut services = Services::default();
        services.add("services.txt", BUILT_IN)?;
        services.add(path, &text)?;
        Ok(Arc::new(services))
    }

    /// Adds the lines of a file, or says which are bad.
    fn add(&mut self, file: &str, text: &str) -> Result<(), ServicesError> {
        let mut words: HashMap<Box<str>, u32, foldhash::fast::RandomState> =
            self.words.iter().zip(0..).map(|(word, at)| (word.clone(), at)).collect();
        let (mut bad, mut bad_count) = (String::new(), 0);
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            match read(line) {
                Ok((domain, "-", _)) => drop(self.domains.remove(domain.as_str())),
                Ok((domain, brand, category)) => {
                    let places = [brand, category].map(|word| {
                        *words.entry(word.into()).or_insert_with(|| {
                            self.words.push(word.into());
                            self.words.len() as u32 - 1
                        })
                    });
                    self.domains.insert(domain.into(), places);
                }
                Err(problem) => {
                    bad_count += 1;
                    if bad_count <= BAD_LINES_MAX {
                        let _ = write!(
                            bad,
                            "{}{file}:{number}: {problem}",
                            if bad.is_empty() { "" } else { "\n" }
                        );
                    }
                }
            }
        }
        if bad_count > BAD_LINES_MAX {
            let _ = write!(bad, "\nand {} more", bad_count - BAD_LINES_MAX);
        }
        if bad.is_empty() { Ok(()) } else { Err(ServicesError(bad)) }
    }

    /// Brand and category of a host name, which may have a port or a wildcard.
    pub fn of(&self, name: &str) -> Option<[&str; 2]> {
        let name = match name.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => name,
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        let mut lower = [0; NAME_BYTES_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        let lower = str::from_utf8(lower).ok()?;
        // Where labels begin that may begin a domain, the rightmost first; the top level alone is nobody's.
        let mut starts = [0; LABELS_MAX];
        let mut count = 0;
        let dots = memchr::memrchr_iter(b'.', lower.as_bytes()).skip(1).map(|dot| dot + 1);
        for (start, kept) in dots.chain([0]).zip(&mut starts) {
            *kept = start;
            count += 1;
        }
        let domains = starts.get(..count)?.iter().rev().filter_map(|start| lower.get(*start..));
        let [brand, category] = domains.into_iter().find_map(|domain| self.domains.get(domain))?;
        Some([self.words.get(*brand as usize)?, self.words.get(*category as usize)?])
    }

    /// Says in a flow's metadata which service it belongs to, by the first of its names that says so: the server's
    /// as the client asked for it, that of its certificate, or what was asked of a name server.
    pub(super) fn label(&self, metadata: &mut Metadata) {
        if metadata.get(Field::Brand).is_some() {
            return;
        }
        let names = [Field::TlsServerName, Field::HttpHost, Field::TlsSubject, Field::DnsQuery];
        let found = names.into_iter().find_map(|field| {
            let name = metadata.text(field)?;
            self.of(if field == Field::TlsSubject { common_name(name)? } else { name })
        });
        let Some([brand, category]) = found else { return };
        metadata.set_text(Field::Brand, brand);
        metadata.set_text(Field::Category, category);
    }
}

/// The host name in a certificate's subject.
fn common_name(subject: &str) -> Option<&str> {
    let (_, name) = subject.rsplit_once("CN=")?;
    let name = name.split(", ").next()?.trim();
    Some(name.strip_prefix("*.").unwrap_or(name))
}

/// A line's domain in lower case, brand and category.
fn read(line: &str) -> Result<(String, &str, &str), String> {
    let mut words = line.split_whitespace();
    let (Some(domain), Some(brand)) = (words.next(), words.next()) else {
        return Err(format!("`{line}` has no brand; expected `domain  brand  category`"));
    };
    let category = match (words.next(), words.next()) {
        (Some(category), None) => category,
        (None, _) if brand == "-" => "-",
        (None, _) => return Err(format!("`{line}` has no category; expected `domain  brand  category`")),
        (_, Some(more)) => {
            return Err(format!("`{more}` is a fourth word; expected `domain  brand  category`"));
        }
    };
    let domain = domain.strip_prefix("*.").unwrap_or(domain).trim_matches('.').to_ascii_lowercase();
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if domain.len() > NAME_BYTES_MAX || !domain.split('.').all(is_label) {
        return Err(format!(
            "`{domain}` is no domain: labels of letters, digits and hyphens, dots between them"
        ));
    }
    if !domain.contains('.') {
        return Err(format!("`{domain}` is a top-level domain, which is nobody's"));
    }
    Ok((domain, brand, category))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Option<[String; 2]> {
        Services::built_in().of(name).map(|words| words.map(str::to_owned))
    }

    fn brand(name: &str) -> String {
        of(name).map(|[brand, _]| brand).unwrap_or_default()
    }

    #[test]
    fn the_built_in_list_has_no_bad_line_and_no_domain_twice() {
        let mut services = Services::default();
        assert_eq!(services.add("services.txt", BUILT_IN), Ok(()));
        let lines = BUILT_IN.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        assert_eq!(services.domains.len(), lines);
        assert!(services.words.iter().all(|word| *word.to_lowercase() == **word));
    }

    #[test]
    fn a_domain_stands_for_what_is_below_it_and_the_longest_decides() {
        assert_eq!(brand("google.com"), "google");
        assert_eq!(brand("WWW.Google.Com."), "google");
        assert_eq!(brand("docs.google.com:443"), "googledocs");
        assert_eq!(brand("a.b.docs.google.com"), "googledocs");
        for stranger in ["notgoogle.com", "google.com.example", "com", "", ".", "google", "[2001:db8::1]:80"]
        {
            assert_eq!(of(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn a_name_of_any_length_is_looked_up() {
        assert_eq!(of(&"a.".repeat(200)), None);
        let deep = format!("{}google.com", "a.".repeat(100));
        assert_eq!(brand(&deep), "google");
        assert_eq!(of(&"é".repeat(200)), None);
    }

    #[test]
    fn a_file_adds_replaces_and_takes_away() {
        let mut services = Services::default();
        services.add("a", "google.com google web").unwrap();
        services.add("b", "google.com search web # ours\n*.intra.example wiki intranet\n").unwrap();
        assert_eq!(services.of("www.google.com"), Some(["search", "web"]));
        assert_eq!(services.of("x.intra.example"), Some(["wiki", "intranet"]));
        services.add("c", "google.com -").unwrap();
        assert_eq!(services.of("www.google.com"), None);
    }

    #[test]
    fn bad_lines_are_named_with_file_and_number() {
        let text = "ok.example a b\n\nexample\nexample.com x\na..b x y\ncom x y\na.b x y z\n";
        let error = Services::default().add("mine.txt", text).unwrap_err().to_string();
        let numbers: Vec<&str> = error.lines().map(|line| line.split(' ').next().unwrap()).collect();
        let expected = [3, 4, 5, 6, 7].map(|number| format!("mine.txt:{number}:"));
        assert_eq!(numbers, expected);
        let many = Services::default().add("m", &"x\n".repeat(30)).unwrap_err().to_string();
        assert!(many.ends_with("and 10 more"), "{many}");
        assert!(Services::load("/nonexistent/services").is_err());
    }

    #[test]
    fn a_flow_is_labelled_by_the_first_name_that_says_so() {
        let services = Services::built_in();
        let mut metadata = Metadata::default();
        metadata.set_text(Field::TlsSubject, "C=US, O=Google LLC, CN=*.google.com");
        services.label(&mut metadata);
        assert_eq!(metadata.text(Field::Brand), Some("google"));
        let mut metadata = Metadata::default();
        metadata.set_text(Field::TlsServerName, "unknown.example");
        metadata.add(Field::DnsQuery, "netflix.com");
        services.label(&mut metadata);
        assert_eq!(metadata.text(Field::Category), Some("streaming"));
    }
}
