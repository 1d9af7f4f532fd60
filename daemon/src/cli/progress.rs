//! Progress on a terminal, for work that takes over a second. Nothing is drawn for shorter work, nor into a file.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::runner::{Event, EventSink};

const QUIET: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(120);

#[derive(Clone)]
pub struct Progress {
    label: String,
    since: Instant,
    shown: Arc<Mutex<Option<ProgressBar>>>,
}

impl Progress {
    pub fn new(label: &str) -> Progress {
        Progress { label: label.to_owned(), since: Instant::now(), shown: Arc::default() }
    }

    pub fn sink(&self) -> EventSink {
        let progress = self.clone();
        Box::new(move |event| progress.show(&event))
    }

    fn show(&self, event: &Event) {
        let Event::Progress { stage, done } = event;
        if self.since.elapsed() < QUIET || !std::io::stderr().is_terminal() {
            return;
        }
        let Ok(mut shown) = self.shown.lock() else { return };
        let bar = shown.get_or_insert_with(|| {
            let bar = ProgressBar::new(100);
            let template = "{prefix}  {bar:24} {percent:>3} %  {msg}  {elapsed}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_prefix(self.label.clone());
            bar.enable_steady_tick(TICK);
            bar
        });
        bar.set_message(stage.clone());
        bar.set_position((done.clamp(0.0, 1.0) * 100.0) as u64);
    }

    pub fn finish(&self) {
        if let Some(bar) = self.shown.lock().ok().and_then(|mut shown| shown.take()) {
            bar.finish_and_clear();
        }
    }
}
