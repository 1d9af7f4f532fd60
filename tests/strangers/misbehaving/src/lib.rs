//! Each class does one thing that a plugin must not do. `bad>Good` does nothing wrong, between the others.

use recast_plugin_api::diag::{Code, Diag, Findings};
use recast_plugin_api::ir::Graph;
use recast_plugin_api::messages::{LowerRequest, Lowered, LoweredOutput};
use recast_plugin_api::plugin::{Layers, LowerCx};
use std::hint::black_box;
use std::time::Duration;

struct Misbehaving;

impl Layers for Misbehaving {
    const CLASSES: &'static [&'static str] = &[
        "bad>Abort",
        "bad>ChildProcess",
        "bad>CloseFds",
        "bad>CloseFdsAndStay",
        "bad>Connect",
        "bad>Exit0",
        "bad>Exit7",
        "bad>FdLeak",
        "bad>Fills",
        "bad>ForkBomb",
        "bad>Good",
        "bad>Junk",
        "bad>KillParent",
        "bad>Leak",
        "bad>Logs",
        "bad>Loop",
        "bad>NotAGraph",
        "bad>ObeysCancel",
        "bad>Panic",
        "bad>PanicInThread",
        "bad>Prints",
        "bad>PrintsOn",
        "bad>Reads",
        "bad>Segv",
        "bad>StackOverflow",
        "bad>StopSelf",
        "bad>Writes",
    ];

    fn lower(&self, cx: &LowerCx<'_>, request: &LowerRequest) -> Result<Lowered, Findings> {
        let layer = request.layer.as_ref().expect("a layer");
        let config: serde_json::Value = serde_json::from_str(&layer.config).expect("JSON");
        let path = config["path"].as_str().unwrap_or_default();
        match layer.class.as_str() {
            "bad>Abort" => std::process::abort(),
            "bad>ChildProcess" => tell("child process", std::process::Command::new("/bin/true").status())?,
            "bad>CloseFds" => close_fds(),
            "bad>CloseFdsAndStay" => {
                close_fds();
                endless()
            }
            "bad>Connect" => tell("connect", std::net::TcpStream::connect(path))?,
            "bad>Exit0" => std::process::exit(0),
            "bad>Exit7" => std::process::exit(7),
            "bad>FdLeak" => fd_leak()?,
            "bad>Fills" => tell("4 MiB", std::fs::write(path, vec![1; 4 << 20]))?,
            "bad>ForkBomb" => fork_bomb()?,
            "bad>Junk" => junk(),
            "bad>KillParent" => kill_parent()?,
            "bad>Leak" => leak(),
            "bad>Logs" => loop {
                tracing::info!("{}", "without end ".repeat(100));
            },
            "bad>Loop" => endless(),
            "bad>NotAGraph" => return Ok(Lowered::default()),
            "bad>ObeysCancel" => obey(cx)?,
            "bad>Panic" => panic!("as {} asked for", layer.name),
            "bad>PanicInThread" => drop(std::thread::spawn(|| panic!("elsewhere")).join()),
            "bad>Prints" => print(),
            "bad>PrintsOn" => loop {
                println!("{}", "without end ".repeat(10_000));
            },
            "bad>Reads" => tell("read", std::fs::read(path))?,
            // SAFETY: none; that is the point.
            "bad>Segv" => unsafe { black_box(16 as *mut u8).write_volatile(1) },
            "bad>StackOverflow" => drop(black_box(deeper(1))),
            // SAFETY: raise has no requirements.
            "bad>StopSelf" => drop(unsafe { libc::raise(libc::SIGSTOP) }),
            "bad>Writes" => tell("write", std::fs::write(path, b"escaped"))?,
            _ => tracing::info!(class = layer.class, "nothing wrong"),
        }
        good(&layer.path)
    }
}

fn good(path: &str) -> Result<Lowered, Findings> {
    let mut graph = Graph::new(path);
    let x = graph.input("x", recast_plugin_api::ir::Type::known(recast_plugin_api::ir::DType::F32, &[1]));
    graph.output("y", x);
    let outputs = vec![LoweredOutput { value: x.0, mask: None }];
    Ok(Lowered { graph: Some((&graph).into()), outputs, unmasked: Vec::new() })
}

/// What the sandbox said: an error here is what the test wants to see.
fn tell<T>(what: &str, result: std::io::Result<T>) -> Result<(), Diag> {
    match result {
        Ok(_) => Err(Diag::new(Code::Bug, "escape", format!("{what} was allowed"))),
        Err(error) => Err(Diag::new(Code::Io, "blocked", format!("{what}: {error}"))),
    }
}

fn close_fds() {
    for fd in 3..1024 {
        // SAFETY: none of them is ours; that is the point.
        unsafe { libc::close(fd) };
    }
}

fn fd_leak() -> Result<(), Diag> {
    let mut open = Vec::new();
    loop {
        match std::fs::File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(error) => return Err(Diag::new(Code::Io, "blocked", format!("{} open: {error}", open.len()))),
        }
    }
}

fn fork_bomb() -> Result<(), Diag> {
    for _ in 0..1000 {
        // SAFETY: the child only sleeps and ends.
        match unsafe { libc::fork() } {
            0 => {
                std::thread::sleep(Duration::from_secs(600));
                std::process::exit(0)
            }
            -1 => return tell::<()>("fork", Err(std::io::Error::last_os_error())),
            _ => {}
        }
    }
    Err(Diag::new(Code::Bug, "escape", "fork was allowed"))
}

/// Writes to every descriptor that might be the worker's channel.
fn junk() {
    let junk = [0xffu8; 64];
    for fd in 3..64 {
        // SAFETY: none of them is ours; that is the point.
        unsafe { libc::write(fd, junk.as_ptr().cast(), junk.len()) };
    }
    std::thread::sleep(Duration::from_secs(600));
}

fn kill_parent() -> Result<(), Diag> {
    // SAFETY: kill has no requirements.
    let code = unsafe { libc::kill(libc::getppid(), libc::SIGKILL) };
    tell("kill", if code == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) })
}

fn leak() {
    loop {
        std::mem::forget(black_box(vec![1u8; 64 << 20]));
    }
}

fn endless() {
    loop {
        black_box(());
    }
}

fn obey(cx: &LowerCx<'_>) -> Result<(), Diag> {
    loop {
        cx.go_on()?;
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn print() {
    println!("this is printed by a plugin");
    tracing::warn!(reason = "a test", "this is logged by a plugin");
    tracing::warn_span!("inside", part = 3).in_scope(|| log::warn!("this is said to the log crate by {}", "a plugin"));
    log::trace!("this is more than the host wants to hear");
    std::process::abort()
}

#[allow(unconditional_recursion)]
fn deeper(depth: u64) -> u64 {
    let frame = black_box([depth; 1024]);
    deeper(depth + 1) + frame[7]
}

recast_plugin_api::export_plugin! {
    id: "test.misbehaving",
    name: "Everything that a plugin must not do",
    layers: Misbehaving,
}
