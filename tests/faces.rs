//! What the command lines say and how they exit: the contract with users and scripts.

use anyhow::ensure;
use e2e::{capture, json, process};
use std::path::Path;
use std::process::Output;

fn sensor(arguments: &[&str]) -> anyhow::Result<Output> {
    process::run(process::command("weir-sensor")?.args(arguments))
}

fn collector(arguments: &[&str]) -> anyhow::Result<Output> {
    process::run(process::command("weir-collector")?.args(arguments))
}

/// Runs and compares the exit code; gives standard error.
fn exits(output: &Output, code: i32) -> anyhow::Result<String> {
    let text = process::stderr(output);
    ensure!(output.status.code() == Some(code), "ended with {:?}, not {code}:\n{text}", output.status);
    Ok(text)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn commands_of_later_versions_say_so() -> anyhow::Result<()> {
    let later = [vec!["top"], vec!["pair", "x"]];
    for arguments in later {
        let error = exits(&sensor(&arguments)?, 1)?;
        ensure!(error.contains("not in this version"), "{arguments:?}: {error}");
    }
    for arguments in [vec!["enroll", "x"], vec!["verdict", "1", "true"]] {
        let error = exits(&collector(&arguments)?, 1)?;
        ensure!(error.contains("not in this version"), "{arguments:?}: {error}");
    }
    Ok(())
}

#[test]
fn help_fits_one_screen_and_has_an_example() -> anyhow::Result<()> {
    for output in [sensor(&["--help"])?, collector(&["--help"])?] {
        exits(&output, 0)?;
        let help = process::stdout(&output);
        ensure!(help.lines().count() <= 40 && help.contains("Example"), "{help}");
    }
    Ok(())
}

#[test]
fn wrong_usage_and_wrong_keys_are_the_users_to_mend() -> anyhow::Result<()> {
    exits(&sensor(&["replay"])?, 1)?;
    exits(&sensor(&["no-such-command"])?, 1)?;
    let error = exits(&sensor(&["check", "--set", "flow.flow_max=5"])?, 1)?;
    ensure!(error.contains("flows_max"), "the nearest key must be named: {error}");
    exits(&sensor(&["check"])?, 0)?;
    exits(&collector(&["check"])?, 0)?;
    exits(&collector(&["check", "--set", "ingest.nonsense=5"])?, 1)?;
    let error = exits(&sensor(&["replay", &text(&capture("dns.pcap")), "--export", "http://x"])?, 1)?;
    ensure!(error.contains("tcp://"), "what is expected must be said: {error}");
    let error = exits(&sensor(&["replay", &text(&capture("dns.pcap")), "--bpf", "no such filter"])?, 1)?;
    ensure!(error.contains("no such filter"), "{error}");
    Ok(())
}

#[test]
fn an_unreadable_file_among_several_is_reported_and_the_rest_is_done() -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    let (junk, records) = (work.path().join("junk.pcap"), work.path().join("records.json"));
    std::fs::write(&junk, "no capture at all")?;
    let good = text(&capture("dns.pcap"));
    let output = sensor(&["replay", &text(&junk), "/no/such/file", &good, "--records", &text(&records)])?;
    let error = exits(&output, 3)?;
    ensure!(error.contains("junk.pcap") && error.contains("/no/such/file"), "{error}");
    ensure!(!json::lines(&records)?.is_empty(), "the good file must be metered");
    exits(&sensor(&["replay", &text(&junk)])?, 1)?;
    Ok(())
}

#[test]
fn the_same_input_gives_the_same_output() -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    let run = |number: u32| -> anyhow::Result<Vec<Vec<u8>>> {
        let paths = ["eve", "records", "ipfix"].map(|kind| work.path().join(format!("{number}.{kind}")));
        let [eve, records, ipfix] = &paths;
        let file = format!("file:{}", ipfix.display());
        let input = text(&capture("attack-story.pcap"));
        exits(
            &sensor(&[
                "replay",
                &input,
                "--eve",
                &text(eve),
                "--records",
                &text(records),
                "--export",
                &file,
            ])?,
            0,
        )?;
        Ok(paths.iter().map(std::fs::read).collect::<Result<_, _>>()?)
    };
    let (first, second) = (run(1)?, run(2)?);
    for (kind, (a, b)) in ["eve", "records", "ipfix"].iter().zip(first.iter().zip(&second)) {
        ensure!(a == b, "{kind} differs between two runs");
    }
    Ok(())
}

#[test]
fn a_flows_packets_come_back_from_the_ring_exactly() -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    let (ring, records) = (text(&work.path().join("ring")), work.path().join("records.json"));
    let input = text(&capture("attack-story.pcap"));
    exits(&sensor(&["replay", &input, "--ring", &ring, "--records", &text(&records)])?, 0)?;
    let records = json::lines(&records)?;
    let largest = records.iter().filter(|r| r["proto"] == 6).max_by_key(|r| r["pkts_toclient"].as_u64());
    let Some(largest) = largest else { anyhow::bail!("no TCP flow in the capture") };
    let packets =
        largest["pkts_toserver"].as_u64().unwrap_or(0) + largest["pkts_toclient"].as_u64().unwrap_or(0);
    let id = largest["community_id"].as_str().unwrap_or_default();
    let proof = text(&work.path().join("proof.pcapng"));
    let answer = sensor(&["query", "--ring", &ring, "--flow", id, "-w", &proof])?;
    ensure!(exits(&answer, 0)?.contains("complete"), "the answer must say whether it is complete");
    let listed = process::run(
        std::process::Command::new("tshark")
            .args(["-r", &proof, "-T", "fields", "-e", "ip.src", "-e", "tcp.port"]),
    )?;
    let listed = process::stdout(&listed);
    // tshark lists the signed manifest at the end as a record without any field.
    let listed: Vec<&str> = listed.lines().filter(|line| !line.trim().is_empty()).collect();
    assert_eq!(listed.len() as u64, packets);
    let port = largest["src_port"].to_string();
    ensure!(
        listed.iter().all(|line| line.split([',', '\t']).any(|word| word == port)),
        "another flow's packet is in the answer"
    );
    Ok(())
}

#[test]
fn a_reader_that_goes_away_is_a_quiet_end() -> anyhow::Result<()> {
    let program = process::program("weir-sensor");
    let script = format!(
        "{} replay {} --eve - | head -n 1",
        program.display(),
        capture("attack-story.pcap").display()
    );
    let output = process::run(std::process::Command::new("bash").args(["-o", "pipefail", "-c", &script]))?;
    assert_eq!(process::stdout(&output).lines().count(), 1);
    ensure!(!process::stderr(&output).contains("panicked"), "{}", process::stderr(&output));
    Ok(())
}
