//! A real Prometheus evaluates the shipped rule file over a scraped endpoint, and a real
//! Alertmanager posts firing and resolved, with the shipped configuration.

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use axum::{Router, extract::State, routing::get};
use eventpulse_tests::{
    App, Stack,
    stack::{Setup, TOKEN, patiently},
};
use service_kit::testing::Port;

/// What cAdvisor would say of one container with half a CPU.
#[derive(Debug)]
struct Figures {
    began: Instant,
    busy: AtomicBool,
    used: std::sync::Mutex<(Duration, f64)>,
}

impl Figures {
    fn text(&self) -> String {
        let mut used = self.used.lock().expect("no scrape panics");
        let now = self.began.elapsed();
        let share = if self.busy.load(Ordering::Relaxed) {
            0.42
        } else {
            0.15
        };
        used.1 += (now - used.0).as_secs_f64() * share;
        used.0 = now;
        let labels = r#"{container_label_service="app",name="app-1"}"#;
        format!(
            "container_cpu_usage_seconds_total{labels} {}\n\
             container_spec_cpu_quota{labels} 50000\ncontainer_spec_cpu_period{labels} 100000\n",
            used.1
        )
    }
}

async fn serve(figures: Arc<Figures>) -> Result<u16> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let scrape = |State(figures): State<Arc<Figures>>| async move { figures.text() };
    let router = Router::new()
        .route("/metrics", get(scrape))
        .with_state(figures);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(port)
}

/// A container on the host's network, removed on drop.
struct Container(String);

impl Container {
    fn run(arguments: &[&str]) -> Result<Self> {
        let started = Command::new("docker")
            .args(["run", "--detach", "--network", "host"])
            .args(arguments)
            .output()?;
        ensure!(
            started.status.success(),
            "{}",
            String::from_utf8_lossy(&started.stderr)
        );
        Ok(Self(String::from_utf8(started.stdout)?.trim().to_owned()))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(
                Command::new("docker")
                    .args(["logs", "--tail", "20", &self.0])
                    .status(),
            );
        }
        drop(
            Command::new("docker")
                .args(["rm", "--force", "--volumes", &self.0])
                .output(),
        );
    }
}

fn image(variable: &str, official: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| official.to_owned())
}

/// Writes a shipped file with the demo's host names replaced.
fn adapt(name: &str, folder: &Path, replaced: &[(&str, String)]) -> Result<()> {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../demo/config/fast/");
    let mut text = std::fs::read_to_string(format!("{shipped}{name}"))?;
    for (from, to) in replaced {
        ensure!(text.contains(from), "{name} has no {from}");
        text = text.replace(from, to);
    }
    std::fs::write(folder.join(name), text)?;
    Ok(())
}

fn monitoring(
    stack: &Stack,
    cadvisor: u16,
    folder: &Path,
    [prometheus, alertmanager]: &[Port; 2],
) -> Result<[Container; 2]> {
    std::fs::write(folder.join("am_token"), TOKEN)?;
    let ingest = stack.ingest.url.trim_start_matches("http://").to_owned();
    adapt("rules.yml", folder, &[])?;
    adapt(
        "prometheus.yml",
        folder,
        &[
            ("alertmanager:9093", alertmanager.to_string()),
            ("cadvisor:8080", format!("127.0.0.1:{cadvisor}")),
        ],
    )?;
    adapt(
        "alertmanager.yml",
        folder,
        &[
            ("ingest:8081", ingest),
            (
                "/run/secrets/am_token",
                "/etc/alertmanager/am_token".to_owned(),
            ),
        ],
    )?;
    make_readable(folder)?;
    let mount = |inside: &str| format!("{}:{inside}:ro", folder.display());
    Ok([
        Container::run(&[
            "--volume",
            &mount("/etc/alertmanager"),
            &image("ALERTMANAGER_IMAGE", "prom/alertmanager:v0.34.2"),
            "--config.file=/etc/alertmanager/alertmanager.yml",
            "--storage.path=/alertmanager",
            "--cluster.listen-address=",
            &format!("--web.listen-address={alertmanager}"),
        ])?,
        Container::run(&[
            "--volume",
            &mount("/etc/prometheus"),
            &image("PROMETHEUS_IMAGE", "prom/prometheus:v3.13.5"),
            "--config.file=/etc/prometheus/prometheus.yml",
            "--storage.tsdb.path=/prometheus",
            &format!("--web.listen-address={prometheus}"),
        ])?,
    ])
}

/// The containers do not run as the test's user.
fn make_readable(folder: &Path) -> Result<()> {
    let done = Command::new("chmod")
        .arg("-R")
        .arg("a+rX")
        .arg(folder)
        .status()?;
    ensure!(done.success(), "chmod failed");
    Ok(())
}

#[tokio::test]
async fn a_real_alertmanager_fires_and_resolves() -> Result<()> {
    let app = App::start("true").await?;
    let stack = Stack::start(&Setup {
        project: app.project.clone(),
        verify_within: "120s",
        ..Setup::default()
    })
    .await?;
    let figures = Arc::new(Figures {
        began: Instant::now(),
        busy: AtomicBool::new(true),
        used: std::sync::Mutex::new((Duration::ZERO, 0.0)),
    });
    let cadvisor = serve(Arc::clone(&figures)).await?;
    let folder = tempfile::tempdir()?;
    let ports = [Port::reserve()?, Port::reserve()?];
    let _containers = monitoring(&stack, cadvisor, folder.path(), &ports)?;

    let minute = Duration::from_secs(90);
    patiently(
        minute,
        "HighCPU to open an incident and scale",
        async || {
            let incidents = stack.incidents().await?;
            ensure!(incidents.len() == 1, "{} incidents", incidents.len());
            ensure!(incidents[0]["status"] == "mitigating", "{}", incidents[0]);
            app.running(2).await
        },
    )
    .await?;
    figures.busy.store(false, Ordering::Relaxed);
    patiently(minute, "the incident to resolve", async || {
        let incidents = stack.incidents().await?;
        ensure!(incidents[0]["status"] == "resolved", "{}", incidents[0]);
        Ok(())
    })
    .await?;

    let alerts = stack.ingest.get("/api/v1/alerts").await?;
    let high = alerts["items"]
        .as_array()
        .context("items")?
        .iter()
        .find(|alert| alert["labels"]["alertname"] == "HighCPU")
        .context("HighCPU")?;
    let link = high["generator_url"].as_str().context("generator_url")?;
    ensure!(link.contains("/graph?g0.expr="), "{link}");
    let receipts = stack.ingest.get("/api/v1/receipts").await?;
    let agent = receipts["items"][0]["user_agent"]
        .as_str()
        .context("agent")?;
    ensure!(agent.starts_with("Alertmanager/"), "{agent}");
    Ok(())
}
