//! A sensor is paired with a collector as a new user would do it, on two machines: two network namespaces. Then records
//! are acknowledged, rules come from the collector, packets are fetched, the link fails and heals, and a revoked
//! sensor is let go.

use anyhow::{Context, ensure};
use e2e::json;
use e2e::netns::Pair;
use e2e::process::{self, Running, wait_until};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);
/// The collector's machine, and the sensor's.
const COLLECTOR: &str = "10.77.0.1";
const SENSOR: &str = "10.77.0.2";

/// Two machines, and what each keeps.
struct Place {
    pair: Pair,
    work: tempfile::TempDir,
}

impl Place {
    fn make(test: &str) -> anyhow::Result<Option<Place>> {
        let Some(pair) = Pair::make(test)? else { return Ok(None) };
        for (namespace, address) in [(pair.a(), COLLECTOR), (pair.b(), SENSOR)] {
            let mut command = Command::new("ip");
            command.args(["-n", &namespace, "addr", "add", &format!("{address}/24"), "dev", "veth0"]);
            ensure!(command.status()?.success(), "no address for {namespace}");
        }
        let place = Place { pair, work: tempfile::tempdir()? };
        // The sensor gives up root, and what it reads has to be within its reach.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(place.work.path(), mode)?;
        for directory in ["rules", "ring"] {
            std::fs::create_dir(place.path(directory))?;
        }
        std::fs::write(place.path("indicators.csv"), "")?;
        Ok(Some(place))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    fn set(&self, key: &str, name: &str) -> String {
        format!("{key}={}", self.path(name).display())
    }

    /// A command of the collector, on its machine.
    fn collector(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        // Fails with what to do when it was not built.
        process::command("weir-collector")?;
        let mut command = self.pair.inside(&self.pair.a(), &process::program("weir-collector"));
        command.args(arguments).args(["--set", &self.set("state_directory", "state")]);
        command.args(["--set", &self.set("control.rules", "rules"), "--set", "control.indicators=true"]);
        let lists = format!("detect.indicators=[\"{}\"]", self.path("indicators.csv").display());
        command.args(["--set", &lists]);
        Ok(command)
    }

    /// A command of the sensor, on its machine.
    fn sensor(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        process::command("weir-sensor")?;
        let mut command = self.pair.inside(&self.pair.b(), &process::program("weir-sensor"));
        command.args(arguments);
        command.args(["--set", &self.set("identity.directory", "sensor/identity")]);
        command.args(["--set", &self.set("control.rules_directory", "sensor/rules")]);
        command.args(["--set", &self.set("control_socket", "sensor.sock")]);
        Ok(command)
    }

    fn ran(&self, mut command: Command) -> anyhow::Result<Output> {
        process::run(&mut command)
    }

    fn start_collector(&self) -> anyhow::Result<Running> {
        Running::start(self.collector(&["run"])?, &self.path("collector.log"))
    }

    fn start_sensor(&self) -> anyhow::Result<Running> {
        let mut command = self.sensor(&["run", "-i", "veth0", "--export", &format!("tls://{COLLECTOR}")])?;
        command.arg("--ring").arg(self.path("ring"));
        for setting in ["ring.budget_mib=256", "capture.workers_per_interface=1", "flow.idle_timeout_ms=1000"]
        {
            command.args(["--set", setting]);
        }
        command.args(["--set", &self.set("export.spool_directory", "sensor/spool")]);
        Running::start(command, &self.path("sensor.log"))
    }

    /// What the collector knows of the sensor.
    fn shown(&self) -> Option<Value> {
        let output = self.ran(self.collector(&["status", "--json"]).ok()?).ok()?;
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        status.get("sensors")?.as_array()?.iter().find(|sensor| sensor["name"] == "edge-1").cloned()
    }

    fn is_connected(&self) -> bool {
        self.shown().is_some_and(|sensor| sensor["connected"] == true)
    }

    /// What the sensor says of itself.
    fn status(&self) -> Option<Value> {
        let output = self.ran(self.sensor(&["status", "--json"]).ok()?).ok()?;
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Datagrams of one flow from the collector's machine to a port of the sensor's.
    fn send(&self, port: u16, text: &str) -> anyhow::Result<()> {
        let mut command = self.pair.inside(&self.pair.a(), Path::new("bash"));
        command.args([
            "-c",
            &format!("exec 3> /dev/udp/{SENSOR}/{port}; for n in 1 2 3 4 5; do echo {text} >&3; done"),
        ]);
        ensure!(self.ran(command)?.status.success(), "no datagrams");
        Ok(())
    }

    /// The id of the alert of a rule.
    fn alert(&self, text: &str) -> Option<String> {
        let output = self.ran(self.collector(&["alerts", "--json"]).ok()?).ok()?;
        let alerts = process::stdout(&output);
        let found = alerts.lines().find(|line| line.contains(text))?;
        serde_json::from_str::<Value>(found).ok()?["id"].as_str().map(str::to_owned)
    }

    fn token(&self) -> anyhow::Result<String> {
        let output =
            self.ran(self.collector(&["enroll", "edge-1", "--address", &format!("{COLLECTOR}:4741")])?)?;
        ensure!(output.status.success(), "enroll: {}", process::stderr(&output));
        Ok(process::stdout(&output).trim().to_owned())
    }

    fn pair(&self, token: &str) -> anyhow::Result<Output> {
        self.ran(self.sensor(&["pair", COLLECTOR, "--token", token])?)
    }

    fn paired(&self) -> anyhow::Result<()> {
        let token = self.token()?;
        let mut output = self.pair(&token)?;
        // The collector looks once a second whether anybody was enrolled, before it listens.
        wait_until("it is paired", PATIENCE, || {
            if !output.status.success() {
                output = self.pair(&token).unwrap_or(output.clone());
            }
            output.status.success()
        })
        .with_context(|| process::stderr(&output))?;
        ensure!(process::stderr(&output).contains("paired as `edge-1`"), "{}", process::stderr(&output));
        Ok(())
    }
}

#[test]
fn a_sensor_is_paired_and_its_collector_has_rules_records_and_packets_until_it_is_revoked()
-> anyhow::Result<()> {
    let Some(place) = Place::make("pairing")? else { return Ok(()) };
    let collector = place.start_collector()?;
    place.paired()?;
    let sensor = place.start_sensor()?;
    wait_until("the sensor is connected", PATIENCE, || place.is_connected()).with_context(|| sensor.log())?;

    // Rules of the collector's, which the sensor has only from it.
    let rule = "alert udp any any -> any 7777 (msg:\"of the collector\"; sid:1000001; rev:1;)\n";
    std::fs::write(place.path("rules/site.rules"), rule)?;
    let version = || place.shown().and_then(|sensor| sensor["rules_version"].as_u64()).unwrap_or(0);
    wait_until("the rules are in force", PATIENCE, || version() > 0).with_context(|| sensor.log())?;
    place.send(7777, "what-is-to-be-found")?;
    wait_until("an alert", PATIENCE, || place.alert("1000001").is_some()).with_context(|| collector.log())?;

    // What is put into a list of indicators comes the same way, beside the rules.
    let before = version();
    std::fs::write(place.path("indicators.csv"), format!("ip,{SENSOR},critical\n"))?;
    wait_until("the indicators are in force", PATIENCE, || version() > before)
        .with_context(|| sensor.log())?;
    place.send(7778, "to-a-listed-address")?;
    wait_until("its alert", PATIENCE, || place.alert("1990093").is_some())
        .with_context(|| collector.log())?;

    // Packets of the sensor's ring, by way of the collector.
    let id = place.alert("1000001").context("the alert")?;
    let packets = place.path("packets.pcapng");
    let mut fetched = None;
    wait_until("the packets", PATIENCE, || {
        let command = place.collector(&["evidence", &id, "-w", &packets.display().to_string()]);
        fetched = command.and_then(|command| place.ran(command)).ok();
        fetched.as_ref().is_some_and(|output| output.status.success())
    })
    .with_context(|| fetched.as_ref().map(process::stderr).unwrap_or_default())?;
    let bytes = std::fs::read(&packets)?;
    let found = bytes.windows(19).filter(|bytes| bytes == b"what-is-to-be-found").count();
    ensure!(found > 0, "none of the datagrams is in the packets");

    // What is stored is acknowledged, and leaves the spool.
    let acknowledged =
        || place.shown().and_then(|sensor| sensor["acknowledged_sequence"].as_u64()).unwrap_or(0);
    wait_until("an acknowledgement", PATIENCE, || acknowledged() > 0).with_context(|| sensor.log())?;
    wait_until("the sensor has it", PATIENCE, || {
        let status = place.status().unwrap_or_default();
        json::at(&status, "collector.acknowledged_sequence").and_then(Value::as_u64).unwrap_or(0) > 0
    })?;

    // A bad update leaves the rules that work.
    let good = version();
    std::fs::write(place.path("rules/site.rules"), "nonsense\n")?;
    wait_until("the refusal", PATIENCE, || {
        place
            .shown()
            .is_some_and(|sensor| sensor["rules"].as_str().is_some_and(|said| said.contains("refused")))
    })
    .with_context(|| sensor.log())?;
    ensure!(version() == good, "{} is in force instead of {good}", version());

    // What the collector takes away is looked for no longer, while the sensor runs.
    let looked_for = || {
        let status = place.status().unwrap_or_default();
        json::at(&status, "signatures.rules").and_then(Value::as_u64)
    };
    ensure!(looked_for().is_some_and(|rules| rules > 1), "{:?} rules", looked_for());
    std::fs::remove_file(place.path("rules/site.rules"))?;
    std::fs::write(place.path("indicators.csv"), "")?;
    wait_until("the rules are gone", PATIENCE, || looked_for() == Some(0)).with_context(|| sensor.log())?;
    wait_until("the collector knows", PATIENCE, || version() > good).with_context(|| sensor.log())?;

    // A link that fails without a word is noticed by both, and heals.
    place.pair.set_link(&place.pair.b(), "down")?;
    wait_until("the collector notices", PATIENCE, || !place.is_connected())?;
    place.pair.set_link(&place.pair.b(), "up")?;
    wait_until("the sensor is back", PATIENCE, || place.is_connected()).with_context(|| sensor.log())?;

    // Revoked, it is let go at once, and neither of its connections comes back.
    let output = place.ran(place.collector(&["revoke", "edge-1"])?)?;
    ensure!(output.status.success(), "{}", process::stderr(&output));
    wait_until("it is let go", Duration::from_secs(10), || !place.is_connected())?;
    wait_until("the sensor knows why", PATIENCE, || {
        let status = place.status().unwrap_or_default();
        json::at(&status, "collector.last_error").is_some_and(|why| why.to_string().contains("certificate"))
    })
    .with_context(|| place.status().unwrap_or_default()["collector"].to_string())?;
    let output = place.ran(place.collector(&["evidence", &id, "-w", "/dev/null"])?)?;
    ensure!(output.status.code() == Some(1), "{}", process::stderr(&output));
    ensure!(process::stderr(&output).contains("not connected"), "{}", process::stderr(&output));

    // Paired again, it is back without a restart.
    place.paired()?;
    wait_until("the sensor is back", PATIENCE, || place.is_connected()).with_context(|| sensor.log())?;
    ensure!(sensor.terminate()?.is_some_and(|code| code == 0 || code == 3), "the sensor did not end well");
    assert_eq!(collector.terminate()?, Some(0));
    Ok(())
}

#[test]
fn what_goes_wrong_in_pairing_is_said_with_what_to_do() -> anyhow::Result<()> {
    let Some(place) = Place::make("unpaired")? else { return Ok(()) };
    let said = |output: &Output| (output.status.code(), process::stderr(output));
    // Nobody is there.
    let token = place.token()?;
    let (code, words) = said(&place.pair(&token)?);
    ensure!(code == Some(2) && words.contains("weir-collector run"), "{code:?} {words}");
    // A token cut in the middle.
    let (code, words) = said(&place.pair(token.get(..30).unwrap_or_default())?);
    ensure!(code == Some(1) && words.contains("token"), "{code:?} {words}");
    let collector = place.start_collector()?;
    // Another collector than the token's: the same but for its authority.
    let mut other = place.collector(&["enroll", "edge-1", "--address", "10.77.0.1:4741"])?;
    other.args(["--set", &place.set("identity.directory", "other")]);
    let other = process::stdout(&place.ran(other)?).trim().to_owned();
    let mut told = (None, String::new());
    wait_until("the collector answers", PATIENCE, || {
        told = place.pair(&other).map(|output| said(&output)).unwrap_or_default();
        told.0 != Some(2)
    })
    .with_context(|| told.1.clone())?;
    ensure!(told.0 == Some(1) && told.1.contains("someone is between"), "{told:?}");
    // The right one, once; then it is used up.
    place.paired_with(&token)?;
    let (code, words) = said(&place.pair(&token)?);
    ensure!(code == Some(1) && words.contains("used already"), "{code:?} {words}");
    // A name that the token is not for.
    let token = place.token()?;
    let output = place.ran(place.sensor(&["pair", "--token", &token, "--name", "edge-2"])?)?;
    ensure!(said(&output).1.contains("edge-2"), "{}", said(&output).1);
    assert_eq!(collector.terminate()?, Some(0));
    Ok(())
}

impl Place {
    fn paired_with(&self, token: &str) -> anyhow::Result<()> {
        let output = self.pair(token)?;
        ensure!(output.status.success(), "{}", process::stderr(&output));
        Ok(())
    }
}
