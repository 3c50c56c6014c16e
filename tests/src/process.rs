//! The programs under test as processes.

use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest a program may take for one bundled capture.
const RUN_WAIT: Duration = Duration::from_secs(120);

/// Path of a program of this workspace, beside the test's own executable or in `WEIR_BIN_DIR`.
pub fn program(name: &str) -> PathBuf {
    if let Some(directory) = std::env::var_os("WEIR_BIN_DIR") {
        return PathBuf::from(directory).join(name);
    }
    let own = std::env::current_exe().unwrap_or_default();
    // target/PROFILE/deps/TEST
    own.ancestors().nth(2).unwrap_or(Path::new(".")).join(name)
}

/// A command for one of the programs; fails with what to do when it was not built.
pub fn command(name: &str) -> anyhow::Result<Command> {
    let path = program(name);
    ensure!(
        path.exists(),
        "{} is missing: build the programs of the same profile first (scripts/test does)",
        path.display()
    );
    Ok(Command::new(path))
}

/// Runs to the end and fails when that takes longer than [`RUN_WAIT`].
pub fn run(command: &mut Command) -> anyhow::Result<Output> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let id = child.id();
    let (done, alarm) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if alarm.recv_timeout(RUN_WAIT).is_err() {
            drop(signal(id, "KILL"));
        }
    });
    let output = child.wait_with_output()?;
    // The watchdog is gone when it has killed the program.
    let _ = done.send(());
    drop(watchdog.join());
    Ok(output)
}

/// Standard error of an output, for messages.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Standard output of an output.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn signal(id: u32, name: &str) -> std::io::Result<()> {
    Command::new("kill").arg(format!("-{name}")).arg(id.to_string()).stderr(Stdio::null()).status().map(drop)
}

/// A program that runs until it is told to end; ended when dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a program with its output in `log`.
    pub fn start(mut command: Command, log: &Path) -> anyhow::Result<Running> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
        Ok(Running { child, log: log.to_owned() })
    }

    /// Sends a signal by name, as `HUP`.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        Ok(signal(self.child.id(), name)?)
    }

    /// Sends SIGTERM and waits for the end; gives the exit code.
    pub fn terminate(mut self) -> anyhow::Result<Option<i32>> {
        signal(self.child.id(), "TERM")?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("did not end within 60 s of SIGTERM; its log:\n{}", self.log())
    }

    /// Ends at once, as a crash would.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended in the usual case.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits until a condition holds, up to `wait`; fails with `what` otherwise.
pub fn wait_until(what: &str, wait: Duration, mut condition: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + wait;
    while !condition() {
        ensure!(Instant::now() < deadline, "{what}: not within {wait:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A TCP port of the loopback interface that was free a moment ago.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("binding a loopback port")?;
    Ok(listener.local_addr()?.port())
}
