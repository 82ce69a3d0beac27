//! What no replica may be, whoever asks for it: it would reach beyond its container. Action Runner and
//! the gate refuse alike.

use std::{
    ffi::OsStr,
    path::{Component, Path, PathBuf},
};

use bollard::models::HostConfig;

/// What an engine gives to every container. A template that drops all of them and adds some back
/// is copied; one that adds others is not.
const ORDINARY: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Folders of the host that are not mounted as a whole, nor any folder that they lie in. A file in
/// `/etc` may be.
const FOLDERS: [&str; 8] = [
    "/",
    "/dev",
    "/etc",
    "/proc",
    "/run",
    "/sys",
    "/var/lib/docker",
    "/var/run",
];

/// And of these nothing: each has a way to the whole host in it.
const TREES: [&str; 3] = ["/proc", "/sys", "/var/lib/docker"];

/// Sockets of engines, wherever they lie.
const SOCKETS: [&str; 4] = ["docker.sock", "containerd.sock", "podman.sock", "crio.sock"];

/// Security options that take away what confines a container.
const UNCONFINED: [&str; 4] = [
    "seccomp=unconfined",
    "apparmor=unconfined",
    "label=disable",
    "systempaths=unconfined",
];

/// What no replica may be: it would reach beyond its container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Uncopyable {
    #[error("it is privileged")]
    Privileged,
    #[error("it shares the {0} namespace of the host or of another container")]
    Namespace(&'static str),
    #[error("it has devices of the host")]
    Devices,
    #[error("it has capability {0}, which containers do not ordinarily have")]
    Capability(String),
    #[error("it takes volumes from another container")]
    VolumesFrom,
    #[error("it binds {0} of the host")]
    Bind(String),
    #[error("it has the security option {0}, which lifts what confines containers")]
    SecurityOption(String),
    #[error("the engine does not tell its configuration")]
    Untold,
}

/// Refuses what would reach beyond its container.
///
/// The cgroup namespace is not asked after: a replica gets the engine's default whatever the template
/// has, and with cgroups of version 1 that default is the host's.
pub(super) fn refuse(host: &HostConfig) -> Result<(), Uncopyable> {
    let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if host.privileged == Some(true) {
        return Err(Uncopyable::Privileged);
    }
    for (name, mode) in [
        ("network", &host.network_mode),
        ("PID", &host.pid_mode),
        ("IPC", &host.ipc_mode),
        ("UTS", &host.uts_mode),
        ("user", &host.userns_mode),
    ] {
        let shared = |mode: &String| mode == "host" || mode.starts_with("container:");
        if mode.as_ref().is_some_and(shared) {
            return Err(Uncopyable::Namespace(name));
        }
    }
    let devices = host.devices.as_ref().is_some_and(|list| !list.is_empty());
    let requests = host
        .device_requests
        .as_ref()
        .is_some_and(|list| !list.is_empty());
    if devices || requests || some(&host.device_cgroup_rules) {
        return Err(Uncopyable::Devices);
    }
    let mut added = host.cap_add.iter().flatten();
    let ordinary = |name: &str| ORDINARY.contains(&name.trim_start_matches("CAP_"));
    if let Some(name) = added.find(|name| !ordinary(name)) {
        return Err(Uncopyable::Capability(name.clone()));
    }
    if some(&host.volumes_from) {
        return Err(Uncopyable::VolumesFrom);
    }
    let mut options = host.security_opt.iter().flatten();
    if let Some(option) = options.find(|option| unconfines(option)) {
        return Err(Uncopyable::SecurityOption(option.clone()));
    }
    let mut sources = bind_sources(host).into_iter();
    match sources.find(|source| of_the_host(source)) {
        Some(source) => Err(Uncopyable::Bind(source)),
        None => Ok(()),
    }
}

fn unconfines(option: &str) -> bool {
    // Older clients write a colon.
    let option = option.trim().replacen(':', "=", 1);
    UNCONFINED.contains(&option.as_str())
}

/// Paths of the host that are mounted, also by way of a volume that stands for a folder.
fn bind_sources(host: &HostConfig) -> Vec<String> {
    let binds = host.binds.iter().flatten();
    let binds = binds.filter_map(|bind| bind.split(':').next().map(str::to_owned));
    let mounts = host.mounts.iter().flatten().flat_map(|mount| {
        let options = mount.volume_options.as_ref();
        let driver = options.and_then(|options| options.driver_config.as_ref());
        let device = driver.and_then(|driver| driver.options.as_ref()?.get("device").cloned());
        [mount.source.clone(), device].into_iter().flatten()
    });
    let paths = binds.chain(mounts);
    paths.filter(|path| path.starts_with('/')).collect()
}

/// Whether who has this path has the host.
fn of_the_host(path: &str) -> bool {
    let path = plain(path);
    let is_socket = SOCKETS
        .iter()
        .any(|name| path.file_name() == Some(OsStr::new(name)));
    is_socket
        // The folder itself, or one that it lies in.
        || FOLDERS.iter().any(|folder| Path::new(folder).starts_with(&path))
        || TREES.iter().any(|tree| path.starts_with(tree))
}

/// Without `.`, `..` and doubled slashes, as the engine reads it. Symbolic links are not followed: the
/// host's files are not seen from here.
fn plain(path: &str) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => drop(plain.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_are_the_host_are_known_however_they_are_written() {
        for path in [
            "/",
            "//",
            "/./",
            "/etc",
            "/etc/",
            "/srv/../etc",
            "/../etc",
            "/var",
            "/var/lib",
            "/var/lib/docker",
            "/var/lib/docker/volumes/x/_data",
            "/proc/1/root",
            "/sys/fs/cgroup",
            "/dev",
            "/run",
            "/var/run",
            "/var/run/docker.sock",
            "/run//docker.sock",
            "/srv/docker.sock",
            "/run/containerd/containerd.sock",
        ] {
            assert!(of_the_host(path), "{path}");
        }
        for path in [
            "/etc/ssl/certs",
            "/etc/localtime",
            "/srv/data",
            "/home",
            "/dev/log",
            "/var/lib/dockery",
            "/var/log",
            "/procession",
        ] {
            assert!(!of_the_host(path), "{path}");
        }
    }
}
