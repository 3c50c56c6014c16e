//! The collector goes away and comes back while a sensor exports: records and alerts do not get lost.

use anyhow::{Context as _, ensure};
use e2e::disk::SmallDisk;
use e2e::netns::Pair;
use e2e::process::{self, Running, free_port, wait_until};
use e2e::{capture, json};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

struct Place {
    work: tempfile::TempDir,
    port: u16,
}

impl Place {
    fn new() -> anyhow::Result<Place> {
        Ok(Place { work: tempfile::tempdir()?, port: free_port()? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    fn collector(&self) -> anyhow::Result<Running> {
        let mut command = process::command("weir-collector")?;
        command.arg("run").args(self.settings());
        let running = Running::start(command, &self.path("collector.log"))?;
        let port = self.port;
        wait_until("the collector listens", Duration::from_secs(20), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        })?;
        Ok(running)
    }

    fn settings(&self) -> Vec<String> {
        let indicators = capture("lists/indicators.csv");
        vec![
            "--set".into(),
            format!("state_directory={}", self.path("state").display()),
            "--set".into(),
            format!("ingest.ipfix_tcp=[\"127.0.0.1:{}\"]", self.port),
            "--set".into(),
            "ingest.ipfix_udp=[]".into(),
            "--set".into(),
            "ingest.ipfix_tls=[]".into(),
            "--set".into(),
            format!("detect.indicators=[\"{}\"]", indicators.display()),
        ]
    }

    /// Kinds of the alerts that the collector holds.
    fn alerts(&self) -> Vec<String> {
        let Ok(mut command) = process::command("weir-collector") else { return Vec::new() };
        command.args(["alerts", "--json"]).args(self.settings());
        let Ok(output) = process::run(&mut command) else { return Vec::new() };
        let lines = process::stdout(&output);
        let kind =
            |line: &str| serde_json::from_str::<Value>(line).ok()?.get("kind")?.as_str().map(str::to_owned);
        lines.lines().filter_map(kind).collect()
    }
}

fn replay(file: &Path, port: u16, records: &Path) -> anyhow::Result<std::process::Output> {
    let mut command = process::command("weir-sensor")?;
    command.arg("replay").arg(file).arg("--export").arg(format!("tcp://127.0.0.1:{port}"));
    command.arg("--records").arg(records);
    process::run(&mut command)
}

#[test]
fn a_collector_that_comes_late_gets_everything() -> anyhow::Result<()> {
    let place = Place::new()?;
    let (port, records) = (place.port, place.path("records.json"));
    let sensor = std::thread::spawn({
        let records = records.clone();
        move || replay(&capture("attack-story.pcap"), port, &records)
    });
    // The sensor is done reading long before the collector is there.
    std::thread::sleep(Duration::from_secs(2));
    let collector = place.collector()?;
    let output = sensor.join().map_err(|_| anyhow::anyhow!("the replay's thread panicked"))??;
    ensure!(output.status.code() == Some(0), "replay: {}", process::stderr(&output));
    wait_until("the listed host is flagged", Duration::from_secs(20), || {
        place.alerts().iter().any(|kind| kind.starts_with("intel."))
    })?;
    assert_eq!(collector.terminate()?, Some(0));
    ensure!(!json::lines(&records)?.is_empty(), "no records were written");
    Ok(())
}

#[test]
fn a_collector_killed_in_the_middle_keeps_its_alerts_and_takes_more() -> anyhow::Result<()> {
    let place = Place::new()?;
    let collector = place.collector()?;
    let records = place.path("records.json");
    ensure!(replay(&capture("tls12.pcap"), place.port, &records)?.status.success(), "first replay");
    wait_until("the first alert", Duration::from_secs(20), || !place.alerts().is_empty())?;
    let before = place.alerts();
    collector.kill()?;
    let collector = place.collector()?;
    ensure!(replay(&capture("attack-story.pcap"), place.port, &records)?.status.success(), "second replay");
    wait_until("more alerts", Duration::from_secs(20), || place.alerts().len() > before.len())?;
    let after = place.alerts();
    ensure!(
        before.iter().all(|kind| after.contains(kind)),
        "an alert from before the crash is gone: {before:?} {after:?}"
    );
    assert_eq!(collector.terminate()?, Some(0));
    Ok(())
}

/// What stands at a path of the JSON that a program's `status` prints.
fn shown(mut status: Command, path: &str) -> Option<Value> {
    let output = process::run(status.arg("--json")).ok()?;
    let status: Value = serde_json::from_slice(&output.stdout).ok()?;
    json::at(&status, path).cloned()
}

#[test]
fn a_full_disk_is_said_and_every_record_comes_when_the_collector_does() -> anyhow::Result<()> {
    const FLOWS: u64 = 3000;
    const PATIENCE: Duration = Duration::from_secs(60);
    let Some(pair) = Pair::make("full")? else { return Ok(()) };
    let Some(disk) = SmallDisk::mount(256)? else { return Ok(()) };
    for (namespace, address) in [(pair.a(), "10.77.1.1/24"), (pair.b(), "10.77.1.2/24")] {
        let mut command = Command::new("ip");
        command.args(["-n", &namespace, "addr", "add", address, "dev", "veth0"]);
        ensure!(command.status()?.success(), "no address for {namespace}");
    }
    let work = tempfile::tempdir()?;
    let mode = || std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(disk.path(), mode())?;
    std::fs::set_permissions(work.path(), mode())?;
    let set = |key: &str, path: &Path| format!("{key}={}", path.display());
    let sensor = |what: &str| -> anyhow::Result<Command> {
        process::command("weir-sensor")?;
        let mut command = pair.inside(&pair.b(), &process::program("weir-sensor"));
        command.arg(what).args(["--set", &set("control_socket", &work.path().join("sensor.sock"))]);
        Ok(command)
    };
    let collector = |what: &str| -> anyhow::Result<Command> {
        process::command("weir-collector")?;
        let mut command = pair.inside(&pair.a(), &process::program("weir-collector"));
        command.arg(what).args(["--set", &set("state_directory", &work.path().join("state"))]);
        command.args([
            "--set",
            "ingest.ipfix_tcp=[\"10.77.1.1:4739\"]",
            "--set",
            "ingest.admit=[\"10.77.1.2\"]",
        ]);
        Ok(command)
    };
    let of_sensor = |path: &str| sensor("status").ok().and_then(|command| shown(command, path));
    let number = |path: &str| of_sensor(path).and_then(|value| value.as_u64()).unwrap_or(0);

    let mut command = sensor("run")?;
    command.args(["-i", "veth0", "--export", "tcp://10.77.1.1:4739"]);
    command.args(["--set", &set("export.spool_directory", &disk.path().join("spool"))]);
    command.args(["--set", "flow.idle_timeout_ms=1000", "--set", "identity.directory=/nonexistent"]);
    let running = Running::start(command, &work.path().join("sensor.log"))?;
    wait_until("the sensor answers", PATIENCE, || of_sensor("name").is_some())
        .with_context(|| running.log())?;
    let mut traffic = pair.inside(&pair.a(), Path::new("bash"));
    traffic.args(["-c", &format!("for n in {{1..{FLOWS}}}; do echo x > /dev/udp/10.77.1.2/$n; done")]);
    ensure!(process::run(&mut traffic)?.status.success(), "no datagrams");
    wait_until("the disk is full", PATIENCE, || {
        of_sensor("outputs.destinations.0.spool.failing") == Some(Value::Bool(true))
            && number("flow.records") >= FLOWS
    })
    .with_context(|| running.log())?;
    ensure!(running.log().contains("No space left"), "{}", running.log());

    let mut command = collector("run")?;
    command.args(["--set", "ingest.ipfix_udp=[]"]);
    let _collector = Running::start(command, &work.path().join("collector.log"))?;
    let stored = || {
        let found = collector("status").ok().and_then(|command| shown(command, "detection.records"));
        found.and_then(|value| value.as_u64()).unwrap_or(0)
    };
    wait_until("every record is there", PATIENCE, || stored() >= FLOWS && stored() == number("flow.records"))
        .with_context(|| format!("{} of {}\n{}", stored(), number("flow.records"), running.log()))?;
    ensure!(running.log().contains("can be written again"), "{}", running.log());
    ensure!(running.terminate()? == Some(0), "the sensor lost something");
    Ok(())
}
