//! From the command line to the exit code.

use std::{process::ExitCode, time::Duration};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{Error, KitArgs, clock, config::TelemetryArgs, error::chain, telemetry};

/// From the first signal to the end, whatever still hangs: orchestrators kill after ten seconds.
const HARD: Duration = Duration::from_millis(9700);
/// How long threads that block may hold up the end.
const THREADS: Duration = Duration::from_millis(200);

/// The whole of a service's `main`: settings, logs and traces, the listener, signals, exit code.
///
/// SIGTERM or SIGINT cancel the token; a second one, or 9.7 seconds, end the process at once. The
/// name in logs and traces is that of the clap command. Exit code 0 after an orderly stop, 1 after
/// a failure, 2 for settings that cannot be used.
///
/// ```no_run
/// # #[derive(clap::Parser)]
/// # struct Config { #[command(flatten)] kit: service_kit::KitArgs }
/// # impl AsRef<service_kit::KitArgs> for Config {
/// #     fn as_ref(&self) -> &service_kit::KitArgs { &self.kit }
/// # }
/// # async fn run(_: Config, _: tokio::net::TcpListener,
/// #     _: tokio_util::sync::CancellationToken) -> Result<(), service_kit::Error> { Ok(()) }
/// fn main() -> std::process::ExitCode {
///     service_kit::main::<Config>(run)
/// }
/// ```
pub fn main<C: clap::Parser + AsRef<KitArgs>>(
    run: impl AsyncFnOnce(C, TcpListener, CancellationToken) -> Result<(), Error>,
) -> ExitCode {
    let config = C::parse();
    let telemetry = config.as_ref().telemetry.clone();
    let command = C::command();
    process(command.get_name(), &telemetry, async |shutdown| {
        listen_and_run(config, run, shutdown).await
    })
}

/// The part of [`main`] that a process without database and Kafka has too: logs and traces under
/// `name`, signals, exit code.
pub fn process(
    name: &str,
    telemetry: &TelemetryArgs,
    work: impl AsyncFnOnce(CancellationToken) -> Result<(), Error>,
) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error),
    };
    let code = runtime.block_on(Box::pin(started(name, telemetry, work)));
    runtime.shutdown_timeout(THREADS);
    code
}

/// The exit code of something short, whose failure goes to standard error.
pub fn report<E: std::error::Error>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

async fn started(
    name: &str,
    telemetry: &TelemetryArgs,
    work: impl AsyncFnOnce(CancellationToken) -> Result<(), Error>,
) -> ExitCode {
    install_crypto();
    let telemetry = match telemetry::init(name, telemetry) {
        Ok(telemetry) => telemetry,
        Err(error) => return complain(&error),
    };
    let shutdown = CancellationToken::new();
    let outcome = match obey_signals(shutdown.clone()) {
        Ok(()) => work(shutdown).await,
        Err(source) => Err(Error::Io {
            doing: "listening for signals".into(),
            source,
        }),
    };
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = chain(&error), "the service ends with a failure");
            ExitCode::FAILURE
        }
    };
    telemetry.flush().await;
    code
}

async fn listen_and_run<C: AsRef<KitArgs>>(
    config: C,
    run: impl AsyncFnOnce(C, TcpListener, CancellationToken) -> Result<(), Error>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let address = config.as_ref().http.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| Error::Io {
            doing: format!("listening on {address}").into(),
            source,
        })?;
    tracing::info!(%address, version = crate::VERSION, revision = crate::revision(), "starting");
    run(config, listener, shutdown).await
}

/// Hears signals on a thread and a runtime of its own: they must act when the service's hangs.
fn obey_signals(shutdown: CancellationToken) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let signals = {
        let _inside = runtime.enter();
        Signals::listen()?
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || runtime.block_on(signals.obey(shutdown)))?;
    Ok(())
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    async fn obey(mut self, shutdown: CancellationToken) {
        let signal = self.next().await;
        tracing::info!(signal, "asked to stop");
        shutdown.cancel();
        tokio::select! {
            () = clock::pause(HARD) => end_now("the stop took too long"),
            _ = self.next() => end_now("asked twice"),
        }
    }
}

fn end_now(why: &str) {
    tracing::error!(why, "ending at once");
    std::process::exit(1);
}

/// Chooses the TLS implementation for the whole process: with two of them compiled in, rustls
/// refuses to guess and panics at the first connection.
pub fn install_crypto() {
    // an error means that it was done before
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}

/// For what goes wrong before there is a log.
#[expect(clippy::print_stderr, reason = "there is no log yet")]
fn complain(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("{}", chain(error));
    ExitCode::from(2)
}
