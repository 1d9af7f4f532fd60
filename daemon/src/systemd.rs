//! Telling the service manager, over its datagram socket, what it wants to know. Nothing happens where there is none.

use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType, sendto, socket};
use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

pub struct Notifier {
    socket: Option<(OwnedFd, SocketAddrUnix)>,
    /// How often the manager wants to hear from us.
    watchdog: Option<Duration>,
    alive_at: Cell<Option<Instant>>,
}

impl Notifier {
    /// From `NOTIFY_SOCKET` and `WATCHDOG_USEC`, as the manager sets them.
    pub fn from_environment() -> Notifier {
        let watchdog = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        let mine = std::env::var("WATCHDOG_PID").ok().is_none_or(|pid| pid == std::process::id().to_string());
        Notifier {
            socket: std::env::var_os("NOTIFY_SOCKET").and_then(|path| connect(path.as_bytes())),
            watchdog: watchdog.filter(|_| mine).map(Duration::from_micros),
            alive_at: Cell::new(None),
        }
    }

    /// To a socket at a known place.
    pub fn to(path: &std::path::Path) -> Notifier {
        Notifier { socket: connect(path.as_os_str().as_bytes()), ..Notifier::none() }
    }

    pub fn none() -> Notifier {
        Notifier { socket: None, watchdog: None, alive_at: Cell::new(None) }
    }

    fn send(&self, message: &str) {
        let Some((socket, address)) = &self.socket else { return };
        // The manager is told, not asked: that it does not listen changes nothing here.
        if let Err(error) = sendto(socket, message.as_bytes(), SendFlags::NOSIGNAL, address) {
            tracing::debug!("sd_notify: {error}");
        }
    }

    pub fn ready(&self) {
        self.send("READY=1");
    }

    pub fn status(&self, text: &str) {
        self.send(&format!("STATUS={}", text.replace('\n', " ")));
    }

    /// `ready` has to follow. The time lets the manager tell this reload from an earlier one.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = now.tv_sec as i128 * 1_000_000 + now.tv_nsec as i128 / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    pub fn stopping(&self, at_most: Duration) {
        self.send(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", at_most.as_micros()));
    }

    /// To be called whenever the loop has made a turn; says so as often as is wanted.
    pub fn alive(&self) {
        let Some(every) = self.watchdog else { return };
        if self.alive_at.get().is_none_or(|at| at.elapsed() >= every / 4) {
            self.alive_at.set(Some(Instant::now()));
            self.send("WATCHDOG=1");
        }
    }
}

fn connect(path: &[u8]) -> Option<(OwnedFd, SocketAddrUnix)> {
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name),
        None => SocketAddrUnix::new(path),
    };
    let fd = socket(AddressFamily::UNIX, SocketType::DGRAM, None);
    match (fd, address) {
        (Ok(fd), Ok(address)) => Some((fd, address)),
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!("NOTIFY_SOCKET: {error}");
            None
        }
    }
}
