//! A daemon with a fake worker in a process of its own, to be killed: `fake-daemon HOME atomic|direct|unsynced`. With
//! `fake-daemon HOME workers`, each job has a worker process, of the program TEST_WORKER, that finds nothing to do.

use recast::worker::WorkerCommand;
use recast_tests::fake::{Fake, FakeRunner, config};
use recast_tests::observe::{Direct, Unsynced};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let home = PathBuf::from(arguments.next().expect("a directory"));
    let runner = FakeRunner { delay: Duration::from_millis(5), output_bytes: 100_000, ..FakeRunner::default() };
    let mut fake = Fake { runner: Arc::new(runner), ..Fake::default() };
    match arguments.next().as_deref() {
        Some("direct") => fake.place = Arc::new(Direct),
        Some("unsynced") => fake.place = Arc::new(Unsynced),
        Some("workers") => {
            let program = std::env::var_os("TEST_WORKER").expect("a program");
            fake.workers = Some(WorkerCommand::new(program, &["worker"]));
        }
        _ => {}
    }
    fake.forever(config(&home, 0.1, "", "[limits]\nbackoff_seconds = 0.05"));
}
