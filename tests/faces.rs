//! What the command lines say and how they exit: the contract with users and scripts.

use anyhow::ensure;
use e2e::{capture, json, process};
use std::os::unix::fs::PermissionsExt;
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
    let error = exits(&sensor(&["top"])?, 1)?;
    ensure!(error.contains("not in this version"), "{error}");
    let error = exits(&collector(&["verdict", "1", "true"])?, 1)?;
    ensure!(error.contains("not in this version"), "{error}");
    Ok(())
}

#[test]
fn a_sensor_is_enrolled_listed_and_revoked_from_the_command_line() -> anyhow::Result<()> {
    let state = tempfile::tempdir()?;
    let set = format!("state_directory={}", text(state.path()));
    let run = |arguments: &[&str]| collector(&[arguments, &["--set", &set]].concat());
    exits(&run(&["sensors"])?, 1)?;
    let enrolled = run(&["enroll", "edge-1", "--address", "collector.example:4741"])?;
    let told = exits(&enrolled, 0)?;
    let token = process::stdout(&enrolled);
    ensure!(
        token.starts_with("weir1/edge-1/collector.example:4741/") && token.lines().count() == 1,
        "{token}"
    );
    ensure!(told.contains("weir-sensor pair") && told.contains("24 hours"), "{told}");
    let listed = run(&["sensors", "--json"])?;
    exits(&listed, 0)?;
    let sensor: serde_json::Value = serde_json::from_str(&process::stdout(&listed))?;
    ensure!(sensor["name"] == "edge-1" && sensor["state"] == "waiting", "{sensor}");
    exits(&run(&["revoke", "edge-1"])?, 0)?;
    let error = exits(&run(&["revoke", "edge-1"])?, 1)?;
    ensure!(error.contains("edge-1") && error.contains("weir-collector sensors"), "{error}");
    let error = exits(&run(&["enroll", "no/name"])?, 1)?;
    ensure!(error.contains("no/name"), "{error}");
    let enrolled = run(&["enroll", "edge-1", "--address", "collector.example"])?;
    let token = process::stdout(&enrolled);
    ensure!(token.starts_with("weir1/edge-1/collector.example:4741/"), "the control port is meant: {token}");
    let error = exits(&run(&["enroll", "edge-1", "--address", "collector.example:0"])?, 1)?;
    ensure!(error.contains("HOST:PORT"), "{error}");
    std::fs::write(state.path().join("identity/authority.pem"), "damaged")?;
    exits(&run(&["enroll", "edge-1"])?, 2)?;
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
fn a_directory_that_is_no_ring_is_an_error_and_not_an_empty_answer() -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    let rules = work.path().join("local.rules");
    std::fs::write(&rules, "alert udp any any -> any 53 (msg:\"m\"; content:\"x\"; sid:1;)\n")?;
    for place in [work.path().to_path_buf(), work.path().join("nowhere"), rules.clone()] {
        let hunt = format!("hunt --rules {}", rules.display());
        for command in
            ["query --count", "ring list", "ring check", "ring pin host 10.0.0.1", "ring unpin --all", &hunt]
        {
            let place = text(&place);
            let arguments: Vec<_> = command.split(' ').chain(["--ring", &place]).collect();
            let error = exits(&sensor(&arguments)?, 1)?;
            ensure!(error.contains("no ring in this place"), "{arguments:?}: {error}");
        }
    }
    Ok(())
}

#[test]
fn a_ring_that_is_made_is_for_its_owner_and_group_and_a_count_writes_no_file() -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    let ring = text(&work.path().join("new/ring"));
    exits(&sensor(&["replay", &text(&capture("dns.pcap")), "--ring", &ring])?, 0)?;
    for made in [work.path().join("new"), work.path().join("new/ring")] {
        let mode = std::fs::metadata(&made)?.permissions().mode() & 0o7777;
        // The umask may take more away.
        ensure!(mode & !0o750 == 0 && mode & 0o500 == 0o500, "{}: {mode:o}", made.display());
    }
    let out = text(&work.path().join("out.pcapng"));
    let error = exits(&sensor(&["query", "--ring", &ring, "--count", "-w", &out])?, 1)?;
    ensure!(error.contains("cannot be used with") && !Path::new(&out).exists(), "{error}");
    Ok(())
}

#[test]
fn a_custody_key_that_is_none_ends_the_start_with_what_to_do_said_once() -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    let ring = text(&work.path().join("ring"));
    let replay = ["replay", &text(&capture("dns.pcap")), "--ring", &ring];
    exits(&sensor(&replay)?, 0)?;
    let key = work.path().join("ring/custody.key");
    std::fs::write(&key, "not a key")?;
    let error = exits(&sensor(&replay)?, 2)?;
    for part in [
        "custody.key: not an Ed25519 key",
        "Put the right key back, or move the file away",
        "ring.custody = false",
    ] {
        ensure!(error.matches(part).count() == 1, "{part}: {error}");
    }
    ensure!(std::fs::read(&key)? == b"not a key", "a key must never be replaced");
    // What was written before is there all the same, and without custody the ring goes on.
    exits(&sensor(&["query", "--ring", &ring, "--count"])?, 0)?;
    exits(&sensor(&[&replay[..], &["--set", "ring.custody=false"]].concat())?, 0)?;
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
