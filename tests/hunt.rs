//! Hunting in a ring from the command line: what is found, what is said, how it ends, and going on.

use anyhow::ensure;
use e2e::{capture, process};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;

const RULES: &str = r#"# Rules of the test
alert http any any -> any any (msg:"Request"; flow:established,to_server; http.method; content:"GET"; classtype:web-application-activity; sid:1; rev:2;)
alert tcp any any -> any any (msg:"Answer"; flow:established,to_client; content:"HTTP/1.1 200"; startswith; sid:2;)
alert tcp any any -> any any (msg:"Not now"; lua:double.lua; sid:3;)
"#;

struct Work {
    folder: tempfile::TempDir,
}

impl Work {
    fn new() -> anyhow::Result<Work> {
        Ok(Work { folder: tempfile::tempdir()? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<String> {
        std::fs::write(self.path(name), text)?;
        Ok(self.text(name))
    }

    fn keep(&self, captures: &[&str]) -> anyhow::Result<String> {
        let ring = self.text("ring");
        for name in captures {
            let input = capture(name).display().to_string();
            exits(&sensor(&["replay", &input, "--ring", &ring, "--set", "ring.segment_mib=4"])?, 0)?;
        }
        Ok(ring)
    }
}

fn sensor(arguments: &[&str]) -> anyhow::Result<Output> {
    process::run(process::command("weir-sensor")?.args(arguments))
}

fn exits(output: &Output, code: i32) -> anyhow::Result<String> {
    let text = process::stderr(output);
    ensure!(output.status.code() == Some(code), "ended with {:?}, not {code}:\n{text}", output.status);
    Ok(text)
}

fn alerts(text: &str) -> anyhow::Result<Vec<Value>> {
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn of_file(path: &Path) -> anyhow::Result<Vec<Value>> {
    alerts(&std::fs::read_to_string(path)?)
}

fn count(alerts: &[Value], sid: u64) -> usize {
    alerts.iter().filter(|alert| alert["alert"]["signature_id"] == sid).count()
}

#[test]
fn stored_packets_are_searched_and_the_answer_says_whether_it_is_complete() -> anyhow::Result<()> {
    let work = Work::new()?;
    let (ring, rules) = (work.keep(&["http.pcap"])?, work.write("a.rules", RULES)?);
    let output = sensor(&["hunt", "--rules", &rules, "--ring", &ring])?;
    let said = exits(&output, 0)?;
    let found = alerts(&process::stdout(&output))?;
    let file = capture("http.pcap").display().to_string();
    let fields =
        ["-r", &file, "-Y", "http.request.method == GET", "-T", "fields", "-e", "http.request.method"];
    let listed = process::stdout(&process::run(std::process::Command::new("tshark").args(fields))?);
    // A segment may hold several requests.
    let requests = listed.split([',', '\n']).filter(|method| *method == "GET").count();
    ensure!(requests > 0 && count(&found, 1) == requests, "{} of {requests} requests", count(&found, 1));
    ensure!(count(&found, 2) > 0 && count(&found, 3) == 0, "{said}");
    ensure!(found.iter().all(|alert| alert["alert"]["retrospective"] == true), "an alert does not say so");
    let alert = found.iter().find(|alert| alert["alert"]["signature_id"] == 1).cloned().unwrap_or_default();
    ensure!(
        alert["alert"]["rev"] == 2
            && alert["alert"]["category"] == "access to a potentially vulnerable web application",
        "{alert}"
    );
    for part in
        ["a.rules:4:46: cannot run `lua`", "2 of 3 rules can run", "complete", "alerts", "blocks read"]
    {
        ensure!(said.contains(part), "`{part}` is not said:\n{said}");
    }
    Ok(())
}

#[test]
fn hosts_of_the_rules_and_the_expression_narrow_what_is_read() -> anyhow::Result<()> {
    let work = Work::new()?;
    let ring = work.keep(&["http.pcap"])?;
    let absent =
        work.write("absent.rules", "alert ip 203.0.113.99 any -> any any (msg:\"Absent\"; sid:1;)")?;
    let output = sensor(&["hunt", "--rules", &absent, "--ring", &ring, "--json"])?;
    let said = exits(&output, 0)?;
    let summary: Value = serde_json::from_str(said.lines().last().unwrap_or_default())?;
    ensure!(summary["blocks"].as_u64() > Some(0) && summary["blocks_to_read"] == 0, "{summary}");
    ensure!(summary["packets"] == 0 && summary["completeness"]["complete"] == true, "{summary}");
    let whole = exits(&sensor(&["hunt", "--rules", &absent, "--ring", &ring, "--json", "--whole"])?, 0)?;
    let summary: Value = serde_json::from_str(whole.lines().last().unwrap_or_default())?;
    ensure!(summary["packets"].as_u64() > Some(0) && summary["alerts"] == 0, "{summary}");
    let any = work.write("any.rules", "alert ip any any -> any any (msg:\"Any\"; sid:1;)")?;
    let all = sensor(&["hunt", "--rules", &any, "--ring", &ring])?;
    let udp = sensor(&["hunt", "--rules", &any, "--ring", &ring, "udp and port 53"])?;
    let (all, udp) = (alerts(&process::stdout(&all))?, alerts(&process::stdout(&udp))?);
    ensure!(!udp.is_empty() && udp.len() < all.len(), "{} of {}", udp.len(), all.len());
    ensure!(udp.iter().all(|alert| alert["proto"] == "UDP"), "another protocol is in the answer");
    Ok(())
}

#[test]
fn a_hunt_goes_on_where_it_ended_and_tells_nothing_twice() -> anyhow::Result<()> {
    let work = Work::new()?;
    let (rules, eve, state) = (work.write("a.rules", RULES)?, work.text("eve.json"), work.text("hunt.json"));
    let ring = work.keep(&["http.pcap"])?;
    let arguments = ["hunt", "--rules", &rules, "--ring", &ring, "--eve", &eve, "--resume", &state];
    exits(&sensor(&arguments)?, 0)?;
    let first = of_file(&work.path("eve.json"))?;
    let said = exits(&sensor(&arguments)?, 0)?;
    ensure!(said.contains("going on from"), "{said}");
    ensure!(of_file(&work.path("eve.json"))?.len() == first.len(), "an alert was told twice");
    // What came later is found, and only that is added.
    work.keep(&["attack-story.pcap"])?;
    exits(&sensor(&arguments)?, 3)?;
    let second = of_file(&work.path("eve.json"))?;
    ensure!(
        second.len() > first.len() && second.starts_with(&first),
        "{} then {}",
        first.len(),
        second.len()
    );
    let whole = sensor(&["hunt", "--rules", &rules, "--ring", &ring])?;
    let whole = alerts(&process::stdout(&whole))?;
    for sid in [1, 2] {
        ensure!(
            count(&second, sid) == count(&whole, sid),
            "{sid}: {} and {}",
            count(&second, sid),
            count(&whole, sid)
        );
    }
    // Another question begins anew, and says so.
    let changed = ["hunt", "--rules", &rules, "--ring", &ring, "--eve", &eve, "--resume", &state, "udp"];
    let said = process::stderr(&sensor(&changed)?);
    ensure!(said.contains("begins anew"), "{said}");
    ensure!(of_file(&work.path("eve.json"))?.is_empty(), "no rule is about UDP");
    Ok(())
}

#[test]
fn what_is_wrong_with_rules_is_the_users_to_mend() -> anyhow::Result<()> {
    let work = Work::new()?;
    let ring = work.keep(&["dns.pcap"])?;
    let hunt = |rules: &str| sensor(&["hunt", "--rules", rules, "--ring", &ring]);
    exits(&hunt("/no/such.rules")?, 1)?;
    let none = work.write("none.rules", "alert tcp any any -> any any (lua:double.lua; sid:1;)")?;
    ensure!(exits(&hunt(&none)?, 1)?.contains("none of 1 rules can run"), "{none}");
    let junk = work.write("junk.rules", "this is no rule\n")?;
    ensure!(exits(&hunt(&junk)?, 1)?.contains("junk.rules:1:1: `this` is not an action"), "{junk}");
    exits(&sensor(&["hunt", "--rules", &none, "--ring", &work.text("absent")])?, 1)?;
    exits(&sensor(&["hunt", "--ring", &ring])?, 1)?;
    let state = work.write("state.json", "not a position")?;
    let good = work.write("good.rules", "alert udp any any -> any any (sid:1;)")?;
    exits(&sensor(&["hunt", "--rules", &good, "--ring", &ring, "--resume", &state])?, 1)?;
    exits(&sensor(&["hunt", "--rules", &good, "--ring", &ring, "no such filter"])?, 1)?;
    Ok(())
}

#[test]
fn a_check_of_rules_lists_every_one_that_cannot_be_loaded() -> anyhow::Result<()> {
    let work = Work::new()?;
    let good = work.write(
        "good.rules",
        "#alert tcp any any -> any any (sid:9;)\nalert tcp any any -> any any (sid:1;)\n",
    )?;
    let said = exits(&sensor(&["rules", "check", &good])?, 0)?;
    ensure!(said.contains("1 can run") && said.contains("1 are switched off"), "{said}");
    let bad = work.write("bad.rules", &format!("{RULES}alert tcp any 1 any any (sid:4;)\n"))?;
    let output = sensor(&["rules", "check", &good, &bad])?;
    exits(&output, 1)?;
    let listed = process::stdout(&output);
    let lines: Vec<&str> = listed.lines().collect();
    ensure!(lines.len() == 3, "{listed}");
    ensure!(lines.iter().any(|line| line.contains("good.rules:2:1: revision 2 at")), "{listed}");
    ensure!(lines.iter().any(|line| line.contains("bad.rules:4:46: cannot run `lua`")), "{listed}");
    ensure!(lines.iter().any(|line| line.contains("bad.rules:5:17: `any` is not a direction")), "{listed}");
    // What is sound and cannot fire, or is for another version, is listed and is nothing to mend.
    let silent = "alert ip any any -> any any (decode-event:ipv4.opt_unknown; sid:5;)\n\
                  alert ip any any -> any any (requires:version >= 99; sid:6;)\n";
    let silent = work.write("silent.rules", silent)?;
    let output = sensor(&["rules", "check", &silent])?;
    let said = exits(&output, 0)?;
    ensure!(said.contains("1 load and cannot fire, 1 are for another version"), "{said}");
    ensure!(process::stdout(&output).contains("silent.rules:1:43: sid 5 loads and cannot fire"), "{said}");
    // A replay goes on without any, and says so.
    let (input, eve) = (capture("dns.pcap").display().to_string(), work.text("eve.json"));
    let said = exits(&sensor(&["replay", &input, "--rules", &silent, "--eve", &eve])?, 0)?;
    ensure!(said.contains("none of 2 rules can run") && work.path("eve.json").exists(), "{said}");
    exits(&sensor(&["rules", "check", "/no/such/file"])?, 1)?;
    Ok(())
}

#[test]
fn a_reader_that_goes_away_is_a_quiet_end() -> anyhow::Result<()> {
    let work = Work::new()?;
    let ring = work.keep(&["attack-story.pcap"])?;
    let rules = work.write("any.rules", "alert ip any any -> any any (ttl:>0; sid:1;)")?;
    let script = format!(
        "{} hunt --rules {rules} --ring {ring} | head -n 1",
        process::program("weir-sensor").display()
    );
    let output = process::run(std::process::Command::new("bash").args(["-c", &script]))?;
    assert_eq!(process::stdout(&output).lines().count(), 1);
    ensure!(!process::stderr(&output).contains("panicked"), "{}", process::stderr(&output));
    Ok(())
}
