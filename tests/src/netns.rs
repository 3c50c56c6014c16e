//! Two network namespaces joined by a veth pair, made and removed by a test.

use anyhow::ensure;
use std::process::{Command, Stdio};

/// Namespaces `a` and `b`, with interface `veth0` in each.
pub struct Pair {
    name: String,
}

impl Pair {
    /// Makes the pair. `None` when this user may not, with the reason said.
    pub fn make(test: &str) -> anyhow::Result<Option<Pair>> {
        let pair = Pair { name: format!("weir-{test}-{}", std::process::id()) };
        if !quiet(&["netns", "add", &pair.a()]) {
            crate::skip("network namespaces need root");
            return Ok(None);
        }
        let (a, b) = (pair.a(), pair.b());
        ip(&["netns", "add", &b])?;
        ip(&["-n", &a, "link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", &b])?;
        for name in [&a, &b] {
            // Without IPv6 nothing but the test's own frames passes.
            pair.sysctl(name, "net.ipv6.conf.veth0.disable_ipv6=1");
            ip(&["-n", name, "link", "set", "lo", "up"])?;
            ip(&["-n", name, "link", "set", "veth0", "mtu", "9000", "up"])?;
        }
        Ok(Some(pair))
    }

    /// The first namespace.
    pub fn a(&self) -> String {
        format!("{}-a", self.name)
    }

    /// The second namespace.
    pub fn b(&self) -> String {
        format!("{}-b", self.name)
    }

    /// A command that runs inside a namespace.
    pub fn inside(&self, namespace: &str, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(program);
        command
    }

    /// Takes an interface down or up.
    pub fn set_link(&self, namespace: &str, state: &str) -> anyhow::Result<()> {
        ip(&["-n", namespace, "link", "set", "veth0", state])
    }

    fn sysctl(&self, namespace: &str, setting: &str) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, "sysctl", "-q", "-w", setting]);
        drop(command.stdout(Stdio::null()).stderr(Stdio::null()).status());
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        quiet(&["netns", "del", &self.a()]);
        quiet(&["netns", "del", &self.b()]);
    }
}

fn quiet(arguments: &[&str]) -> bool {
    let status = Command::new("ip").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(arguments).output()?;
    ensure!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
