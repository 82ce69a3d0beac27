//! What a replica is made from: a whitelist of the oldest container that Compose or a person made.
//!
//! Copied: image (by id), command, environment, user, labels, networks with aliases, limits,
//! health check, volumes and binds, what restricts it. Never copied: ports, addresses, host names,
//! and the restart policy: a replica that ends is seen, told and replaced by this service, while a
//! policy would hide a crash loop and bring back what was removed after a reboot.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerConfig, ContainerCreateBody, ContainerInspectResponse, EndpointSettings, HostConfig,
    Mount, MountType, NetworkingConfig, RestartPolicy, RestartPolicyNameEnum,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use super::reach::Uncopyable;
use super::{
    labels::{COMPOSE_PROJECT, COMPOSE_SERVICE, Tag, of_template},
    reach::refuse,
};
use crate::domain::target::Target;

/// Networks of the engine's own: they know no aliases.
const BUILT_IN: [&str; 2] = ["bridge", "none"];

/// A container's kind, without anything that belongs to one container alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Template {
    /// Without labels and networks.
    body: ContainerCreateBody,
    labels: BTreeMap<String, String>,
    /// Aliases in each network.
    networks: BTreeMap<String, Vec<String>>,
}

impl Template {
    /// The template that a container is.
    ///
    /// # Errors
    /// When it is something that no replica may be.
    pub fn of(container: &ContainerInspectResponse) -> Result<Self, Uncopyable> {
        let config = container.config.as_ref().ok_or(Uncopyable::Untold)?;
        let host = container.host_config.as_ref().ok_or(Uncopyable::Untold)?;
        let image = container.image.clone().ok_or(Uncopyable::Untold)?;
        refuse(host)?;
        Ok(Self {
            body: body(config, host, image),
            labels: of_template(config.labels.clone()),
            networks: networks(container),
        })
    }

    /// Judges a template that was kept: by an earlier build, or by whoever could write the file.
    ///
    /// # Errors
    /// As [`Template::of`].
    pub(crate) fn judge(&self) -> Result<(), Uncopyable> {
        self.body.host_config.as_ref().map_or(Ok(()), refuse)
    }

    /// First digits of the hash of everything that is copied. Replicas with another one are of an
    /// earlier deploy.
    #[must_use]
    pub fn hash(&self) -> String {
        let value = serde_json::to_value(self).expect("a template is JSON");
        let mut text = String::new();
        canonical(&value, &mut text);
        hex::encode(&Sha256::digest(text)[..8])
    }

    /// Whether the container has a health check that can be waited for.
    #[must_use]
    pub fn has_healthcheck(&self) -> bool {
        let check = self.body.healthcheck.as_ref();
        let test = check.and_then(|check| check.test.as_ref());
        test.is_some_and(|test| test.first().is_some_and(|kind| kind != "NONE"))
    }

    /// `<project>-<service>-<slot>`, as Compose would name it.
    #[must_use]
    pub fn replica_name(&self, target: &str, slot: u32) -> String {
        let label = |name: &str| self.labels.get(name).map(String::as_str);
        let project = label(COMPOSE_PROJECT).unwrap_or("eventpulse");
        let service = label(COMPOSE_SERVICE).unwrap_or(target);
        format!("{project}-{service}-{slot}")
    }

    /// Whether a replica made from it would belong to the target: a kept template can be older than
    /// the selector.
    #[must_use]
    pub fn fits(&self, target: &Target) -> bool {
        target.selects(&self.labels)
    }

    /// The body that creates a replica. Before API 1.44 an engine takes one network only; the
    /// others are in [`Template::other_networks`].
    #[must_use]
    pub fn create_body(&self, name: &str, tag: &Tag) -> ContainerCreateBody {
        let mut body = self.body.clone();
        let mut labels = self.labels.clone();
        tag.write(&mut labels);
        body.labels = Some(labels.into_iter().collect());
        if let Some((network, aliases)) = self.first_network() {
            if let Some(host) = &mut body.host_config {
                host.network_mode = Some(network.clone());
            }
            let endpoint = endpoint(network, aliases, name);
            body.networking_config = Some(NetworkingConfig {
                endpoints_config: Some(HashMap::from([(network.clone(), endpoint)])),
            });
        }
        body
    }

    /// Networks to connect before the start, beyond the one of the create body.
    pub fn other_networks(&self, name: &str) -> impl Iterator<Item = (&String, EndpointSettings)> {
        self.networks
            .iter()
            .skip(1)
            .map(move |(network, aliases)| (network, endpoint(network, aliases, name)))
    }

    fn first_network(&self) -> Option<(&String, &Vec<String>)> {
        self.networks.iter().next()
    }
}

fn endpoint(network: &str, aliases: &[String], name: &str) -> EndpointSettings {
    let mut aliases = aliases.to_vec();
    aliases.push(name.to_owned());
    EndpointSettings {
        aliases: (!BUILT_IN.contains(&network)).then_some(aliases),
        ..EndpointSettings::default()
    }
}

/// Lists whose order the engine or Compose draws by lot are sorted, so that the same configuration
/// has the same hash.
fn body(config: &ContainerConfig, host: &HostConfig, image: String) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(image),
        cmd: config.cmd.clone(),
        entrypoint: config.entrypoint.clone(),
        env: environment(config.env.clone()),
        user: text(&config.user),
        working_dir: text(&config.working_dir),
        tty: config.tty.filter(|tty| *tty),
        open_stdin: config.open_stdin.filter(|open| *open),
        healthcheck: config.healthcheck.clone(),
        stop_signal: text(&config.stop_signal),
        stop_timeout: config.stop_timeout,
        host_config: Some(host_config(host)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(host: &HostConfig) -> HostConfig {
    let (binds, mounts) = volumes(host);
    HostConfig {
        binds,
        mounts,
        tmpfs: host.tmpfs.clone(),
        cpu_shares: number(host.cpu_shares),
        nano_cpus: number(host.nano_cpus),
        cpu_period: number(host.cpu_period),
        cpu_quota: number(host.cpu_quota),
        cpuset_cpus: text(&host.cpuset_cpus),
        cpuset_mems: text(&host.cpuset_mems),
        memory: number(host.memory),
        memory_reservation: number(host.memory_reservation),
        memory_swap: number(host.memory_swap),
        pids_limit: number(host.pids_limit),
        ulimits: host.ulimits.clone().map(|mut limits| {
            limits.sort_by(|a, b| a.name.cmp(&b.name));
            limits
        }),
        shm_size: number(host.shm_size),
        oom_score_adj: number(host.oom_score_adj),
        init: host.init,
        readonly_rootfs: host.readonly_rootfs.filter(|only| *only),
        cap_add: set(&host.cap_add),
        cap_drop: set(&host.cap_drop),
        security_opt: set(&host.security_opt),
        group_add: set(&host.group_add),
        extra_hosts: set(&host.extra_hosts),
        dns: host.dns.clone(),
        dns_options: host.dns_options.clone(),
        dns_search: host.dns_search.clone(),
        sysctls: host.sysctls.clone(),
        log_config: host.log_config.clone(),
        runtime: text(&host.runtime),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        ..HostConfig::default()
    }
}

/// Binds and named volumes as the template has them; an anonymous volume becomes a new one.
fn volumes(host: &HostConfig) -> (Option<Vec<String>>, Option<Vec<Mount>>) {
    let (mut binds, mut mounts) = (Vec::new(), Vec::new());
    for bind in host.binds.iter().flatten() {
        let mut parts = bind.split(':');
        match (parts.next(), parts.next()) {
            (Some(source), Some(path)) if anonymous(source) => mounts.push(new_volume(path)),
            (_, _) => binds.push(bind.clone()),
        }
    }
    for mount in host.mounts.iter().flatten() {
        let unnamed = mount.source.as_deref().is_none_or(anonymous);
        match (&mount.typ, &mount.target) {
            (Some(MountType::VOLUME), Some(path)) if unnamed => mounts.push(new_volume(path)),
            (_, _) => mounts.push(mount.clone()),
        }
    }
    binds.sort();
    mounts.sort_by(|a, b| a.target.cmp(&b.target));
    (
        (!binds.is_empty()).then_some(binds),
        (!mounts.is_empty()).then_some(mounts),
    )
}

fn new_volume(path: &str) -> Mount {
    Mount {
        target: Some(path.to_owned()),
        typ: Some(MountType::VOLUME),
        ..Mount::default()
    }
}

/// The engine names a volume that nobody named with 64 hexadecimal digits.
fn anonymous(source: &str) -> bool {
    source.is_empty() || (source.len() == 64 && source.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Networks with the aliases that belong to the kind: not those that name the one container.
fn networks(container: &ContainerInspectResponse) -> BTreeMap<String, Vec<String>> {
    let id = container.id.clone().unwrap_or_default();
    let name = container.name.clone().unwrap_or_default();
    let name = name.trim_start_matches('/');
    let settings = container.network_settings.as_ref();
    let networks = settings.and_then(|settings| settings.networks.clone());
    let own = |alias: &String| {
        let short_id = alias.len() >= 12 && id.starts_with(alias.as_str());
        alias != name && !short_id
    };
    networks
        .unwrap_or_default()
        .into_iter()
        .map(|(network, endpoint)| {
            let mut aliases = endpoint.aliases.unwrap_or_default();
            aliases.retain(own);
            aliases.sort();
            aliases.dedup();
            (network, aliases)
        })
        .collect()
}

/// Sorted by name; of a name that is set twice the last one counts, as for the engine.
fn environment(variables: Option<Vec<String>>) -> Option<Vec<String>> {
    let by_name: BTreeMap<String, String> = variables?
        .into_iter()
        .map(|variable| {
            let name = variable.split('=').next().unwrap_or_default();
            (name.to_owned(), variable)
        })
        .collect();
    Some(by_name.into_values().collect())
}

fn text(value: &Option<String>) -> Option<String> {
    value.clone().filter(|text| !text.is_empty())
}

fn number(value: Option<i64>) -> Option<i64> {
    value.filter(|number| *number != 0)
}

fn set(list: &Option<Vec<String>>) -> Option<Vec<String>> {
    let mut list = list.clone()?;
    list.sort();
    (!list.is_empty()).then_some(list)
}

/// JSON with its keys in order, whatever the map type is: hashes outlive builds.
fn canonical(value: &serde_json::Value, text: &mut String) {
    match value {
        serde_json::Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            text.push('{');
            for (name, value) in sorted {
                text.push_str(&serde_json::Value::from(name.as_str()).to_string());
                text.push(':');
                canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        serde_json::Value::Array(list) => {
            text.push('[');
            for value in list {
                canonical(value, text);
                text.push(',');
            }
            text.push(']');
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => text.push_str(&value.to_string()),
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
