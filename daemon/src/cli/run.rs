//! `recast run`: the daemon, in the foreground.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{Failure, Format, RunArgs, Wiring};
use crate::attempt::Workshop;
use crate::config::Config;
use crate::job::exit;
use crate::lineage::Key;
use crate::publish::Atomic;
use crate::report;
use crate::schedule::{Control, Daemon, DaemonError, Options, StatusSink, Summary, summarize};
use crate::systemd::Notifier;

const TICK: Duration = Duration::from_millis(120);

/// Orders on their way to the loop.
const ORDERS_MAX: usize = 16;

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Failure {
        Failure { code: error.exit_code(), text: error.to_string() }
    }
}

pub fn run(args: &RunArgs, wiring: &Wiring) -> Result<i32, Failure> {
    super::init_logging(if args.until_idle { "warn" } else { "info" });
    let path = super::find_config(args.config.as_deref())?;
    let config = Config::load(&path)?;
    if config.watches.is_empty() {
        return Err(Failure::usage(format!("{}: no [[watch]]: there is nothing to watch", path.display())));
    }
    let mut runtime = Builder::new_multi_thread();
    runtime.worker_threads(2);
    super::block_on(runtime, serve(args, &path, config, wiring))
}

async fn serve(args: &RunArgs, path: &Path, config: Config, wiring: &Wiring) -> Result<i32, Failure> {
    let key = Key::open(&config.key).map_err(|error| Failure::io(config.key.display(), error))?;
    let shop = Workshop {
        runner: wiring.runner.clone(),
        place: Arc::new(Atomic),
        key: Arc::new(key),
        state: config.state.clone(),
    };
    let bar = if args.until_idle && std::io::stderr().is_terminal() { Some(spinner()) } else { None };
    let options = Options {
        until_idle: args.until_idle,
        notifier: Notifier::from_environment(),
        status_sink: status_sink(bar.clone()),
    };
    let orders = listen(path)?;
    let mut daemon = Daemon::start(config, shop, wiring.plugins.clone(), options)?;
    let result = daemon.run(orders).await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    result?;
    if !args.until_idle {
        return Ok(exit::OK);
    }
    let summary = summarize(&daemon)?;
    print_summary(args, &daemon, &summary);
    Ok(summary.exit_code)
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}

fn status_sink(bar: Option<ProgressBar>) -> StatusSink {
    Box::new(move |line| match &bar {
        Some(bar) => bar.set_message(line.to_owned()),
        None => tracing::debug!("{line}"),
    })
}

/// SIGTERM and SIGINT end the daemon, SIGHUP makes it read its configuration again.
fn listen(path: &Path) -> Result<mpsc::Receiver<Control>, Failure> {
    let fail = |error| Failure::io("signals", error);
    let mut hangup = signal(SignalKind::hangup()).map_err(fail)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
    let (sender, receiver) = mpsc::channel(ORDERS_MAX);
    let path = path.to_owned();
    tokio::spawn(async move {
        loop {
            let order = tokio::select! {
                _ = hangup.recv() => match Config::load(&path) {
                    Ok(config) => Control::Reload(Box::new(config)),
                    Err(error) => {
                        tracing::error!("{error}; the old configuration stays");
                        continue;
                    }
                },
                _ = terminate.recv() => Control::Stop,
                _ = interrupt.recv() => Control::Stop,
            };
            if sender.send(order).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

fn print_summary(args: &RunArgs, daemon: &Daemon, summary: &Summary) {
    if args.format == Format::Json {
        for report in &summary.reports {
            say_line!("{}", report.json_line());
        }
        return;
    }
    if summary.reports.is_empty() {
        say_line!("There is nothing in the watched folders.");
        return;
    }
    let rows: Vec<_> = summary.reports.iter().flat_map(report::rows).collect();
    say!("{}", report::table(&rows));
    for report in &summary.reports {
        if report.bundle.is_none() {
            say!("\n{}", report::text(report));
        }
    }
    for (root, name, why) in daemon.incomplete() {
        say_line!("\n{}: {why}", root.join(name).display());
    }
}
