//! What the process gives up once its interfaces and files are open: root, and most of the disk.
//!
//! Must be called before the workers start: they parse what attackers send and inherit the limits.

use crate::config::SensorConfig;
use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    path_beneath_rules,
};
use nix::unistd::{Gid, Uid, User, geteuid, setgid, setgroups, setuid};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Newest Landlock interface whose rights are asked for; older kernels enforce what they know.
const LANDLOCK_ABI: ABI = ABI::V5;

/// How deep below a directory that is written to its contents are handed over: a ring's pins, and their files.
const HAND_OVER_DEPTH: u32 = 2;

/// Who the sensor becomes, and what it may still touch.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxConfig {
    /// User to become once the interfaces are open, when started by root. A user that does not exist
    /// is replaced by `nobody`. Only CAP_NET_RAW is kept, to open an interface that comes back.
    pub user: String,
    /// Confine file access with Landlock: reading as the user may, writing below the directories of the ring,
    /// the spool, the outputs and stored files only. A kernel without Landlock is logged.
    pub landlock: bool,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        SandboxConfig { user: "weir".into(), landlock: true }
    }
}

/// Why privileges could not be given up; the sensor does not start then.
#[derive(Debug, thiserror::Error)]
#[error("cannot give up {what}: {why}")]
pub struct SandboxError {
    what: &'static str,
    why: String,
}

/// Gives up root, then file access. `writable` are the directories still written to.
pub fn enter(config: &SensorConfig, writable: &[PathBuf]) -> Result<(), SandboxError> {
    drop_root(&config.sandbox.user, writable)?;
    if config.sandbox.landlock {
        confine_files(writable)?;
    }
    Ok(())
}

fn drop_root(user: &str, writable: &[PathBuf]) -> Result<(), SandboxError> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let wrong = |why: String| SandboxError { what: "root", why };
    let find = |name: &str| User::from_name(name).ok().flatten();
    let user = find(user)
        .or_else(|| find("nobody"))
        .ok_or_else(|| wrong(format!("neither user `{user}` nor `nobody` exists")))?;
    if user.uid.is_root() {
        tracing::warn!("sandbox.user is root: the sensor keeps root's rights");
        return Ok(());
    }
    for directory in writable {
        hand_over(directory, user.uid, user.gid, HAND_OVER_DEPTH)
            .map_err(|e| wrong(format!("{}: {e}", directory.display())))?;
    }
    let system = |error: nix::errno::Errno| wrong(error.to_string());
    nix::sys::prctl::set_keepcaps(true).map_err(system)?;
    setgroups(&[user.gid]).map_err(system)?;
    setgid(user.gid).map_err(system)?;
    setuid(user.uid).map_err(system)?;
    let kept: CapsHashSet = [Capability::CAP_NET_RAW].into_iter().collect();
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        let wanted = if matches!(set, CapSet::Inheritable) { CapsHashSet::new() } else { kept.clone() };
        caps::set(None, set, &wanted).map_err(|error| wrong(error.to_string()))?;
    }
    nix::sys::prctl::set_no_new_privs().map_err(system)?;
    tracing::info!(user = user.name, "root is given up; CAP_NET_RAW is kept");
    Ok(())
}

/// Makes the user owner of a directory and of what is in it that root owns, `depth` directories deep.
fn hand_over(directory: &Path, uid: Uid, gid: Gid, depth: u32) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, lchown};
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let (path, metadata) = (entry.path(), entry.metadata()?);
        if metadata.is_dir() && depth > 0 {
            hand_over(&path, uid, gid, depth - 1)?;
        } else if metadata.uid() == 0 && !metadata.is_symlink() {
            lchown(&path, Some(uid.as_raw()), Some(gid.as_raw()))?;
        }
    }
    if std::fs::metadata(directory)?.uid() == 0 {
        lchown(directory, Some(uid.as_raw()), Some(gid.as_raw()))?;
    }
    Ok(())
}

fn confine_files(writable: &[PathBuf]) -> Result<(), SandboxError> {
    let wrong = |why: String| SandboxError { what: "file access", why };
    let restrict = || -> Result<RulesetStatus, landlock::RulesetError> {
        let all = AccessFs::from_all(LANDLOCK_ABI);
        let status = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(all)?
            .create()?
            .add_rules(path_beneath_rules(["/"], AccessFs::from_read(LANDLOCK_ABI)))?
            .add_rules(path_beneath_rules(["/dev/null"], AccessFs::from_file(LANDLOCK_ABI)))?
            .add_rules(path_beneath_rules(writable, all))?
            .restrict_self()?;
        Ok(status.ruleset)
    };
    match restrict().map_err(|error| wrong(error.to_string()))? {
        RulesetStatus::NotEnforced => {
            tracing::warn!("this kernel has no Landlock: file access is not confined");
        }
        status => tracing::debug!(?status, "file access is confined"),
    }
    Ok(())
}
