//! The phases: load and faults, heal, drain, check, report.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use eventpulse_tests::stack::{TOKEN, patiently};
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    arena::{Arena, Places, rules},
    checker::{Evidence, Judgement, check},
    dice::Dice,
    docker::containers,
    driver::{Book, Load, Pair, Real, Timing, World, generate, scale},
    faults::{Done, Nemesis},
    fleet::Fleet,
    gather::{Reading, lag, next, read_topics, rows, waiting},
    report::{self, Converged, Outcome, Report},
    restoring::{Restored, restore_all},
    soak::Soak,
};

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub duration: Duration,
    pub mode: Mode,
    pub instances: usize,
    pub load: Load,
    /// How long everything may take to come to rest after the faults.
    pub patience: Duration,
    pub places: Places,
    /// For the report, and for what a failure leaves.
    pub folder: PathBuf,
}

/// What is done beside the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Faults, by seed.
    Faults,
    /// Nothing: does what services hold stay bounded?
    Calm,
    /// Each database is lost and restored from a dump of this age.
    Restore(Duration),
}

/// How long a heal waits for parts and services.
const HEALING: Duration = Duration::from_secs(240);
/// How often a run says how far it is.
const REPORTING: Duration = Duration::from_secs(30);
/// Faults begin after this much of the load.
const CALM: Duration = Duration::from_secs(3);
/// Looks at what services hold, in one run.
const LOOKS: u32 = 120;
/// After which services forget in a calm run what they handled and what was sent to them.
const FORGETS: Duration = Duration::from_secs(180);
/// What they have not yet forgotten for sure.
const KEPT: Duration = Duration::from_secs(150);

/// The sending side of a run.
struct Senders {
    world: Arc<World>,
    book: Arc<Book>,
    pair: Arc<Pair>,
    real: Arc<Real>,
    _hop: AbortOnDropHandle<()>,
    generating: CancellationToken,
    notifying: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// Does all of it; the report says whether it passed.
pub async fn run(plan: &Plan) -> Result<Report> {
    let mut dice = Dice::new(plan.seed);
    let forgets = (plan.mode == Mode::Calm).then_some(FORGETS);
    let arena = Arena::build(plan.places.clone(), plan.instances, forgets).await?;
    let arena = Arc::new(arena);
    arena.fleet.ready(HEALING).await?;
    let supervised = CancellationToken::new();
    let supervisor = tokio::spawn(Fleet::supervise(
        arena.processes().cloned().collect(),
        supervised.clone(),
    ));
    let mut senders = Senders::start(plan, &arena, &mut dice).await?;
    let nemesis = Arc::new(Nemesis::new(Arc::clone(&arena), Arc::clone(&senders.pair)));

    sleep(CALM).await;
    let ended = async {
        let (soak, restored) = load(plan, &arena, &nemesis, dice.fork()).await?;
        eprintln!("no more faults: healing, and waiting for everything to come to rest");
        let ended = end(plan, &arena, &mut senders, &nemesis, &restored).await?;
        Ok::<_, anyhow::Error>((ended, soak, restored))
    }
    .await;
    let faults = nemesis.done();
    let (
        End {
            evidence,
            judgement,
            rested,
            converged,
        },
        soak,
        restored,
    ) = match ended {
        Ok(ended) => ended,
        Err(why) => return Err(unjudged(plan, &arena, &faults, why)),
    };
    supervised.cancel();
    let mut notes = supervisor.await?;
    notes.extend(rested.err().map(|why| format!("not at rest: {why:#}")));
    let outcome = Outcome {
        judgement,
        faults: &faults,
        converged,
        notes,
        soak,
        restored,
    };
    let report = Report::of(plan, &evidence, outcome);
    report::write(&plan.folder, &report, &faults)?;
    if !report.passed {
        report::keep(&plan.folder, &evidence, &arena.logs())?;
    }
    Ok(report)
}

/// Keeps what there is of a run that could not be judged.
fn unjudged(plan: &Plan, arena: &Arena, faults: &[Done], why: anyhow::Error) -> anyhow::Error {
    let left = match report::unfinished(&plan.folder, faults, &arena.logs()) {
        Ok(()) => "faults and logs stay".to_owned(),
        Err(error) => format!("nor could faults and logs be kept: {error:#}"),
    };
    why.context(format!("the run has no verdict; {left}"))
}

/// What a run ends with.
struct End {
    evidence: Evidence,
    judgement: Judgement,
    /// When the last alert had been told.
    rested: Result<Instant>,
    converged: Option<Converged>,
}

/// Heals everything, lets it come to rest, and judges what is left.
async fn end(
    plan: &Plan,
    arena: &Arena,
    senders: &mut Senders,
    nemesis: &Nemesis,
    restored: &[Restored],
) -> Result<End> {
    nemesis.heal().await?;
    let healed = Instant::now();
    let rested = calm_down(arena, senders, plan.patience).await;
    let converged = rested.as_ref().ok().map(|told| Converged {
        healed: healed.elapsed(),
        told: told.elapsed(),
    });
    nemesis.wake_registry().await?;
    eprintln!("reading what is left, and checking it");
    let (evidence, judgement) = judge(
        arena,
        (&senders.world, &senders.book),
        (plan.mode == Mode::Calm).then_some(KEPT),
        restored,
    )
    .await?;
    Ok(End {
        evidence,
        judgement,
        rested,
        converged,
    })
}

/// The load, and what the mode does beside it, for the rest of the duration.
async fn load(
    plan: &Plan,
    arena: &Arena,
    nemesis: &Arc<Nemesis>,
    dice: Dice,
) -> Result<(Soak, Vec<Restored>)> {
    let raging = CancellationToken::new();
    let rage = (plan.mode == Mode::Faults)
        .then(|| tokio::spawn(Arc::clone(nemesis).rage(dice, raging.clone())));
    let fleet = &arena.fleet;
    let watching = CancellationToken::new();
    let pause = (plan.duration / LOOKS).max(Duration::from_secs(1));
    let watch = Soak::watch(&fleet.slots, &fleet.databases, pause, watching.clone());
    let end = async {
        let restores = async {
            match plan.mode {
                Mode::Restore(age) => restore_all(arena, age).await,
                Mode::Faults | Mode::Calm => Ok(Vec::new()),
            }
        };
        let lasting = async {
            last(plan.duration, nemesis).await;
            Ok(())
        };
        let ended = tokio::try_join!(lasting, restores);
        watching.cancel();
        ended.map(|((), restored)| restored)
    };
    let (soak, restored) = tokio::join!(watch, end);
    raging.cancel();
    if let Some(rage) = rage {
        rage.await?;
    }
    Ok((soak, restored?))
}

/// Lets faults go on for the rest of `duration`, and says now and then how many there were.
async fn last(duration: Duration, nemesis: &Nemesis) {
    let end = Instant::now() + duration.saturating_sub(CALM);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let (faults, left_secs) = (nemesis.done().len(), left.as_secs());
        eprintln!("{faults} faults, {left_secs} s to go");
        sleep(left.min(REPORTING)).await;
    }
}

/// Everything is ready again, everything was told, and nothing is under way. Returns when the last
/// alert had been told.
///
/// The senders end before the rest: an alert that nobody ever told to fire is not waited for, and a
/// group that still fires tells its end with the next repetition.
async fn calm_down(arena: &Arena, senders: &mut Senders, patience: Duration) -> Result<Instant> {
    let outcome = async {
        arena.fleet.ready(HEALING).await?;
        senders.finish(patience).await
    }
    .await;
    let told = Instant::now();
    senders.end().await?;
    outcome?;
    rest(arena, patience).await?;
    Ok(told)
}

impl Senders {
    async fn start(plan: &Plan, arena: &Arena, dice: &mut Dice) -> Result<Self> {
        let groups = plan.load.groups + arena.targets.len();
        let (world, book) = (Arc::new(World::new(groups)), Arc::new(Book::default()));
        let timing = Timing {
            group_interval: Duration::from_millis(2500),
            repeat_interval: Duration::from_secs(20),
            peer_timeout: Duration::from_secs(1),
        };
        let urls = arena.fleet.urls("ingest");
        let alertmanager = plan.places.alertmanager_port;
        let real = Real::new(&world, Arc::clone(&book), urls.clone(), alertmanager);
        let real = Arc::new(real);
        let hop = real.listen(plan.places.hop_port).await?;
        let pair = Pair::new(timing, Arc::clone(&world), Arc::clone(&book), urls, TOKEN);
        let pair = Arc::new(pair);
        let (generating, notifying) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = Vec::new();
        let (running, stop, mut chance) = (Arc::clone(&pair), notifying.clone(), dice.fork());
        tasks.push(tokio::spawn(async move {
            running.run(groups, &mut chance, stop).await;
        }));
        tasks.push(tokio::spawn(generate(
            plan.load,
            Arc::clone(&world),
            Arc::clone(&book),
            dice.fork(),
            generating.clone(),
        )));
        for (number, target) in arena.targets.iter().enumerate() {
            tasks.push(tokio::spawn(scale(
                target.name.clone(),
                plan.load.groups + number,
                Arc::clone(&world),
                Arc::clone(&book),
                dice.fork(),
                generating.clone(),
            )));
        }
        tasks.push(tokio::spawn(Arc::clone(&real).prometheus(
            dice.fork(),
            generating.clone(),
            notifying.clone(),
        )));
        Ok(Self {
            world,
            book,
            pair,
            real,
            _hop: hop,
            generating,
            notifying,
            tasks,
        })
    }

    /// No new alerts; most end, some fire on; waits until everything was told.
    async fn finish(&self, patience: Duration) -> Result<()> {
        self.generating.cancel();
        self.world.wind_down(|labels| {
            labels
                .get("instance")
                .is_some_and(|name| name.ends_with('7'))
        });
        let told = async || {
            let (untold, real) = (self.world.untold(&self.book), self.real.untold());
            ensure!(
                untold + real == 0,
                "{untold} alerts of the pair and {real} of the real Alertmanager are not told yet"
            );
            Ok(())
        };
        patiently(patience, "the Alertmanagers to tell everything", told).await?;
        self.real.took_part()
    }

    async fn end(&mut self) -> Result<()> {
        self.generating.cancel();
        self.notifying.cancel();
        for task in self.tasks.drain(..) {
            task.await?;
        }
        Ok(())
    }
}

/// Waits until nothing is under way, three looks in a row.
async fn rest(arena: &Arena, patience: Duration) -> Result<()> {
    let databases = &arena.fleet.databases;
    let mut still = 0;
    patiently(patience, "everything to come to rest", async || {
        let busy = waiting(databases).await?;
        let (brokers, next) = (arena.places.brokers(), next(databases).await?);
        let lag = tokio::task::spawn_blocking(move || lag(&brokers, &next)).await??;
        still = if busy.is_none() && lag == 0 {
            still + 1
        } else {
            0
        };
        ensure!(still >= 3, "{busy:?}, lag {lag}, still for {still} looks");
        Ok(())
    })
    .await
}

/// Reads everything and checks it. What the engine is still removing is looked at again.
async fn judge(
    arena: &Arena,
    (world, book): (&World, &Book),
    kept: Option<Duration>,
    restored: &[Restored],
) -> Result<(Evidence, Judgement)> {
    let fleet = &arena.fleet;
    let forgotten_before = kept.map(|kept| (Utc::now() - kept).timestamp_micros());
    let rows = rows(&fleet.databases, &fleet.topics.prefix, kept).await?;
    let reading = Reading {
        brokers: arena.places.brokers(),
        prefix: fleet.topics.prefix.clone(),
        registry: arena.places.registry(),
    };
    let records = read_topics(&reading).await.context("reading the topics")?;
    let mut evidence = Evidence {
        rules: rules(),
        targets: arena.bounds(),
        series: world.series(),
        sent: book.all(),
        records,
        ingest: rows.ingest,
        rules_rows: rows.rules,
        runner: rows.runner,
        store: rows.store,
        kits: rows.kits,
        docker: Vec::new(),
        containers: Vec::new(),
        forgotten_before,
        lost: restored
            .iter()
            .map(|done| (done.service.to_owned(), done.lost.clone()))
            .collect(),
    };
    for _ in 0..30 {
        evidence.docker = arena.journal.changes()?;
        evidence.containers.clear();
        for target in &arena.targets {
            evidence
                .containers
                .extend(containers(&target.name, &target.app).await?);
        }
        let judgement = check(&evidence);
        let replicas = |text: &str| text.contains("were asked for last");
        if !judgement.violations.iter().any(|v| replicas(&v.what)) {
            return Ok((evidence, judgement));
        }
        sleep(Duration::from_secs(1)).await;
    }
    let judgement = check(&evidence);
    Ok((evidence, judgement))
}
