//! `backtest`: a rule set over the real past, in memory. Nothing is written anywhere.

pub(crate) mod read;
mod show;
mod then;

use std::{
    cell::Cell,
    io::IsTerminal,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use rules::backtest::{self, Assume, Recorded, Tried, Window, replay};
use tokio::sync::oneshot;

use crate::{
    args::Servers,
    client::Client,
    error::Error,
    incident::moment,
    output::Output,
    rules::files::{Settings, compiled},
};

/// What to try on what.
#[derive(Debug, Args)]
pub(crate) struct BacktestArgs {
    /// The rules to try, as if they had been active from the beginning; without, those of then, each
    /// where it was in force
    #[arg(long = "rules", value_name = "FILE")]
    rules: Option<PathBuf>,
    /// The targets to try; targets.yaml beside the rules when it is not given
    #[arg(long, value_name = "FILE", requires = "rules")]
    targets: Option<PathBuf>,
    /// Report decisions from this time on (RFC 3339), or of so long ago (2h)
    #[arg(long)]
    from: Option<String>,
    /// Report decisions before this time, or longer ago than this
    #[arg(long)]
    to: Option<String>,
    /// How actions end that never happened: as the last one on the same target ended then, completed
    /// after a second, or failed at their deadline
    #[arg(long, value_enum, default_value_t = Assumption::Recorded)]
    assume: Assumption,
    /// Fail when any decision differs. Rules change where they changed then; FILE stands for the last
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Assumption {
    Completed,
    Failed,
    Recorded,
}

impl From<Assumption> for Assume {
    fn from(assumption: Assumption) -> Self {
        match assumption {
            Assumption::Completed => Self::Completed,
            Assumption::Failed => Self::Failed,
            Assumption::Recorded => Self::Recorded,
        }
    }
}

/// `backtest`
pub(crate) async fn run(
    servers: &Servers,
    client: &Client,
    output: Output,
    args: &BacktestArgs,
) -> Result<(), Error> {
    let window = Window {
        from: time(output, args.from.as_deref())?,
        to: time(output, args.to.as_deref())?,
    };
    let file = match &args.rules {
        Some(file) => {
            let (set, _) = compiled(file, args.targets.as_deref(), &args.settings)?;
            Some(Arc::new(set))
        }
        None => None,
    };
    let progress = Progress::new();
    let past = past(servers, client, &progress).await?;
    let tried = match file {
        Some(set) if !args.exact => Tried::throughout(set),
        file => then::rules(client, &past.decisions, file).await?,
    };
    let replayed = replay(&past, &tried, args.assume.into(), &mut |done, total| {
        progress.say(&format!("deciding: {done} of {total}"));
    });
    progress.end();
    let report = backtest::report(&past.decisions, replayed, &tried.otherwise.hash, window);
    show::show(output, &report, &show::title(args.rules.as_deref(), &tried))?;
    if args.exact && !report.is_identical() {
        return Err(Error::Unwell);
    }
    Ok(())
}

fn time(output: Output, text: Option<&str>) -> Result<Option<DateTime<Utc>>, Error> {
    let Some(text) = text else { return Ok(None) };
    let at = moment(output, text)?;
    let at = DateTime::parse_from_rfc3339(&at).map_err(|error| Error::Usage(error.to_string()))?;
    Ok(Some(at.to_utc()))
}

/// The topics are read beside the log, once its newest page is there: what the log has, they have.
async fn past(servers: &Servers, client: &Client, progress: &Progress) -> Result<Recorded, Error> {
    let (newest, begun) = oneshot::channel();
    let decisions = async {
        match read::decisions(client, progress, Some(newest)).await {
            Err(error @ Error::Unreachable { .. }) => {
                progress.end();
                eprintln!(
                    "eventpulse: {}: the order is estimated, and there is nothing to compare with",
                    crate::error::chain(&error)
                );
                Ok(Vec::new())
            }
            read => read,
        }
    };
    let messages = async {
        // without a log nobody says that it has begun
        drop(begun.await);
        read::messages(servers, client, progress).await
    };
    let (decisions, messages) = tokio::try_join!(decisions, messages)?;
    Ok(Recorded {
        decisions,
        messages,
        until: None,
    })
}

/// One line on standard error that is written over, on a terminal; else a line now and then.
pub(crate) struct Progress {
    terminal: bool,
    last: Cell<Option<Instant>>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            last: Cell::default(),
        }
    }

    pub(crate) fn say(&self, words: &str) {
        let rest = if self.terminal { 100 } else { 2_000 };
        let now = Instant::now();
        let due = self
            .last
            .get()
            .is_none_or(|last| now.duration_since(last) >= Duration::from_millis(rest));
        if !due {
            return;
        }
        self.last.set(Some(now));
        if self.terminal {
            eprint!("\r\u{1b}[K{words}");
        } else {
            eprintln!("{words}");
        }
    }

    pub(crate) fn end(&self) {
        if self.terminal && self.last.take().is_some() {
            eprint!("\r\u{1b}[K");
        }
    }
}
