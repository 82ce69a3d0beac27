//! A Compose project of its own on the real engine: image, network, volume, and the container that
//! Compose would have made.

use std::{
    collections::HashMap,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use bollard::{
    Docker,
    models::{
        ContainerCreateBody, ContainerInspectResponse, ContainerSummary, EndpointSettings,
        HealthConfig, HostConfig, Mount, MountType, NetworkConnectRequest, NetworkCreateRequest,
        NetworkingConfig, VolumeCreateRequest,
    },
    query_parameters::{
        CreateContainerOptions, CreateImageOptions, InspectContainerOptions, ListContainersOptions,
        RemoveContainerOptions, RemoveVolumeOptions, StartContainerOptions,
        UploadToContainerOptionsBuilder,
    },
};
use bytes::Bytes;
use futures::StreamExt;
use service_kit::testing::wait_for;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

const SOURCE: &str = include_str!("replica.c");

/// One project.
pub(crate) struct Host {
    pub(crate) docker: Docker,
    pub(crate) project: String,
    image: String,
}

/// What the template is, beyond the ordinary.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kind {
    pub(crate) env: Vec<String>,
    pub(crate) labels: HashMap<String, String>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) no_healthcheck: bool,
    pub(crate) shared_ipc: bool,
}

/// Where the engine is: `EVENTPULSE_TEST_DOCKER_HOST`.
pub(crate) fn engine() -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "where the parts are that tests stand on is told by the environment"
    )]
    std::env::var("EVENTPULSE_TEST_DOCKER_HOST")
        .expect("EVENTPULSE_TEST_DOCKER_HOST is not set: run `make test`")
}

/// Differs between processes and within one.
fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let seed = format!("{:?} {count}", std::time::Instant::now());
    let digest = hex::encode(&Sha256::digest(seed)[..4]);
    format!("eptest-{}-{digest}", std::process::id())
}

impl Host {
    /// A network and a volume, and no container yet.
    pub(crate) async fn empty() -> Self {
        service_kit::lifecycle::install_crypto();
        let docker = Docker::connect_with_host(&engine()).expect("the engine's address is good");
        let docker = docker
            .negotiate_version()
            .await
            .expect("the engine answers");
        let image = image(&docker).await;
        let host = Self {
            docker,
            project: fresh_name(),
            image,
        };
        let network = NetworkCreateRequest {
            name: host.network(),
            labels: Some(host.project_label()),
            ..NetworkCreateRequest::default()
        };
        host.docker.create_network(network).await.expect("network");
        let volume = VolumeCreateRequest {
            name: Some(host.volume()),
            labels: Some(host.project_label()),
            ..VolumeCreateRequest::default()
        };
        host.docker.create_volume(volume).await.expect("volume");
        host
    }

    /// With the one container that Compose made, `<project>-app-1`, running.
    pub(crate) async fn up() -> Self {
        let host = Self::empty().await;
        host.compose(1, &Kind::default()).await;
        host
    }

    pub(crate) fn network(&self) -> String {
        format!("{}_default", self.project)
    }

    /// Of a second network, which [`Host::connect`] makes.
    pub(crate) fn edge(&self) -> String {
        format!("{}_edge", self.project)
    }

    /// Connects the container that Compose made to a second network.
    pub(crate) async fn connect(&self, name: &str) {
        let network = NetworkCreateRequest {
            name: self.edge(),
            labels: Some(self.project_label()),
            ..NetworkCreateRequest::default()
        };
        self.docker.create_network(network).await.expect("network");
        let request = NetworkConnectRequest {
            container: name.to_owned(),
            endpoint_config: Some(EndpointSettings {
                aliases: Some(vec!["front".to_owned()]),
                ..EndpointSettings::default()
            }),
        };
        let connected = self.docker.connect_network(&self.edge(), request).await;
        connected.expect("the container is connected");
    }

    pub(crate) fn volume(&self) -> String {
        format!("{}_app-config", self.project)
    }

    pub(crate) fn name(&self, number: u32) -> String {
        format!("{}-app-{number}", self.project)
    }

    fn project_label(&self) -> HashMap<String, String> {
        HashMap::from([("eventpulse.test".to_owned(), self.project.clone())])
    }

    /// Makes and starts a container as Compose does.
    pub(crate) async fn compose(&self, number: u32, kind: &Kind) -> String {
        let mut labels = kind.labels.clone();
        for (name, value) in [
            ("service", "app"),
            ("com.docker.compose.project", &self.project),
            ("com.docker.compose.service", "app"),
            ("com.docker.compose.oneoff", "False"),
            ("com.docker.compose.config-hash", "0123456789abcdef"),
            ("com.docker.compose.container-number", &number.to_string()),
            ("traefik.enable", "true"),
            ("traefik.http.routers.app.rule", "PathPrefix(`/work`)"),
        ] {
            labels
                .entry(name.to_owned())
                .or_insert_with(|| value.to_owned());
        }
        let config = Mount {
            typ: Some(MountType::VOLUME),
            source: Some(self.volume()),
            target: Some("/config".to_owned()),
            ..Mount::default()
        };
        let mut mounts = vec![config];
        mounts.extend(kind.mounts.clone());
        let aliases = vec![self.name(number), "app".to_owned()];
        let endpoint = EndpointSettings {
            aliases: Some(aliases),
            ..EndpointSettings::default()
        };
        let check = HealthConfig {
            test: Some(["CMD", "/replica", "check"].map(str::to_owned).to_vec()),
            // each look is a process in the container: at five a second they took half of two cores
            interval: Some(1_000_000_000),
            timeout: Some(2_000_000_000),
            retries: Some(2),
            ..HealthConfig::default()
        };
        let body = ContainerCreateBody {
            image: Some(self.image.clone()),
            entrypoint: Some(vec!["/replica".to_owned()]),
            env: Some(kind.env.clone()),
            labels: Some(labels),
            healthcheck: (!kind.no_healthcheck).then_some(check),
            host_config: Some(HostConfig {
                network_mode: Some(self.network()),
                mounts: Some(mounts),
                nano_cpus: Some(500_000_000),
                memory: Some(64 * 1024 * 1024),
                cap_drop: Some(vec!["ALL".to_owned()]),
                readonly_rootfs: Some(true),
                ipc_mode: kind.shared_ipc.then(|| "host".to_owned()),
                ..HostConfig::default()
            }),
            networking_config: Some(NetworkingConfig {
                endpoints_config: Some(HashMap::from([(self.network(), endpoint)])),
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptions {
            name: Some(self.name(number)),
            ..CreateContainerOptions::default()
        };
        let made = self.docker.create_container(Some(options), body).await;
        let id = made.expect("the template is made").id;
        self.start(&id).await;
        id
    }

    pub(crate) async fn start(&self, id: &str) {
        let options = None::<StartContainerOptions>;
        let started = self.docker.start_container(id, options).await;
        started.expect("the container starts");
    }

    /// Removes a container as `docker rm -f` does.
    pub(crate) async fn remove(&self, name: &str) {
        let options = RemoveContainerOptions {
            force: true,
            v: true,
            ..RemoveContainerOptions::default()
        };
        let removed = self.docker.remove_container(name, Some(options)).await;
        removed.expect("the container is removed");
    }

    /// Somebody ships a configuration: what starts from now on is in this mode, what runs goes on.
    pub(crate) async fn ship(&self, mode: &str) {
        let tar = tar(&[("mode", 0o644, mode.as_bytes())]);
        let options = UploadToContainerOptionsBuilder::new()
            .path("/config")
            .build();
        let body = bollard::body_full(Bytes::from(tar));
        let template = self.foreign().await;
        let (id, _) = template.first().expect("a container to ship through");
        let shipped = self
            .docker
            .upload_to_container(id, Some(options), body)
            .await;
        shipped.expect("the configuration is shipped");
    }

    /// Every container of the project, by name.
    pub(crate) async fn all(&self) -> Vec<ContainerSummary> {
        let project = format!("com.docker.compose.project={}", self.project);
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), vec![project])])),
            ..ListContainersOptions::default()
        };
        let mut all = self
            .docker
            .list_containers(Some(options))
            .await
            .expect("list");
        all.sort_by_key(|one| one.names.clone());
        all
    }

    /// Names of replicas, in order.
    pub(crate) async fn replicas(&self) -> Vec<String> {
        let all = self.all().await;
        let ours = all.iter().filter(|one| managed(one));
        ours.map(|one| self.slot(one)).collect()
    }

    /// Waits until exactly these slots have a replica.
    pub(crate) async fn slots(&self, wanted: &[&str]) {
        wait_for("the replicas", async || {
            let found = self.replicas().await;
            if found == wanted { Ok(()) } else { Err(found) }
        })
        .await;
    }

    /// `2` of `<project>-app-2`; the whole name of anything else.
    fn slot(&self, one: &ContainerSummary) -> String {
        let name = plain_name(one);
        let prefix = format!("{}-app-", self.project);
        name.strip_prefix(&prefix).unwrap_or(&name).to_owned()
    }

    async fn foreign(&self) -> Vec<(String, String)> {
        let all = self.all().await;
        let others = all.iter().filter(|one| !managed(one));
        others
            .map(|one| (one.id.clone().unwrap_or_default(), plain_name(one)))
            .collect()
    }

    /// What the engine tells of a container.
    pub(crate) async fn inspect(&self, name: &str) -> Option<ContainerInspectResponse> {
        let options = None::<InspectContainerOptions>;
        self.docker.inspect_container(name, options).await.ok()
    }

    pub(crate) async fn id(&self, name: &str) -> String {
        let container = self.inspect(name).await.expect("the container is there");
        container.id.expect("it has an id")
    }
}

pub(crate) fn managed(one: &ContainerSummary) -> bool {
    let labels = one.labels.as_ref();
    labels.is_some_and(|labels| labels.contains_key("eventpulse.managed"))
}

fn plain_name(one: &ContainerSummary) -> String {
    let names = one.names.as_ref().and_then(|names| names.first());
    names.expect("a name").trim_start_matches('/').to_owned()
}

impl Drop for Host {
    fn drop(&mut self) {
        let (project, volume) = (self.project.clone(), self.volume());
        let networks = [self.network(), self.edge()];
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async move {
                let Ok(docker) = Docker::connect_with_host(&engine()) else {
                    return;
                };
                let label = format!("com.docker.compose.project={project}");
                let options = ListContainersOptions {
                    all: true,
                    filters: Some(HashMap::from([("label".to_owned(), vec![label])])),
                    ..ListContainersOptions::default()
                };
                let force = RemoveContainerOptions {
                    force: true,
                    v: true,
                    ..RemoveContainerOptions::default()
                };
                let left = docker.list_containers(Some(options)).await;
                for one in left.unwrap_or_default() {
                    let id = one.id.unwrap_or_default();
                    drop(docker.remove_container(&id, Some(force.clone())).await);
                }
                for network in networks {
                    drop(docker.remove_network(&network).await);
                }
                let options = None::<RemoveVolumeOptions>;
                drop(docker.remove_volume(&volume, options).await);
            });
        });
        // A panic of best-effort cleaning is not the test's.
        drop(thread.join());
    }
}

/// The image of the static program, made once per source.
async fn image(docker: &Docker) -> String {
    static IMAGE: OnceCell<String> = OnceCell::const_new();
    let name = IMAGE.get_or_init(|| async {
        let tag = hex::encode(&Sha256::digest(SOURCE)[..6]);
        let name = format!("eventpulse-test/replica:{tag}");
        if docker.inspect_image(&name).await.is_ok() {
            return name;
        }
        let program = compile();
        let root = tar(&[
            ("config/mode", 0o644, b"good".as_slice()),
            ("replica", 0o755, program.as_slice()),
        ]);
        let options = CreateImageOptions {
            from_src: Some("-".to_owned()),
            repo: Some("eventpulse-test/replica".to_owned()),
            tag: Some(tag),
            ..CreateImageOptions::default()
        };
        let body = bollard::body_full(Bytes::from(root));
        let mut import = Box::pin(docker.create_image(Some(options), Some(body), None));
        while let Some(said) = import.next().await {
            said.expect("the image is imported");
        }
        name
    });
    name.await.clone()
}

fn compile() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, program) = (
        folder.path().join("replica.c"),
        folder.path().join("replica"),
    );
    std::fs::write(&source, SOURCE).expect("the source is written");
    let cc = Command::new("cc")
        .args(["-static", "-O2", "-Wall", "-Werror", "-o"])
        .args([&program as &Path, &source])
        .output()
        .expect("a C compiler, which the Rust toolchain needs as well");
    assert!(
        cc.status.success(),
        "{}",
        String::from_utf8_lossy(&cc.stderr)
    );
    std::fs::read(program).expect("the program is there")
}

/// A tar archive (ustar) of small files.
fn tar(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, mode, content) in files {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        let mut put = |at: usize, text: String| {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        put(100, format!("{mode:07o}"));
        put(108, "0000000".to_owned());
        put(116, "0000000".to_owned());
        put(124, format!("{:011o}", content.len()));
        put(136, "00000000000".to_owned());
        put(148, "        ".to_owned());
        put(156, "0".to_owned());
        put(257, "ustar\u{0}00".to_owned());
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\u{0}").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}
