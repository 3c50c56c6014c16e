//! The ring under kill -9 and on a disk that fills: what was there stays, what is missing is told.

use anyhow::{Context, ensure};
use e2e::capture;
use e2e::disk::SmallDisk;
use e2e::process::{self, stderr, stdout};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Times the sensor is killed; `WEIR_TEST_KILLS` asks for more.
const KILLS: u64 = 20;
/// When the first run's first packet was, in Unix seconds; each run begins so many seconds after the one before.
const BEGIN_S: u64 = 1_700_000_000;
const RUN_S: u64 = 10_000;
/// Between two packets, in nanoseconds.
const STEP_NS: u64 = 100_000;
/// Packets that are piped at once, and the pause behind them: a few MB/s.
const BURST: u64 = 150;
const PAUSE: Duration = Duration::from_millis(4);
/// Longest wait for a block to be seen, on a machine that does other things as well.
const WAIT: Duration = Duration::from_secs(60);

type Packet = (u64, Vec<u8>);

/// A pcap file's header with times in nanoseconds, Ethernet.
fn pcap_header() -> Vec<u8> {
    let fields = [0xa1b2_3c4du32, 0x0004_0002, 0, 0, 262_144, 1];
    fields.iter().flat_map(|field| field.to_le_bytes()).collect()
}

fn pcap_record((time, data): &Packet, out: &mut Vec<u8>) {
    let length = data.len() as u32;
    let fields = [(time / 1_000_000_000) as u32, (time % 1_000_000_000) as u32, length, length];
    fields.iter().for_each(|field| out.extend_from_slice(&field.to_le_bytes()));
    out.extend_from_slice(data);
}

/// The packets of a pcap file, whole.
fn pcap_packets(file: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    let mut rest = bytes.get(24..).unwrap_or_default();
    let mut out = Vec::new();
    while let Some((front, behind)) = rest.split_first_chunk::<16>() {
        let length = u32::from_le_bytes([front[8], front[9], front[10], front[11]]) as usize;
        let Some((data, next)) = behind.split_at_checked(length) else { break };
        out.push(data.to_vec());
        rest = next;
    }
    Ok(out)
}

/// The packets of a pcapng file with times in nanoseconds, as `query -w` writes it.
fn pcapng_packets(bytes: &[u8]) -> anyhow::Result<Vec<Packet>> {
    let number = |at: usize| {
        bytes.get(at..at + 4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
    };
    let (mut at, mut out) = (0, Vec::new());
    while let (Some(kind), Some(length)) = (number(at), number(at + 4)) {
        ensure!(length >= 12, "a pcapng block of {length} bytes at {at}");
        if kind == 6 {
            let fields = [12, 16, 20].map(|field| number(at + field).map(u64::from));
            let [Some(high), Some(low), Some(captured)] = fields else { break };
            let data = bytes.get(at + 28..at + 28 + captured as usize).context("a packet that is cut off")?;
            out.push((high << 32 | low, data.to_vec()));
        }
        at += length as usize;
    }
    Ok(out)
}

/// A ring's directory and the packets that are piped into it.
struct Place {
    work: tempfile::TempDir,
    packets: Vec<Vec<u8>>,
}

impl Place {
    fn ring(&self) -> PathBuf {
        self.work.path().join("ring")
    }

    /// Whether there is a ring: its directory comes first, and for a moment is none.
    fn is_begun(&self) -> bool {
        self.ring().join("gaps").is_file()
    }

    fn sensor(&self, command: &str) -> anyhow::Result<Command> {
        let mut sensor = process::command("weir-sensor")?;
        sensor.args(command.split(' ')).arg("--ring").arg(self.ring());
        Ok(sensor)
    }

    /// The packet of a run that has this number.
    fn packet(&self, run: u64, number: u64) -> Packet {
        let time = (BEGIN_S + run * RUN_S) * 1_000_000_000 + number * STEP_NS;
        (time, self.packets[(number as usize) % self.packets.len()].clone())
    }

    /// A sensor that takes packets from a pipe, with small segments.
    fn replaying(&self, run: u64) -> anyhow::Result<Feeding> {
        let mut command = self.sensor("replay -")?;
        for setting in
            ["ring.segment_mib=1", "ring.block_kib=256", "ring.budget_mib=2048", "ring.queue_blocks=4"]
        {
            command.args(["--set", setting]);
        }
        let log = std::fs::File::create(self.work.path().join(format!("run-{run}.log")))?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn()?;
        let mut pipe = child.stdin.take().context("the pipe")?;
        let packets: Vec<Packet> =
            (0..self.packets.len() as u64).map(|number| self.packet(run, number)).collect();
        let span = packets.len() as u64 * STEP_NS;
        let feeder = std::thread::spawn(move || {
            let mut bytes = pcap_header();
            for number in 0u64.. {
                let (time, data) = &packets[number as usize % packets.len()];
                let later = number / packets.len() as u64 * span;
                pcap_record(&(time + later, data.clone()), &mut bytes);
                if number % BURST == 0 {
                    // The pipe is closed when the sensor is killed.
                    if pipe.write_all(&bytes).is_err() {
                        return;
                    }
                    bytes.clear();
                    std::thread::sleep(PAUSE);
                }
            }
        });
        Ok(Feeding { child, feeder: Some(feeder) })
    }

    /// The packets of the runs from this one on, and what the answer says.
    fn query(&self, from_run: u64) -> anyhow::Result<Vec<Packet>> {
        let file = self.work.path().join("answer.pcapng");
        let mut command = self.sensor("query")?;
        command.args(["--since", &(BEGIN_S + from_run * RUN_S).to_string(), "-w"]).arg(&file);
        let output = process::run(&mut command)?;
        // 3: it says what is missing.
        ensure!(matches!(output.status.code(), Some(0 | 3)), "query: {}", stderr(&output));
        pcapng_packets(&std::fs::read(&file)?)
    }

    /// How many packets of a run there are; all of them from its beginning on, as they were piped.
    fn prefix(&self, run: u64, found: &[Packet]) -> anyhow::Result<u64> {
        let begin = (BEGIN_S + run * RUN_S) * 1_000_000_000;
        let of_run = found.iter().filter(|(time, _)| (begin..begin + RUN_S * 1_000_000_000).contains(time));
        let mut count = 0;
        for packet in of_run {
            ensure!(*packet == self.packet(run, count), "run {run}: packet {count} is not what was piped");
            count += 1;
        }
        Ok(count)
    }

    /// The hole behind a run: nothing is found in it, and the answer says that nothing was captured.
    fn hole_is_told(&self, run: u64, kept: u64) -> anyhow::Result<()> {
        let last_s = BEGIN_S + run * RUN_S + kept * STEP_NS / 1_000_000_000;
        let until_s = BEGIN_S + (run + 1) * RUN_S - 1;
        let mut command = self.sensor("query --count --json")?;
        command.args(["--since", &(last_s + 1).to_string(), "--until", &until_s.to_string()]);
        let answer = json(&process::run(&mut command)?)?;
        let gaps = answer["completeness"]["gaps"].as_array().context("gaps")?;
        let states: Vec<&str> = gaps.iter().filter_map(|gap| gap["state"].as_str()).collect();
        ensure!(
            answer["frames"] == 0
                && answer["completeness"]["complete"] == false
                && states == ["not_captured"],
            "the hole behind run {run}: {answer}"
        );
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        let output = process::run(&mut self.sensor("ring check")?)?;
        ensure!(output.status.code() == Some(0), "ring check: {}{}", stdout(&output), stderr(&output));
        Ok(())
    }
}

fn json(output: &Output) -> anyhow::Result<Value> {
    serde_json::from_slice(&output.stdout).with_context(|| stderr(output))
}

/// A sensor and the thread that feeds it; killed when dropped.
struct Feeding {
    child: Child,
    feeder: Option<std::thread::JoinHandle<()>>,
}

impl Feeding {
    fn kill(mut self) -> anyhow::Result<()> {
        let running = self.child.try_wait()?.is_none();
        ensure!(running, "the sensor ended by itself before it was killed");
        Ok(())
    }
}

impl Drop for Feeding {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(self.feeder.take().map(std::thread::JoinHandle::join));
    }
}

/// A moment of the next so many milliseconds; the system's random numbers choose it.
fn random_pause(below_ms: u64) -> Duration {
    use std::hash::{BuildHasher, Hasher};
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    Duration::from_micros(random % (below_ms * 1000))
}

#[test]
fn a_sensor_killed_at_any_moment_keeps_what_was_sealed_and_goes_on() -> anyhow::Result<()> {
    let kills = std::env::var("WEIR_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let place = Place { work: tempfile::tempdir()?, packets: pcap_packets(&capture("attack-story.pcap"))? };
    let empty = place.work.path().join("empty.pcap");
    std::fs::write(&empty, pcap_header())?;
    let (mut kept, mut starts) = (Vec::new(), Vec::new());
    for run in 0..kills {
        let sensor = place.replaying(run)?;
        let deadline = Instant::now() + WAIT;
        // Every third is killed before anything may be there.
        while run % 3 != 2 && place.is_begun() && place.prefix(run, &place.query(run)?)? == 0 {
            ensure!(Instant::now() < deadline, "no packet of run {run} was written");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(random_pause(300));
        let before = if place.is_begun() { place.prefix(run, &place.query(run)?)? } else { 0 };
        sensor.kill()?;
        if !place.is_begun() {
            kept.push(0);
            continue;
        }
        place.check()?;
        let after = place.prefix(run, &place.query(run)?)?;
        ensure!(after >= before, "run {run}: {before} packets were seen and {after} are left");
        // Every second time the next run finds the ring as it was left.
        if run % 2 == 0 {
            let mut start = place.sensor("replay")?;
            let started = Instant::now();
            let output = process::run(start.arg(&empty))?;
            starts.push(started.elapsed());
            ensure!(output.status.code() == Some(0), "the next start: {}", stderr(&output));
            place.check()?;
            let opened = place.prefix(run, &place.query(run)?)?;
            ensure!(opened == after, "run {run}: opening made {opened} of {after} packets");
        }
        kept.push(after);
    }
    let all = place.query(0)?;
    for (run, kept) in (0..).zip(&kept) {
        ensure!(place.prefix(run, &all)? == *kept, "run {run} changed after it was killed");
        if run + 1 < kills {
            place.hole_is_told(run, *kept)?;
        }
    }
    let longest = starts.iter().max().context("no start was measured")?;
    let mean = starts.iter().sum::<Duration>() / starts.len() as u32;
    println!(
        "{kills} kills, {} packets kept; the start after a kill takes {mean:.1?}, at most {longest:.1?}",
        kept.iter().sum::<u64>()
    );
    Ok(())
}

/// A capture of packets that do not compress.
fn noise(file: &Path, begin_s: u64, count: u64) -> anyhow::Result<()> {
    let mut state = begin_s | 1;
    let mut bytes = pcap_header();
    for number in 0..count {
        let mut data = vec![2; 12];
        data.extend_from_slice(&[8, 0]);
        data.extend((0..1386).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        }));
        pcap_record(&(begin_s * 1_000_000_000 + number * 1_000_000, data), &mut bytes);
    }
    Ok(std::fs::write(file, bytes)?)
}

#[test]
fn on_a_disk_that_others_fill_every_packet_is_kept_or_told() -> anyhow::Result<()> {
    const PACKETS: u64 = 24_000;
    let Some(disk) = SmallDisk::mount(24 << 10)? else { return Ok(()) };
    let work = tempfile::tempdir()?;
    let ring = disk.path().join("ring");
    let hog = disk.path().join("hog");
    std::fs::write(&hog, vec![1; 12 << 20])?;
    let replay = |name: &str, begin_s: u64, count: u64| -> anyhow::Result<Output> {
        let file = work.path().join(name);
        noise(&file, begin_s, count)?;
        let mut command = process::command("weir-sensor")?;
        command.arg("replay").arg(&file).arg("--ring").arg(&ring);
        command.args([
            "--set",
            "ring.budget_mib=256",
            "--set",
            "ring.segment_mib=1",
            "--set",
            "ring.block_kib=256",
        ]);
        process::run(&mut command)
    };
    let ask = |since_s: u64, last_s: u64| -> anyhow::Result<Value> {
        let mut command = process::command("weir-sensor")?;
        command.args(["query", "--count", "--json", "--ring"]).arg(&ring);
        command.args(["--since", &since_s.to_string(), "--until", &format!("{last_s}.999")]);
        json(&process::run(&mut command)?)
    };
    let output = replay("more-than-fits.pcap", BEGIN_S, PACKETS)?;
    ensure!(matches!(output.status.code(), Some(0 | 3)), "replay: {}", stderr(&output));
    let answer = ask(BEGIN_S, BEGIN_S + PACKETS / 1000 - 1)?;
    let gaps = answer["completeness"]["gaps"].as_array().context("gaps")?;
    let told = |gap: &Value| matches!(gap["state"].as_str(), Some("dropped" | "expired"));
    let missing: u64 = gaps.iter().filter(|gap| told(gap)).filter_map(|gap| gap["frames"].as_u64()).sum();
    let found = answer["frames"].as_u64().context("frames")?;
    ensure!(
        found > 1000 && missing > 1000 && found + missing == PACKETS,
        "{found} found, {missing} told: {answer}"
    );
    let check = process::run(process::command("weir-sensor")?.args(["ring", "check", "--ring"]).arg(&ring))?;
    ensure!(check.status.code() == Some(0), "ring check: {}", stdout(&check));
    // With room again the ring goes on, and what it takes is whole.
    std::fs::remove_file(&hog)?;
    let output = replay("fits.pcap", BEGIN_S + RUN_S, 1000)?;
    ensure!(output.status.code() == Some(0), "with room again: {}", stderr(&output));
    let answer = ask(BEGIN_S + RUN_S, BEGIN_S + RUN_S)?;
    ensure!(answer["frames"] == 1000 && answer["completeness"]["complete"] == true, "{answer}");
    Ok(())
}
