//! Each of the four databases restored, while alerts come in all the time, from a dump that is older
//! than what happened since: nothing accepted since is lost, no action is repeated, and what the dump
//! lacked is listed.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use chrono::{TimeDelta, Utc};
use eventpulse_tests::{
    App, Stack,
    app::docker_host,
    cli::Cli,
    docker::{docker, postgres},
    stack::{Setup, try_post},
    webhook::{Alert, body},
};
use serde_json::{Value, json};
use service_kit::testing::{Database, wait_for};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

/// Runs a shell command in the container of the tests' Postgres.
async fn in_postgres(command: String) -> Result<()> {
    docker(&["exec", &postgres().await?, "sh", "-ec", &command]).await?;
    Ok(())
}

fn name(database: &Database) -> Result<&str> {
    let (_, name) = database.url.rsplit_once('/').context("a database")?;
    Ok(name)
}

/// A database as it was, in a file of the server's container.
struct Dump(String);

impl Dump {
    async fn of(database: &Database) -> Result<Self> {
        let name = name(database)?;
        let file = format!("/tmp/{name}.dump");
        in_postgres(format!(
            "pg_dump -h 127.0.0.1 -U postgres -Fc -f {file} {name}"
        ))
        .await?;
        Ok(Self(file))
    }

    /// A new database with the content of the dump.
    async fn restore(&self) -> Result<Database> {
        let database = Database::fresh(&[]).await;
        let (name, file) = (name(&database)?, &self.0);
        let restore = "pg_restore -h 127.0.0.1 -U postgres --clean --if-exists --exit-on-error";
        in_postgres(format!("{restore} -d {name} {file}; rm {file}")).await?;
        Ok(database)
    }
}

/// Targets that the Rule Engine knows and the Action Runner does not: what is asked for them fails
/// at once, so that request and outcome are read again in the same quarter of a second.
const NOWHERE: &str = "nowhere-";
const OF_NOWHERE: usize = 5;
/// Services of the alerts that come in all the time.
const LATE: &str = "late-";
/// At most so many of them: a page of incidents has 200.
const MOST: usize = 150;

/// Alerts that are sent until Ingest takes them, whatever happens meanwhile.
struct Load {
    stop: CancellationToken,
    taken: watch::Receiver<usize>,
    sending: JoinHandle<Vec<Alert>>,
}

impl Load {
    fn begin(ingest: String) -> Self {
        let stop = CancellationToken::new();
        let (count, taken) = watch::channel(0);
        let stopped = stop.clone();
        let sending = tokio::spawn(async move {
            let (mut ticks, mut alerts) = (interval(Duration::from_millis(500)), Vec::new());
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !stopped.is_cancelled() && alerts.len() < MOST {
                let began = Utc::now() - TimeDelta::seconds(60);
                let service = format!("{LATE}{}", alerts.len());
                alerts.push(Alert::firing("Down", &service, began));
                let body = body(&alerts[alerts.len() - 1..]);
                while !try_post(&ingest, &body)
                    .await
                    .is_ok_and(|status| status.is_success())
                {
                    ticks.tick().await;
                }
                count.send_replace(alerts.len());
                ticks.tick().await;
            }
            alerts
        });
        Self {
            stop,
            taken,
            sending,
        }
    }

    /// Waits until five more were taken.
    async fn goes_on(&mut self) -> Result<()> {
        let wanted = *self.taken.borrow() + 5;
        self.taken.wait_for(|taken| *taken >= wanted).await?;
        Ok(())
    }

    /// Ends it. What still fires is sent again, as an Alertmanager does: of each there is one incident.
    async fn end(self, stack: &Stack) -> Result<()> {
        self.stop.cancel();
        let alerts = self.sending.await?;
        stack.accept(&alerts).await?;
        wait_for("one incident of each alert", async || {
            let incidents = stack.incidents().await?;
            let services = incidents.iter().filter_map(|i| i["service"].as_str());
            let mut late: Vec<&str> = services.filter(|name| name.starts_with(LATE)).collect();
            let count = late.len();
            late.sort_unstable();
            late.dedup();
            let told = (count, late.len());
            ensure!(
                told == (alerts.len(), alerts.len()),
                "{told:?} of {}",
                alerts.len()
            );
            Ok(())
        })
        .await;
        Ok(())
    }
}

/// What people see of the system, without what differs for its age, and without the load.
async fn seen(stack: &Stack) -> Result<Vec<(String, String, i64)>> {
    let incidents = stack.incidents().await?;
    let text =
        |incident: &Value, name: &str| incident[name].as_str().unwrap_or_default().to_owned();
    let mut seen: Vec<_> = incidents
        .iter()
        .filter(|incident| !text(incident, "service").starts_with(LATE))
        .map(|incident| {
            let actions = incident["actions"].as_i64().unwrap_or(-1);
            (text(incident, "id"), text(incident, "status"), actions)
        })
        .collect();
    seen.sort();
    Ok(seen)
}

fn down(n: usize) -> Alert {
    let began = Utc::now() - TimeDelta::seconds(60);
    Alert::firing("Down", &format!("service-{n}"), began)
}

/// Gives the Rule Engine a file with more targets than the Action Runner has.
async fn knows_more(stack: &mut Stack) -> Result<()> {
    let of_both = std::fs::read_to_string(stack.folder.path().join("targets.yaml"))?;
    let only_here = (0..OF_NOWHERE).map(|n| {
        let place = format!(
            "docker_host: {}, selector: {{service: none}}",
            docker_host()
        );
        format!("- {{name: {NOWHERE}{n}, {place}, min_replicas: 1, max_replicas: 2}}\n")
    });
    let file = stack.folder.path().join("more.yaml");
    std::fs::write(&file, of_both + &only_here.collect::<String>())?;
    stack.rules.kill()?;
    let setting = ("EVENTPULSE_TARGETS_FILE", file.display().to_string());
    stack.rules.restart(&[setting])?;
    stack.rules.ready().await;
    Ok(())
}

/// Until the dump: the load is high and two replicas run, one service is down.
async fn before(stack: &Stack, app: &App) -> Result<Alert> {
    let high = Alert::firing("HighCPU", "app", Utc::now() - TimeDelta::seconds(60));
    stack.accept(&[high.clone(), down(0)]).await?;
    wait_for("two replicas", async || app.running(2).await).await;
    wait_for("the incident to be mitigated", async || {
        let seen = seen(stack).await?;
        let ready = seen
            .iter()
            .any(|(_, status, actions)| status == "mitigating" && *actions == 1);
        ensure!(ready && seen.len() == 2, "{seen:?}");
        Ok(())
    })
    .await;
    quiet(stack).await?;
    Ok(high)
}

/// Since the dump: the load falls and rises once more; further services go down and come back.
async fn since(stack: &Stack, app: &App, high: Alert) -> Result<()> {
    stack.accept(&[high.resolved(Utc::now())]).await?;
    let low = Alert::firing("LowCPU", "app", Utc::now());
    stack.accept(std::slice::from_ref(&low)).await?;
    wait_for("one replica", async || app.running(1).await).await;
    stack.accept(&[low.resolved(Utc::now())]).await?;
    let words = json!({"actor": "ana", "reason": "a deploy"});
    for verb in ["pause", "resume"] {
        let path = format!("/api/v1/targets/app/{verb}");
        stack.rules.post(&path, &words).await?;
    }
    let again = Alert::firing("HighCPU", "app", Utc::now());
    stack.accept(&[again]).await?;
    wait_for("two replicas again", async || app.running(2).await).await;
    let downs: Vec<Alert> = (1..=5).map(down).collect();
    stack.accept(&downs).await?;
    let nowhere = (0..OF_NOWHERE).map(|n| format!("{NOWHERE}{n}"));
    let nowhere = nowhere.map(|service| Alert::firing("HighCPU", &service, Utc::now()));
    stack.accept(&nowhere.collect::<Vec<_>>()).await?;
    let over: Vec<Alert> = downs[..2]
        .iter()
        .map(|alert| alert.clone().resolved(Utc::now()))
        .collect();
    stack.accept(&over).await?;
    wait_for("what follows", async || {
        let seen = seen(stack).await?;
        let of = |wanted: &str| {
            seen.iter()
                .filter(|(_, status, _)| status == wanted)
                .count()
        };
        let counts = (of("open"), of("mitigating"), of("resolved"), of("failed"));
        ensure!(counts == (4, 1, 3, OF_NOWHERE), "{seen:?}");
        Ok(())
    })
    .await;
    quiet(stack).await
}

/// Everything is said, and every action has ended.
async fn quiet(stack: &Stack) -> Result<()> {
    stack.at_rest().await;
    wait_for("every action to end", async || {
        let actions = stack.runner.get("/api/v1/actions?limit=200").await?;
        let items = actions["items"].as_array().context("items")?;
        let ended = |action: &Value| {
            let target = action["target"].as_str().unwrap_or_default();
            let nowhere = target.starts_with(NOWHERE);
            action["status"] == if nowhere { "failed" } else { "completed" }
        };
        ensure!(items.iter().all(ended), "{actions:#}");
        let targets =
            sqlx::query_scalar::<_, i64>("SELECT count(*) FROM targets WHERE pending IS NOT NULL")
                .fetch_one(&stack.databases.rules.pool)
                .await?;
        ensure!(targets == 0, "Rules wait for an action");
        Ok(())
    })
    .await;
    Ok(())
}

/// Loses the database of a service and brings the dump back, as the documentation says.
async fn restore(stack: &mut Stack, service: &str, dump: &Dump) -> Result<Value> {
    stack.member(service)?.kill()?;
    let restored = dump.restore().await?;
    let (url, cli) = (restored.url.clone(), Cli::of(stack)?);
    let announce = ["db", "restored", "--database-url", &url];
    let because = ["--actor", "ana", "--reason", "the disk is gone"];
    let told = cli.ok(&[announce, because].concat()).await?;
    ensure!(told.contains("it catches up"), "{told}");
    match service {
        "ingest" => stack.databases.ingest = restored,
        "rules" => stack.databases.rules = restored,
        "action-runner" => stack.databases.runner = restored,
        _ => stack.databases.store = restored,
    }
    let member = stack.member(service)?;
    // it dies half-way, and once more when nothing is left but to say so; each time it begins again
    let failpoint = |name: &str| ("EVENTPULSE_FAILPOINT", name.to_owned());
    let database = ("EVENTPULSE_DATABASE_URL", url);
    member.restart(&[database, failpoint("batch.committed:3")])?;
    member.died().await;
    member.restart(&[failpoint("restore.taken")])?;
    member.died().await;
    member.restart(&[failpoint("")])?;
    member.ready().await;
    let lacked = cli.json(&["db", "lacked", "--service", service]).await?;
    let [restoration] = lacked.as_array().map_or(&[][..], Vec::as_slice) else {
        bail!("one restoration: {lacked:#}");
    };
    ensure!(restoration["actor"] == "ana", "{restoration:#}");
    Ok(restoration["report"].clone())
}

/// After the restore everything is as it was, and goes on.
async fn story(service: &str) -> Result<Value> {
    let app = App::start("true").await?;
    let mut stack = Stack::start(&Setup {
        project: app.project.clone(),
        cooldown: "1s",
        verify_within: "600s",
        ..Setup::default()
    })
    .await?;
    knows_more(&mut stack).await?;
    let high = before(&stack, &app).await?;
    let dump = match service {
        "ingest" => Dump::of(&stack.databases.ingest).await?,
        "rules" => Dump::of(&stack.databases.rules).await?,
        "action-runner" => Dump::of(&stack.databases.runner).await?,
        _ => Dump::of(&stack.databases.store).await?,
    };
    since(&stack, &app, high).await?;
    let known = seen(&stack).await?;
    let journal = app.journal();
    let mut load = Load::begin(stack.ingest.url.clone());
    load.goes_on().await?;
    let report = restore(&mut stack, service, &dump).await?;
    load.goes_on().await?;
    load.end(&stack).await?;
    quiet(&stack).await?;
    wait_for("the same incidents", async || {
        let now = seen(&stack).await?;
        ensure!(now == known, "{now:#?}\nwere\n{known:#?}");
        Ok(())
    })
    .await;

    // what was known of services that are down is known: they come back, and their incidents end
    let over: Vec<Alert> = [0, 3, 4, 5].map(|n| down(n).resolved(Utc::now())).into();
    stack.accept(&over).await?;
    wait_for(
        "the incidents of services that are back to end",
        async || {
            let now = seen(&stack).await?;
            let resolved = now
                .iter()
                .filter(|(_, status, _)| status == "resolved")
                .count();
            ensure!(resolved == 7 && now.len() == 8 + OF_NOWHERE, "{now:?}");
            Ok(())
        },
    )
    .await;
    quiet(&stack).await?;
    let changes = journal.changes();
    ensure!(changes.is_empty(), "no action is repeated: {changes:?}");
    Ok(report)
}

fn count(report: &Value, name: &str) -> Result<u64> {
    report[name]
        .as_u64()
        .with_context(|| format!("{name}: {report:#}"))
}

#[tokio::test]
async fn the_incident_store_is_restored() -> Result<()> {
    let report = story("incident-store").await?;
    ensure!(
        count(&report, "read")? >= 12 && count(&report, "said")? == 0,
        "{report:#}"
    );
    Ok(())
}

#[tokio::test]
async fn the_action_runner_is_restored() -> Result<()> {
    let report = story("action-runner").await?;
    ensure!(
        count(&report, "read")? == 9 && count(&report, "said")? == 7,
        "{report:#}"
    );
    ensure!(count(&report, "said_anew")? == 0, "{report:#}");
    Ok(())
}

#[tokio::test]
async fn ingest_is_restored() -> Result<()> {
    let report = story("ingest").await?;
    ensure!(count(&report, "said")? >= 9, "{report:#}");
    Ok(())
}

#[tokio::test]
async fn rules_are_restored() -> Result<()> {
    let report = story("rules").await?;
    ensure!(
        count(&report, "read")? >= 10 && count(&report, "said")? >= 8,
        "{report:#}"
    );
    ensure!(count(&report, "not_said_again")? == 0, "{report:#}");
    // alerts that came while nobody decided, and nothing else
    let anew = report["said_anew_events"].as_array().context("a list")?;
    ensure!(
        anew.iter().all(|event| event["type"] == "incident.opened"),
        "{report:#}"
    );
    Ok(())
}
