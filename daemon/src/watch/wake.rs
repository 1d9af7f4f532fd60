//! The kernel's hint that something happened in a drop folder. Only a hint: events of files in new directories are
//! lost, queues overflow, watches run out, and network file systems say nothing. So an event says "look", an error
//! says "look, and watch anew", and the regular scan finds what neither said.

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

/// What the watcher's thread may touch: it must never wait, or the kernel's queue overflows.
#[derive(Debug, Default)]
pub struct Signal {
    dirty: AtomicBool,
    failed: AtomicBool,
    pub overflows: AtomicU64,
    pub errors: AtomicU64,
}

impl Signal {
    pub fn take_dirty(&self) -> bool {
        self.dirty.swap(false, Ordering::AcqRel)
    }

    pub fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Acquire)
    }

    pub fn mark_dirty(&self) {
        self.dirty.store(true, Ordering::Release);
    }

    pub fn take_failed(&self) -> bool {
        self.failed.swap(false, Ordering::AcqRel)
    }
}

/// Events arrive for as long as this lives.
pub struct Wake {
    _watcher: RecommendedWatcher,
}

impl Wake {
    pub fn new(root: &Path, signal: Arc<Signal>, bell: Arc<Notify>) -> Result<Wake, notify::Error> {
        let handler = move |event: Result<notify::Event, notify::Error>| {
            match event {
                Ok(event) if event.need_rescan() => {
                    signal.overflows.fetch_add(1, Ordering::Relaxed);
                }
                // Reading, ours included, changes nothing.
                Ok(event) if matches!(event.kind, EventKind::Access(notify::event::AccessKind::Open(_))) => return,
                Ok(event) if matches!(event.kind, EventKind::Access(notify::event::AccessKind::Read)) => return,
                Ok(_) => {}
                Err(_) => {
                    signal.errors.fetch_add(1, Ordering::Relaxed);
                    signal.failed.store(true, Ordering::Release);
                }
            }
            signal.mark_dirty();
            bell.notify_one();
        };
        let mut watcher = notify::recommended_watcher(handler)?;
        // The folder itself is enough: entries that are still moving are looked at by the clock anyway.
        watcher.watch(root, RecursiveMode::NonRecursive)?;
        Ok(Wake { _watcher: watcher })
    }
}

/// File systems whose changes by other machines the kernel does not report.
pub fn is_remote(root: &Path) -> bool {
    const NFS: i64 = 0x6969;
    const SMB: i64 = 0x517b;
    const SMB2: i64 = 0xfe53_4d42;
    const CIFS: i64 = 0xff53_4d42;
    const FUSE: i64 = 0x6573_5546;
    const OVERLAY: i64 = 0x794c_7630;
    const NINE_P: i64 = 0x0102_1997;
    const CEPH: i64 = 0x00c3_6400;
    let Ok(stat) = rustix::fs::statfs(root) else { return false };
    [NFS, SMB, SMB2, CIFS, FUSE, OVERLAY, NINE_P, CEPH].contains(&(stat.f_type & 0xffff_ffff))
}
