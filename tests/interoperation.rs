//! Other people's programs: what they make of Weir's IPFIX, and what Weir makes of theirs.
//!
//! Each test gives the same capture to both sides and compares, for every direction of every flow, packets, octets, TCP
//! flags and times. Programs: nfcapd and nfdump, pmacct's nfacctd and pmacctd, tshark, softflowd.

use anyhow::{Context, ensure};
use e2e::process::{self, Running, free_port, wait_until};
use e2e::{capture, skip};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Source, destination, source port, destination port, protocol; ICMP has no ports.
type Key = (String, String, u64, u64, u64);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sent {
    packets: u64,
    octets: u64,
    tcp_flags: u64,
}

/// What was seen of each direction, and when each pair of ends began and ended, in milliseconds.
#[derive(Debug, Default)]
struct Flows {
    sent: BTreeMap<Key, Sent>,
    times: BTreeMap<Key, (u64, u64)>,
}

impl Flows {
    fn add(&mut self, key: Key, sent: Sent, times: Option<(u64, u64)>) {
        if sent.packets == 0 {
            return;
        }
        let (source, destination, source_port, destination_port, protocol) = key.clone();
        let back = (destination, source, destination_port, source_port, protocol);
        if let Some((start, end)) = times {
            let have = self.times.entry(key.clone().min(back)).or_insert((start, end));
            *have = (have.0.min(start), have.1.max(end));
        }
        let total = self.sent.entry(key).or_default();
        total.packets += sent.packets;
        total.octets += sent.octets;
        total.tcp_flags |= sent.tcp_flags;
    }

    /// Fails at the first flow that is not the same, and says which.
    fn must_be(&self, want: &Flows, tolerance_ms: u64) -> anyhow::Result<()> {
        for (key, sent) in &want.sent {
            let got = self.sent.get(key).with_context(|| format!("{key:?} is missing"))?;
            ensure!(got == sent, "{key:?} is {got:?} instead of {sent:?}");
        }
        let more = self.sent.keys().find(|key| !want.sent.contains_key(*key));
        ensure!(more.is_none(), "{more:?} is too much");
        for (key, (start, end)) in &want.times {
            let got = self.times.get(key).with_context(|| format!("{key:?} has no times"))?;
            let is_near = got.0.abs_diff(*start) <= tolerance_ms && got.1.abs_diff(*end) <= tolerance_ms;
            ensure!(is_near, "{key:?} is from {} to {} instead of {start} to {end}", got.0, got.1);
        }
        Ok(())
    }
}

fn number(object: &Value, key: &str) -> u64 {
    object.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Seconds with a fraction, as text, in whole milliseconds.
fn milliseconds(seconds: &str) -> u64 {
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let fraction: String = fraction.chars().chain("000".chars()).take(3).collect();
    whole.parse::<u64>().unwrap_or_default() * 1000 + fraction.parse::<u64>().unwrap_or_default()
}

fn objects(lines: &str) -> anyhow::Result<Vec<Value>> {
    lines.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// From lines of `--records`, which both of Weir's programs write.
fn of_records(lines: &str) -> anyhow::Result<Flows> {
    let mut flows = Flows::default();
    for record in objects(lines)? {
        let (source, destination) = (text(&record, "src_ip").to_owned(), text(&record, "dst_ip").to_owned());
        let ports = (number(&record, "src_port"), number(&record, "dst_port"));
        let protocol = number(&record, "proto");
        let times = Some((milliseconds(text(&record, "start")), milliseconds(text(&record, "end"))));
        let sent = |side: &str| Sent {
            packets: number(&record, &format!("pkts_to{side}")),
            octets: number(&record, &format!("bytes_to{side}")),
            tcp_flags: number(&record, if side == "server" { "tcp_flags_ts" } else { "tcp_flags_tc" }),
        };
        let there = (source.clone(), destination.clone(), ports.0, ports.1, protocol);
        flows.add(there, sent("server"), times);
        flows.add((destination, source, ports.1, ports.0, protocol), sent("client"), times);
    }
    Ok(flows)
}

fn has(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| {
        let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
        !found.is_ok_and(|output| output.status.success())
    });
    if let Some(missing) = missing {
        skip(&format!("{missing} is not installed"));
    }
    missing.is_none()
}

const CAPTURES: [&str; 3] = ["http.pcap", "benign.pcap", "scan.pcap"];

/// Replays the captures to a destination; gives what the sensor itself says of them.
fn export(destination: &str, work: &Path) -> anyhow::Result<Flows> {
    let records = work.join("sensor.json");
    let mut command = process::command("weir-sensor")?;
    command.arg("replay").args(CAPTURES.map(capture)).arg("--records").arg(&records);
    // Slow enough for the receive buffer of a collector that gets little of a busy machine.
    command.args(["--set", "export.udp_bytes_per_second_max=1000000"]);
    let output = process::run(command.arg("--export").arg(destination))?;
    ensure!(output.status.success(), "replay: {}", process::stderr(&output));
    of_records(&std::fs::read_to_string(records)?)
}

fn listens_on_udp(port: u16) -> bool {
    let wanted = format!(":{port:04X} ");
    ["/proc/net/udp", "/proc/net/udp6"]
        .iter()
        .any(|table| std::fs::read_to_string(table).is_ok_and(|table| table.contains(&wanted)))
}

/// What nfcapd stored, as nfdump tells it.
fn through_nfdump(parameters: &str) -> anyhow::Result<(Flows, Flows)> {
    let work = tempfile::tempdir()?;
    let (port, store) = (free_port()?, work.path().join("nfcapd"));
    std::fs::create_dir(&store)?;
    let mut command = Command::new("nfcapd");
    command.args(["-b", "127.0.0.1", "-t", "3600", "-p", &port.to_string(), "-w"]).arg(&store);
    let nfcapd = Running::start(command, &work.path().join("nfcapd.log"))?;
    wait_until("nfcapd listens", Duration::from_secs(20), || listens_on_udp(port))?;
    let want = export(&format!("udp://127.0.0.1:{port}{parameters}"), work.path())?;
    std::thread::sleep(Duration::from_secs(1));
    nfcapd.terminate()?;
    let output = process::run(Command::new("nfdump").arg("-R").arg(&store).args(["-o", "json"]))?;
    let mut flows = Flows::default();
    let list: Vec<Value> = serde_json::from_slice(&output.stdout).context(process::stderr(&output))?;
    for flow in list {
        let end = |v4: &str, v6: &str| {
            let address = if flow.get(v4).is_some() { text(&flow, v4) } else { text(&flow, v6) };
            address.to_owned()
        };
        let (source, destination) = (end("src4_addr", "src6_addr"), end("dst4_addr", "dst6_addr"));
        let protocol = number(&flow, "proto");
        let has_ports = !matches!(protocol, 1 | 58);
        let port = |key: &str| if has_ports { number(&flow, key) } else { 0 };
        let (source_port, destination_port) = (port("src_port"), port("dst_port"));
        // `...AP.SF`: from CWR to FIN. nfdump has one set of flags for both directions.
        let letters = text(&flow, "tcp_flags");
        let tcp_flags = letters.chars().fold(0, |flags, letter| flags << 1 | u64::from(letter != '.'));
        let tcp_flags = if protocol == 6 { tcp_flags } else { 0 };
        let times =
            Some((local_milliseconds(text(&flow, "first"))?, local_milliseconds(text(&flow, "last"))?));
        let there =
            Sent { packets: number(&flow, "in_packets"), octets: number(&flow, "in_bytes"), tcp_flags };
        let back =
            Sent { packets: number(&flow, "out_packets"), octets: number(&flow, "out_bytes"), tcp_flags };
        flows.add(
            (source.clone(), destination.clone(), source_port, destination_port, protocol),
            there,
            times,
        );
        flows.add((destination, source, destination_port, source_port, protocol), back, times);
    }
    Ok((flows, want))
}

/// `2026-11-20T21:33:18.800` in the machine's time zone.
fn local_milliseconds(time: &str) -> anyhow::Result<u64> {
    let output = process::run(Command::new("date").arg("-d").arg(time.replace('T', " ")).arg("+%s.%N"))?;
    ensure!(output.status.success(), "{time}: {}", process::stderr(&output));
    Ok(milliseconds(process::stdout(&output).trim()))
}

#[test]
fn nfdump_reads_uniflows_in_milliseconds_without_a_difference() -> anyhow::Result<()> {
    if has(&["nfcapd", "nfdump"]) {
        let (got, want) = through_nfdump("?profile=plain")?;
        got.must_be(&want, 0)?;
    }
    Ok(())
}

#[test]
fn nfdump_reads_biflows_with_every_element_but_no_time_in_nanoseconds() -> anyhow::Result<()> {
    if has(&["nfcapd", "nfdump"]) {
        let (got, mut want) = through_nfdump("?times=milliseconds")?;
        // Of a biflow's flags it keeps those of the initiator.
        for (key, sent) in &mut want.sent {
            if let Some(got) = got.sent.get(key) {
                sent.tcp_flags = got.tcp_flags;
            }
        }
        got.must_be(&want, 0)?;
    }
    Ok(())
}

/// What nfacctd counted.
fn through_nfacctd(parameters: &str) -> anyhow::Result<(Flows, Flows)> {
    let work = tempfile::tempdir()?;
    let (port, output) = (free_port()?, work.path().join("nfacctd.json"));
    let settings = work.path().join("nfacctd.conf");
    std::fs::write(
        &settings,
        format!(
            "nfacctd_ip: 127.0.0.1\nnfacctd_port: {port}\nplugins: print[p]\nprint_output[p]: json\nprint_refresh_time[p]: 2\n\
             aggregate[p]: src_host,dst_host,src_port,dst_port,proto,tcpflags,timestamp_start,timestamp_end\n\
             timestamps_since_epoch: true\nprint_output_file[p]: {}\nprint_output_file_append[p]: true\n",
            output.display()
        ),
    )?;
    let mut command = Command::new("nfacctd");
    command.arg("-f").arg(&settings);
    let nfacctd = Running::start(command, &work.path().join("nfacctd.log"))?;
    wait_until("nfacctd listens", Duration::from_secs(20), || {
        listens_on_udp(port) && nfacctd.log().contains("setting object handlers")
    })?;
    let want = export(&format!("udp://127.0.0.1:{port}{parameters}"), work.path())?;
    let packets: u64 = want.sent.values().map(|sent| sent.packets).sum();
    let mut lines = String::new();
    // Complete when its print plugin, which writes every other second, has told all packets.
    wait_until("nfacctd tells every packet", Duration::from_secs(30), || {
        lines = std::fs::read_to_string(&output).unwrap_or_default();
        let told = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        told.map(|flow| number(&flow, "packets")).sum::<u64>() >= packets
    })
    .with_context(|| format!("{packets} packets; {lines}; {}", nfacctd.log()))?;
    nfacctd.signal("INT")?;
    let mut flows = Flows::default();
    for flow in objects(&lines)? {
        let protocol = match text(&flow, "ip_proto") {
            "tcp" => 6,
            "udp" => 17,
            "icmp" => 1,
            "ipv6-icmp" => 58,
            other => other.parse().unwrap_or_default(),
        };
        let key = (
            text(&flow, "ip_src").to_owned(),
            text(&flow, "ip_dst").to_owned(),
            number(&flow, "port_src"),
            number(&flow, "port_dst"),
            protocol,
        );
        let tcp_flags = if protocol == 6 { text(&flow, "tcp_flags").parse().unwrap_or_default() } else { 0 };
        let sent = Sent { packets: number(&flow, "packets"), octets: number(&flow, "bytes"), tcp_flags };
        let times =
            (milliseconds(text(&flow, "timestamp_start")), milliseconds(text(&flow, "timestamp_end")));
        flows.add(key, sent, Some(times));
    }
    Ok((flows, want))
}

#[test]
fn nfacctd_reads_uniflows_in_milliseconds_without_a_difference() -> anyhow::Result<()> {
    if has(&["nfacctd"]) {
        let (got, want) = through_nfacctd("?profile=plain")?;
        got.must_be(&want, 0)?;
    }
    Ok(())
}

/// Takes datagrams until `done` and nothing has come for a moment.
fn datagrams(socket: &UdpSocket, mut done: impl FnMut() -> bool) -> anyhow::Result<Vec<Vec<u8>>> {
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    let (mut taken, mut buffer) = (Vec::new(), vec![0; 65_535]);
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => taken.push(buffer[..length].to_vec()),
            Err(_) if done() => return Ok(taken),
            Err(_) => {}
        }
    }
}

/// An Ethernet capture of datagrams to port 4739.
fn as_capture(datagrams: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for number in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(number.to_le_bytes());
    }
    for (number, payload) in datagrams.iter().enumerate() {
        let udp_length = 8 + payload.len();
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
        frame.extend((20 + udp_length as u16).to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        frame.extend([0x12, 0x83, 0x12, 0x83]);
        frame.extend((udp_length as u16).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(payload);
        for field in [1_800_000_000, number as u32, frame.len() as u32, frame.len() as u32] {
            file.extend(field.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

/// What tshark's dissector reads: packets and octets of each direction, and whether it finds fault.
fn through_tshark(parameters: &str) -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let destination = format!("udp://{}{parameters}", socket.local_addr()?);
    let (want, taken) = std::thread::scope(|scope| {
        let exporter = scope.spawn(|| export(&destination, work.path()));
        let taken = datagrams(&socket, || exporter.is_finished());
        (exporter.join(), taken)
    });
    let want = want.map_err(|_| anyhow::anyhow!("the exporting thread panicked"))??;
    let file = work.path().join("ipfix.pcap");
    std::fs::write(&file, as_capture(&taken?))?;
    let mut command = Command::new("tshark");
    command.arg("-r").arg(&file).args(["-d", "udp.port==4739,cflow", "-T", "fields", "-E", "occurrence=a"]);
    // Of 60 fields at most in a template unless told otherwise.
    command.args(["-o", "cflow.max_template_fields:200"]);
    for field in ["cflow.packets", "cflow.octets", "_ws.malformed", "_ws.expert.message"] {
        command.args(["-e", field]);
    }
    let output = process::run(&mut command)?;
    let (mut packets, mut octets) = (0, 0);
    for line in process::stdout(&output).lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let sum = |at: usize| {
            let numbers = columns.get(at).copied().unwrap_or_default().split(',');
            numbers.filter_map(|number| number.parse::<u64>().ok()).sum::<u64>()
        };
        packets += sum(0);
        octets += sum(1);
        ensure!(columns[2..].iter().all(|column| column.is_empty()), "tshark finds fault: {line}");
    }
    let total = |count: fn(&Sent) -> u64| want.sent.values().map(count).sum::<u64>();
    ensure!(
        (packets, octets) == (total(|sent| sent.packets), total(|sent| sent.octets)),
        "{packets} packets and {octets} octets of {} and {}",
        total(|sent| sent.packets),
        total(|sent| sent.octets)
    );
    Ok(())
}

#[test]
fn tshark_dissects_every_form_without_finding_fault() -> anyhow::Result<()> {
    if has(&["tshark"]) {
        for parameters in ["", "?profile=plain", "?biflow=no&lists=no", "?enterprise=no&times=microseconds"] {
            through_tshark(parameters).context(parameters)?;
        }
    }
    Ok(())
}

/// Lets an exporter read http.pcap; gives what the collector makes of its datagrams, and the sensor of the capture.
fn from_exporter(
    start: impl FnOnce(u16, &Path) -> anyhow::Result<Running>,
) -> anyhow::Result<(Flows, Flows)> {
    let work = tempfile::tempdir()?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let exporter = start(socket.local_addr()?.port(), work.path())?;
    let mut quiet = 0;
    let taken = datagrams(&socket, || {
        quiet += 1;
        quiet > 20
    })?;
    drop(exporter);
    let file = work.path().join("exporter.ipfix");
    std::fs::write(&file, taken.concat())?;
    let mut command = process::command("weir-collector")?;
    command.arg("import").arg(&file).args(["--records", "-", "--set"]);
    let output =
        process::run(command.arg(format!("state_directory={}", work.path().join("state").display())))?;
    ensure!(output.status.success(), "import: {}", process::stderr(&output));
    let got = of_records(&process::stdout(&output))?;
    let records = work.path().join("sensor.json");
    let mut command = process::command("weir-sensor")?;
    process::run(command.arg("replay").arg(capture("http.pcap")).arg("--records").arg(&records))?;
    Ok((got, of_records(&std::fs::read_to_string(records)?)?))
}

#[test]
fn softflowd_s_biflows_arrive_as_the_sensor_measures_them() -> anyhow::Result<()> {
    if !has(&["softflowd"]) {
        return Ok(());
    }
    for form in [&["-b"][..], &[]] {
        let (got, want) = from_exporter(|port, work| {
            let mut command = Command::new("softflowd");
            command.arg("-r").arg(capture("http.pcap")).args(["-d", "-v", "10", "-n"]);
            command.arg(format!("127.0.0.1:{port}")).args(form);
            Running::start(command, &work.join("softflowd.log"))
        })?;
        // Its times count from its own start, which it tells to the millisecond.
        got.must_be(&want, 1).with_context(|| format!("{form:?}"))?;
    }
    Ok(())
}

#[test]
fn pmacctd_s_uniflows_arrive_as_the_sensor_measures_them() -> anyhow::Result<()> {
    if !has(&["pmacctd"]) {
        return Ok(());
    }
    let (got, want) = from_exporter(|port, work| {
        let settings = work.join("pmacctd.conf");
        std::fs::write(
            &settings,
            format!(
                "pcap_savefile: {}\npcap_savefile_delay: 1\nplugins: nfprobe[n]\nnfprobe_receiver[n]: 127.0.0.1:{port}\n\
                 nfprobe_version[n]: 10\nnfprobe_timeouts[n]: expint=1\n\
                 aggregate[n]: src_host,dst_host,src_port,dst_port,proto,tos,tcpflags,vlan,src_mac,dst_mac\n",
                capture("http.pcap").display()
            ),
        )?;
        let mut command = Command::new("pmacctd");
        command.arg("-f").arg(&settings);
        Running::start(command, &work.join("pmacctd.log"))
    })?;
    got.must_be(&want, 0)
}
