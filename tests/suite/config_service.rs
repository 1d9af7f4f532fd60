//! The daemon as a service: what the unit file promises, and what the service manager is told.

use recast::config::Config;
use recast::schedule::Control;
use recast_tests::fake::{Fake, config};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

fn unit() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    workspace.join("daemon/systemd/recast.service")
}

fn directives() -> BTreeMap<String, String> {
    let text = fs::read_to_string(unit()).expect("it is shipped");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[test]
fn the_unit_file_fits_the_daemon() {
    let unit = directives();
    // `notify-reload` and what else is newer than systemd 252 would be ignored there with a warning.
    assert_eq!(unit["Type"], "notify");
    assert!(!unit.contains_key("RestartSteps"));
    assert!(unit["ExecStart"].starts_with("/usr/bin/recast run --config "));
    assert_eq!(unit["ExecReload"], "/bin/kill -HUP $MAINPID");
    let seconds: u64 = unit["TimeoutStopSec"].parse().expect("a number");
    assert!(Duration::from_secs(seconds) > Config::default().limits.drain + Duration::from_secs(5));
    for needed in ["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp", "prlimit64"] {
        assert!(fs::read_to_string(self::unit()).expect("readable").contains(needed), "workers need {needed}");
    }
}

#[test]
fn the_unit_file_is_rated_safe_where_systemd_can_tell() {
    let rated = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=15", "--no-pager"])
        .arg(unit())
        .output();
    match rated {
        Err(error) => println!("not rated: systemd-analyze: {error}"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{}", said.lines().last().unwrap_or_default());
        }
    }
}

fn next(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).expect("the daemon says something in time");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// Waits for a message that begins so, and returns those before it.
fn until(socket: &UnixDatagram, prefix: &str) -> Vec<String> {
    let mut before = Vec::new();
    loop {
        let message = next(socket);
        if message.starts_with(prefix) {
            return before;
        }
        before.push(message);
    }
}

#[test]
fn the_service_manager_is_told_what_happens() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let path = home.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket can be made");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("it can be set");
    let fake = Fake { notify: Some(path), ..Fake::default() };
    let daemon = fake.spawn(config(home.path(), 0.1, "", ""));
    assert_eq!(until(&socket, "READY=1"), Vec::<String>::new(), "ready comes first");
    fs::write(home.path().join("drop/m.h5"), b"a model").expect("writable");
    until(&socket, "STATUS=1 done");
    daemon.order(Control::Reload(Box::new(config(home.path(), 0.2, "", ""))));
    until(&socket, "RELOADING=1\nMONOTONIC_USEC=");
    assert_eq!(until(&socket, "READY=1"), Vec::<String>::new(), "reloading ends with ready");
    daemon.stop().expect("it ends well");
    until(&socket, "STOPPING=1");
}
