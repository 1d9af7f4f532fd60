//! What a worker may do: read the artifact and the system's libraries, write below its staging directory, compute.
//!
//! Each layer is best effort: what this kernel lacks is listed, and the daemon says it in the log. This keeps a
//! defective plugin from harming more than its job; it does not make a malicious one harmless.

use crate::job::JobSpec;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Newest rules that are asked for; an older kernel gives those that it knows.
const LANDLOCK: ABI = ABI::V6;
/// Seconds between the first warning (SIGXCPU) and the end.
const CPU_GRACE_SECONDS: u64 = 5;
/// Address space that a thread takes without using it: its stack and malloc's arena.
const THREAD_BYTES: u64 = 80 << 20;
/// Threads beside those that plugins may start: one fetches plugins and hashes the artifact.
const OWN_THREADS: u64 = 1;
/// Threads and processes of this user, all together: a backstop where forking could not be forbidden.
const PROCESSES_MAX: u64 = 4096;

/// What plugins and their libraries need of the system, read-only.
const SYSTEM_PATHS: &[&str] = &[
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/dev/null",
    "/dev/zero",
    "/dev/urandom",
];

/// Closes the sandbox around this process. What could not be had comes back in words.
pub fn enter(spec: &JobSpec) -> Vec<String> {
    let mut missing = Vec::new();
    let mut note = |layer: &str, result: Result<(), String>| {
        if let Err(why) = result {
            missing.push(format!("{layer}: {why}"));
        }
    };
    note("resource limits", limit(spec));
    note("landlock", restrict_files(spec));
    note("seccomp", block_system_calls());
    missing
}

fn limit(spec: &JobSpec) -> Result<(), String> {
    let limits = &spec.limits;
    let cpu = limits.cpu_seconds_max;
    let bounds = [
        (Resource::As, address_space(spec), 0),
        (Resource::Cpu, cpu, CPU_GRACE_SECONDS),
        (Resource::Fsize, limits.output_bytes_max, 0),
        (Resource::Nofile, limits.open_files_max, 0),
        (Resource::Nproc, PROCESSES_MAX, 0),
        (Resource::Core, 0, 0),
    ];
    let mut failed = Vec::new();
    for (resource, soft, grace) in bounds {
        // A limit that the daemon itself is under can only be lowered.
        let ceiling = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let (soft, hard) = (soft.min(ceiling), soft.saturating_add(grace).min(ceiling));
        if let Err(error) = setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) }) {
            failed.push(format!("{resource:?} {error}"));
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join(", ")) }
}

/// The configured memory, at most what the machine has, and on top of it what is mapped or reserved but not used up:
/// the artifact and its outputs, and the threads.
fn address_space(spec: &JobSpec) -> u64 {
    let memory = spec.limits.memory_bytes_max.min(physical_bytes() / 10 * 9);
    let mapped = crate::tree::open_file(&spec.artifact).and_then(|file| Ok(file.metadata()?.len())).unwrap_or(0);
    memory.saturating_add(mapped.saturating_mul(2)).saturating_add((spec.threads as u64 + OWN_THREADS) * THREAD_BYTES)
}

fn physical_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kib.map_or(u64::MAX, |kib| kib << 10)
}

fn restrict_files(spec: &JobSpec) -> Result<(), String> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write: BitFlags<AccessFs> = read
        | AccessFs::WriteFile
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::MakeDir
        | AccessFs::MakeReg
        | AccessFs::Refer
        | AccessFs::Truncate;
    let restrict = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(LANDLOCK))?
            .handle_access(AccessNet::from_all(LANDLOCK))?
            .scope(Scope::from_all(LANDLOCK))?
            .create()?
            // A path that is not there needs no rule, and gets none.
            .add_rules(path_beneath_rules(readable(spec), read))?
            .add_rules(path_beneath_rules([&spec.staging], write))?
            .restrict_self()
    };
    match restrict() {
        Ok(status) => match status.ruleset {
            RulesetStatus::FullyEnforced => Ok(()),
            RulesetStatus::PartiallyEnforced => Err("this kernel enforces a part of the rules".into()),
            RulesetStatus::NotEnforced => Err("this kernel does not have it".into()),
        },
        Err(error) => Err(error.to_string()),
    }
}

fn readable(spec: &JobSpec) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = SYSTEM_PATHS.iter().map(PathBuf::from).collect();
    paths.push(spec.artifact.clone());
    paths.extend(spec.architecture.clone());
    paths.extend(spec.golden.clone());
    paths.extend(spec.plugins.iter().map(|pin| pin.path.clone()));
    // The runtime and the libraries beside it, which it opens by itself.
    paths.extend(spec.verify.onnxruntime.as_deref().and_then(Path::parent).map(Path::to_owned));
    paths.extend(std::env::var_os("LD_LIBRARY_PATH").iter().flat_map(std::env::split_paths));
    // A panic's backtrace reads the program's symbols.
    paths.extend(std::env::current_exe());
    paths
}

/// Network, other processes, new programs, and what only administrators and exploits use.
const BLOCKED: &[i64] = &[
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_setpgid,
    libc::SYS_setsid,
    libc::SYS_tkill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_getfd,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

fn block_system_calls() -> Result<(), String> {
    let compile = || -> Result<[BpfProgram; 2], seccompiler::BackendError> {
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BLOCKED.iter().map(|&call| (call, Vec::new())).collect();
        // A thread is fine, a process is not.
        let is_process = SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64);
        rules.insert(libc::SYS_clone, one(0, SeccompCmpArgLen::Qword, is_process, 0)?);
        let me = u64::from(std::process::id());
        for call in [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_tgsigqueueinfo] {
            rules.insert(call, one(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, me)?);
        }
        // The flags of clone3 lie in memory, where a filter can't look; told that there is none, glibc takes clone.
        let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        Ok([program(rules, libc::EPERM)?, program(clone3, libc::ENOSYS)?])
    };
    for program in compile().map_err(|e| e.to_string())? {
        seccompiler::apply_filter_all_threads(&program).map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn one(
    argument: u8,
    len: SeccompCmpArgLen,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    Ok(vec![SeccompRule::new(vec![SeccompCondition::new(argument, len, operator, value)?])?])
}

fn program(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = std::env::consts::ARCH.try_into()?;
    let blocked = SeccompAction::Errno(errno as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, blocked, arch)?.try_into()
}
