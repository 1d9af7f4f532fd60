use clap::Parser;
use recast::cli::{Cli, Command, Wiring, dispatch};
use recast::worker::{Processes, Scanner, child_main};
use std::process::exit;
use std::sync::Arc;

/// Small models are thousands of small allocations: with glibc's, a file of 4 MB and 1,000 layers took 150 ms of a
/// processor, with this one 120. The program exports it as `malloc`, so plugins use it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let cli = Cli::parse();
    if let Command::Worker(_) = cli.command {
        // First of all: the sandbox binds only threads that are started after it.
        child_main(recast::pipeline::run);
    }
    let wiring = Wiring { runner: Arc::new(Processes::new()), plugins: Arc::new(Scanner::default()) };
    exit(dispatch(cli.command, wiring));
}
