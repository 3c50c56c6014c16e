//! The collector goes away and comes back while a sensor exports: records and alerts do not get lost.

use anyhow::ensure;
use e2e::process::{self, Running, free_port, wait_until};
use e2e::{capture, json};
use std::path::{Path, PathBuf};
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
        let kind = |line: &str| {
            serde_json::from_str::<serde_json::Value>(line).ok()?.get("kind")?.as_str().map(str::to_owned)
        };
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
