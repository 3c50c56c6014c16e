//! A live interface: real tcpreplay into one end of a veth pair, the sensor on the other.

use anyhow::ensure;
use e2e::netns::Pair;
use e2e::process::{self, Running, wait_until};
use e2e::{capture, json};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const BUDGET: [&str; 2] = ["--set", "ring.budget_mib=256"];

/// The sensor on `veth0` of a namespace, with its outputs below `work`.
fn start(pair: &Pair, work: &Path, more: &[&str]) -> anyhow::Result<Running> {
    let mut command = pair.inside(&pair.b(), &process::program("weir-sensor"));
    let socket = work.join("sensor.sock");
    command.args(["run", "-i", "veth0", "--set", &format!("control_socket={}", socket.display())]);
    command.args(["--set", "sandbox.user=root", "--set", "capture.workers_per_interface=2"]);
    command.arg("--records").arg(work.join("records.json")).arg("--eve").arg(work.join("eve.json"));
    command.arg("--ring").arg(work.join("ring")).args(more);
    let sensor = Running::start(command, &work.join("sensor.log"))?;
    wait_until("the sensor answers", Duration::from_secs(20), || status(work).is_some())?;
    Ok(sensor)
}

fn status(work: &Path) -> Option<Value> {
    let mut command = process::command("weir-sensor").ok()?;
    command.args(["status", "--json", "--socket"]).arg(work.join("sensor.sock"));
    let output = process::run(&mut command).ok()?;
    serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success())
}

fn replay(pair: &Pair, file: &Path) -> anyhow::Result<()> {
    let mut command = pair.inside(&pair.a(), Path::new("tcpreplay"));
    command.args(["--quiet", "--mbps=100", "-i", "veth0"]).arg(file);
    let output = process::run(&mut command)?;
    ensure!(output.status.success(), "tcpreplay: {}", process::stderr(&output));
    Ok(())
}

fn number(value: &Value, path: &str) -> u64 {
    json::at(value, path).and_then(Value::as_u64).unwrap_or_default()
}

/// Flow keys with the packets of both directions, as text that sorts.
fn flows(records: &[Value]) -> String {
    let keys =
        ["src_ip", "src_port", "dst_ip", "dst_port", "proto", "pkts_toserver", "pkts_toclient", "app_proto"];
    json::projected(records, &keys.map(String::from))
}

#[test]
fn what_tcpreplay_sends_is_what_two_workers_measure() -> anyhow::Result<()> {
    let Some(pair) = Pair::make("live")? else { return Ok(()) };
    let work = tempfile::tempdir()?;
    let file = capture("benign.pcap");
    let sensor = start(&pair, work.path(), &BUDGET)?;
    replay(&pair, &file)?;

    let offline = work.path().join("offline.json");
    let mut command = process::command("weir-sensor")?;
    command.arg("replay").arg(&file).arg("--records").arg(&offline);
    ensure!(process::run(&mut command)?.status.success(), "replay failed");
    let frames: u64 = {
        let mut count = Command::new("tcpdump");
        count.args(["-n", "-q", "-r"]).arg(&file);
        process::stdout(&process::run(&mut count)?).lines().count() as u64
    };
    let seen = || status(work.path()).map_or(0, |status| number(&status, "capture.frames"));
    wait_until("every frame is seen", Duration::from_secs(20), || seen() >= frames)?;
    let state = status(work.path()).unwrap_or_default();
    assert_eq!(number(&state, "capture.kernel_dropped"), 0, "{state}");
    assert_eq!(sensor.terminate()?, Some(0));
    assert_eq!(flows(&json::lines(&work.path().join("records.json"))?), flows(&json::lines(&offline)?));

    let packets = work.path().join("all.pcapng");
    let mut query = process::command("weir-sensor")?;
    query.arg("query").arg("--ring").arg(work.path().join("ring")).arg("-w").arg(&packets);
    let output = process::run(&mut query)?;
    ensure!(output.status.success(), "query: {}", process::stderr(&output));
    let mut count = Command::new("tcpdump");
    count.args(["-n", "-q", "-r"]).arg(&packets);
    assert_eq!(process::stdout(&process::run(&mut count)?).lines().count() as u64, frames);
    Ok(())
}

#[test]
fn an_interface_that_goes_down_and_comes_back_is_captured_again() -> anyhow::Result<()> {
    let Some(pair) = Pair::make("down")? else { return Ok(()) };
    let work = tempfile::tempdir()?;
    let sensor = start(&pair, work.path(), &BUDGET)?;
    pair.set_link(&pair.b(), "down")?;
    std::thread::sleep(Duration::from_millis(500));
    ensure!(status(work.path()).is_some(), "the sensor must keep running:\n{}", sensor.log());
    pair.set_link(&pair.b(), "up")?;
    // Sent until it is seen: how soon the handle is open again is the sensor's affair.
    let seen = || status(work.path()).map_or(0, |status| number(&status, "capture.frames"));
    wait_until("frames after the interface came back", Duration::from_secs(30), || {
        replay(&pair, &capture("dns.pcap")).is_ok() && seen() > 0
    })?;
    assert_eq!(sensor.terminate()?, Some(0));
    Ok(())
}

#[test]
fn a_changed_configuration_is_applied_at_sighup_and_a_wrong_one_is_not() -> anyhow::Result<()> {
    let Some(pair) = Pair::make("reload")? else { return Ok(()) };
    let work = tempfile::tempdir()?;
    let file = work.path().join("sensor.toml");
    let configure = |text: &str| std::fs::write(&file, text);
    configure("[ring]\nbudget_mib = 256\n")?;
    // Landlock is on, and must leave the file readable.
    let sensor = start(&pair, work.path(), &["--config", &file.display().to_string()])?;
    replay(&pair, &capture("dns.pcap"))?;
    let budget = || status(work.path()).map_or(0, |status| number(&status, "storage.budget_bytes")) >> 20;
    wait_until("the ring is shown", Duration::from_secs(10), || budget() == 256)?;
    let log_says = |what: &str| wait_until(what, Duration::from_secs(10), || sensor.log().contains(what));

    configure("[ring]\nbudget_mib = 128\nblock_kib = 2048\n")?;
    sensor.signal("HUP")?;
    wait_until("the lower budget holds", Duration::from_secs(10), || budget() == 128)?;
    log_says("ring.block_kib")?;
    for (text, place) in [
        ("[ring]\nbudget_mib = 64\nage_max_hour = 5\n", "sensor.toml: TOML parse error at line 3"),
        ("[ring]\nbudget_mib = 3\n", "ring.budget_mib is 3"),
    ] {
        configure(text)?;
        sensor.signal("HUP")?;
        log_says(place)?;
        assert_eq!(budget(), 128);
    }
    assert_eq!(sensor.terminate()?, Some(0));
    Ok(())
}
