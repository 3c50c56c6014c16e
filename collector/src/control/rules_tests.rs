//! The directory and the lists over files of the test's own.

use super::super::testing::Trusting;
use super::*;

const NOW: Timestamp = Timestamp(1_790_000_000_000_000_000);

/// Paths, and the configuration that names them.
struct Place {
    work: tempfile::TempDir,
    rules: PathBuf,
    state: PathBuf,
    config: ControlConfig,
    detect: DetectConfig,
}

impl Place {
    fn new() -> Place {
        let work = tempfile::tempdir().unwrap();
        let (rules, state) = (work.path().join("rules"), work.path().join("state"));
        fs::create_dir(&rules).unwrap();
        let config = ControlConfig { rules: rules.display().to_string(), ..ControlConfig::default() };
        Place { work, rules, state, config, detect: DetectConfig::default() }
    }

    /// With lists of these names and texts.
    fn with_lists(lists: &[(&str, &str)]) -> Place {
        let mut place = Place::new();
        for (name, text) in lists {
            fs::write(place.list(name), text).unwrap();
            place.detect.indicators.push(place.list(name).display().to_string());
        }
        place.config.indicators = true;
        place
    }

    fn list(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    fn rule(&self, name: &str, text: &str) {
        fs::write(self.rules.join(name), text).unwrap();
    }

    fn directory(&self) -> Directory {
        self.perhaps().unwrap()
    }

    fn perhaps(&self) -> Option<Directory> {
        Directory::new(&self.config, &self.detect, &self.state, Arc::new(Trusting::default()))
    }
}

/// The bundle of two looks.
fn settled(directory: &mut Directory, now: Timestamp) -> Option<Bundle> {
    assert!(directory.look(now).is_none(), "a first look is none");
    directory.look(now)
}

/// After how many looks there is a bundle, and which.
fn after(directory: &mut Directory) -> (usize, Bundle) {
    (1..20).find_map(|looks| Some((looks, directory.look(NOW)?))).unwrap()
}

/// Names of the files of a bundle, and their contents.
fn files(bundle: &Bundle) -> Vec<(String, String)> {
    let manifest = RulesManifest::decode(&bundle.offer.manifest[..]).unwrap();
    assert_eq!(manifest.version, bundle.version);
    assert_eq!(manifest.sha256, Sha256::digest(&bundle.contents).to_vec());
    let mut rest = bundle.contents.as_slice();
    let files = manifest.files.iter().map(|file| {
        let (text, after) = rest.split_at(file.bytes as usize);
        rest = after;
        (file.name.clone(), String::from_utf8(text.to_vec()).unwrap())
    });
    files.collect()
}

fn names(bundle: &Bundle) -> Vec<String> {
    files(bundle).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_directory_is_offered_once_it_is_the_same_for_two_looks() {
    let place = Place::new();
    fs::write(place.rules.join("b.rules"), "beta").unwrap();
    fs::write(place.rules.join("a.lst"), "al").unwrap();
    fs::write(place.rules.join(".hidden"), "x").unwrap();
    fs::write(place.rules.join("c.rules.part"), "x").unwrap();
    let mut directory = place.directory();
    let bundle = settled(&mut directory, NOW).unwrap();
    assert_eq!((bundle.version, bundle.contents.as_slice()), (1_790_000_000, &b"albeta"[..]));
    let manifest = RulesManifest::decode(&bundle.offer.manifest[..]).unwrap();
    let names: Vec<_> = manifest.files.iter().map(|file| (file.name.as_str(), file.bytes)).collect();
    assert_eq!(names, [("a.lst", 2), ("b.rules", 4)]);
    assert_eq!(bundle.offer.signature, Trusting::signature(&signed_manifest(&bundle.offer.manifest)));
    assert!(directory.look(NOW).is_none(), "nothing changed");
    fs::write(place.rules.join("b.rules"), "beta and more").unwrap();
    assert_eq!(settled(&mut directory, NOW).unwrap().version, 1_790_000_001);
}

#[test]
fn a_restart_keeps_the_version_of_the_same_files_and_a_lost_state_does_not_go_back() {
    let place = Place::new();
    fs::write(place.rules.join("a.rules"), "a").unwrap();
    let first = settled(&mut place.directory(), NOW).unwrap().version;
    assert_eq!(settled(&mut place.directory(), Timestamp(NOW.0 * 2)).unwrap().version, first);
    fs::remove_dir_all(&place.state).unwrap();
    let later = Timestamp(NOW.0 + 5_000_000_000);
    assert_eq!(settled(&mut place.directory(), later).unwrap().version, first + 5);
}

#[test]
fn what_sensors_do_not_take_is_not_offered_and_said() {
    let place = Place::new();
    fs::write(place.rules.join("a b.rules"), "a").unwrap();
    assert!(look(&place.rules, false).unwrap_err().to_string().contains("not a name"));
    fs::remove_file(place.rules.join("a b.rules")).unwrap();
    let large = fs::File::create(place.rules.join("a.rules")).unwrap();
    large.set_len(RULES_BYTES_MAX + 1).unwrap();
    assert!(look(&place.rules, false).unwrap_err().to_string().contains("64 MiB"));
    large.set_len(RULES_BYTES_MAX).unwrap();
    assert!(look(&place.rules, false).is_ok());
    fs::remove_dir_all(&place.rules).unwrap();
    let mut directory = place.directory();
    assert!(settled(&mut directory, NOW).is_none() && !directory.said.is_empty());
}

#[test]
fn a_directory_without_rules_takes_them_away_after_five_looks() {
    let place = Place::new();
    place.rule("a.rules", "a");
    place.rule("b.lst", "b");
    let mut directory = place.directory();
    let first = settled(&mut directory, NOW).unwrap();
    assert!(!first.is_empty);
    fs::remove_file(place.rules.join("a.rules")).unwrap();
    let (looks, bundle) = after(&mut directory);
    assert_eq!((looks, bundle.is_empty, bundle.version), (5, true, first.version + 1));
    assert_eq!((files(&bundle), bundle.contents.len()), (vec![], 0), "a list without rules is no rule");
    // It holds for who comes later, and after a restart, until there are rules again.
    assert_eq!(settled(&mut place.directory(), NOW).unwrap().version, bundle.version);
    place.rule("a.rules", "a");
    let (looks, again) = after(&mut directory);
    assert_eq!((looks, names(&again)), (2, vec!["a.rules".to_owned(), "b.lst".to_owned()]));
    assert!(again.version > bundle.version);
}

#[test]
fn a_directory_that_is_emptied_to_be_filled_takes_nothing_away() {
    let place = Place::new();
    place.rule("a.rules", "a");
    let mut directory = place.directory();
    settled(&mut directory, NOW).unwrap();
    fs::remove_file(place.rules.join("a.rules")).unwrap();
    assert!((0..4).all(|_| directory.look(NOW).is_none()));
    place.rule("b.rules", "b");
    assert_eq!(names(&settled(&mut directory, NOW).unwrap()), ["b.rules"]);
}

#[test]
fn a_directory_that_is_missing_or_another_disks_changes_nothing_and_is_said() {
    let place = Place::new();
    place.rule("a.rules", "a");
    let mut directory = place.directory();
    let version = settled(&mut directory, NOW).unwrap().version;
    fs::remove_dir_all(&place.rules).unwrap();
    assert!((0..20).all(|_| directory.look(NOW).is_none()));
    assert!(directory.said.contains("No such file"), "{}", directory.said);
    // As it looks when the rules' disk is not mounted.
    fs::create_dir(&place.rules).unwrap();
    let kept = place.state.join("control-rules.json");
    let text = fs::read_to_string(&kept).unwrap();
    let mut other: serde_json::Value = serde_json::from_str(&text).unwrap();
    other["device"] = (other["device"].as_u64().unwrap() + 1).into();
    fs::write(&kept, other.to_string()).unwrap();
    for directory in [&mut directory, &mut place.directory()] {
        assert!((0..20).all(|_| directory.look(NOW).is_none()));
        assert!(directory.said.contains("another file system"), "{}", directory.said);
    }
    // Rules there are believed, and from then on that they are gone.
    place.rule("a.rules", "a");
    assert_eq!(settled(&mut directory, NOW).unwrap().version, version, "the same rules are the same version");
    assert_eq!(directory.said, "");
    fs::remove_file(place.rules.join("a.rules")).unwrap();
    assert!(after(&mut directory).1.is_empty);
}

#[test]
fn indicators_stand_behind_the_rules_and_change_with_their_lists() {
    let place = Place::with_lists(&[("a.csv", "domain,evil.example\nip,nonsense\n"), ("b.csv", "")]);
    place.rule("z.rules", "z");
    let mut directory = place.directory();
    let bundle = settled(&mut directory, NOW).unwrap();
    assert_eq!(names(&bundle), ["z.rules", "weir-indicators-domain-high.lst", "weir-indicators.rules"]);
    assert_eq!((bundle.indicators, bundle.indicators_left_out), (1, 0));
    let base64_of_evil = "LmV2aWwuZXhhbXBsZQ==\n";
    assert_eq!(files(&bundle)[1].1, base64_of_evil);
    assert!(directory.look(NOW).is_none(), "nothing changed");
    fs::write(place.list("b.csv"), "ip,192.0.2.9,low\n").unwrap();
    let changed = settled(&mut directory, NOW).unwrap();
    assert_eq!((changed.version, changed.indicators), (bundle.version + 1, 2));
    // The same in other words is no new version.
    fs::write(place.list("b.csv"), "# as before\nip,192.0.2.9,low\n").unwrap();
    assert_eq!(settled(&mut directory, NOW).unwrap().version, changed.version);
    assert_eq!(settled(&mut place.directory(), NOW).unwrap().version, changed.version);
}

#[test]
fn a_list_that_cannot_be_read_leaves_its_indicators_and_holds_up_no_rules() {
    let place = Place::with_lists(&[("a.csv", "domain,evil.example\n")]);
    let mut directory = place.directory();
    let bundle = settled(&mut directory, NOW).unwrap();
    fs::remove_file(place.list("a.csv")).unwrap();
    assert!((0..20).all(|_| directory.look(NOW).is_none()));
    assert!(directory.said.contains("a.csv: No such file"), "{}", directory.said);
    place.rule("a.rules", "a");
    let with_rules = settled(&mut directory, NOW).unwrap();
    assert_eq!((names(&with_rules)[0].as_str(), with_rules.indicators), ("a.rules", 1));
    // After a restart nobody knows what the list held.
    let mut restarted = place.directory();
    assert!((0..20).all(|_| restarted.look(NOW).is_none()));
    fs::write(place.list("a.csv"), "").unwrap();
    let (_, without) = after(&mut directory);
    assert_eq!((names(&without), without.indicators), (vec!["a.rules".to_owned()], 0));
    assert_eq!(directory.said, "");
    assert!(without.version > with_rules.version && with_rules.version > bundle.version);
}

#[test]
fn what_the_rules_leave_no_room_for_is_left_out_and_counted() {
    let place = Place::with_lists(&[("a.csv", "domain,evil.example\nip,192.0.2.9\n")]);
    let large = fs::File::create(place.rules.join("a.rules")).unwrap();
    large.set_len(RULES_BYTES_MAX - 900).unwrap();
    let bundle = settled(&mut place.directory(), NOW).unwrap();
    assert_eq!(
        (names(&bundle), bundle.indicators, bundle.indicators_left_out),
        (vec!["a.rules".to_owned()], 0, 2)
    );
    large.set_len(RULES_BYTES_MAX - 1400).unwrap();
    let bundle = settled(&mut place.directory(), NOW).unwrap();
    assert_eq!((bundle.indicators, bundle.indicators_left_out), (1, 1));
}

#[test]
fn names_of_generated_files_are_no_users_where_there_are_such() {
    let place = Place::with_lists(&[]);
    place.rule("weir-indicators-own.lst", "");
    let error = look(&place.rules, true).unwrap_err().to_string();
    assert!(error.contains("`weir-indicators-own.lst`") && error.contains("rename it"), "{error}");
    assert!(look(&place.rules, false).is_ok());
}

#[test]
fn indicators_that_are_not_wanted_any_more_go_and_rules_that_are_not_configured_stay() {
    let mut place = Place::with_lists(&[("a.csv", "domain,evil.example\n")]);
    place.config.rules = String::new();
    let bundle = settled(&mut place.directory(), NOW).unwrap();
    assert_eq!(bundle.indicators, 1);
    place.config.indicators = false;
    // Also for a sensor that connects after the next restart.
    for _ in 0..2 {
        let gone = settled(&mut place.directory(), NOW).unwrap();
        assert_eq!((gone.is_empty, gone.version), (true, bundle.version + 1));
    }
    place.config.rules = place.rules.display().to_string();
    place.rule("a.rules", "a");
    settled(&mut place.directory(), NOW).unwrap();
    place.config.rules = String::new();
    assert!(place.perhaps().is_none());
    // Nor is there anything to say where nothing ever was.
    fs::remove_dir_all(&place.state).unwrap();
    assert!(place.perhaps().is_none());
}
