#!/usr/bin/env python3
"""as-unit.py UNIT UID GID COMMAND [ARGUMENT...]: runs a command as systemd would run the service of this unit, where no systemd
runs: its user, capabilities, limits, mounts and filters of system calls. What the unit leaves out is left out here.

A system call that the unit refuses ends the process (SIGSYS) instead of failing, so that none is refused unseen; save those that
a symbol worker tries in order to see that they are refused.
A directive that is not known here is an error, so that none goes untried.
Needs root, systemd-analyze, setpriv and libseccomp."""
import ctypes
import os
import resource
import subprocess
import sys

# Concern the manager, or a control group, which it makes.
OF_THE_MANAGER = set("""Type ExecStart EnvironmentFile User Group Restart RestartSec RestartPreventExitStatus TimeoutStartSec
    TimeoutStopSec MemoryMax TasksMax OOMPolicy IPAddressDeny IPAddressAllow RemoveIPC KeyringMode""".split())
# Values that change nothing; other ones are not known here.
NOTHING = {("PrivateTmp", "no"), ("ProtectProc", "default"), ("ProcSubset", "all"), ("PrivateUsers", "no"),
           ("ProtectKernelTunables", "no"), ("ProtectKernelLogs", "no"), ("SystemCallErrorNumber", "EPERM")}
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}
MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE = 4096, 16384, 1 << 18, 1 << 19
ALLOW, KILL, FAIL = 0x7FFF0000, 0x80000000, 0x00050001
# What the worker tries and the unit refuses.
TRIED = ["ptrace"]
NOT_EQUAL, MASKED = 1, 7
PROT_WRITE, PROT_EXEC, SHM_EXEC = 2, 4, 0o100000

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def main(unit, uid, gid, command):
    service = read(unit)
    unknown = [f"{name}={value}" for name, value in service
               if name not in OF_THE_MANAGER and (name, value) not in NOTHING and name not in KNOWN]
    if unknown:
        sys.exit(f"as-unit.py does not know how to do {', '.join(unknown)}")
    mounts(dict(service), uid, gid)
    limits(dict(service))
    os.umask(int(dict(service)["UMask"], 8))
    become = setpriv(service, uid, gid)
    filters(service)
    os.execvp(become[0], become + command)


def read(unit):
    section, service = None, []
    for line in open(unit):
        line = line.strip()
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith(("#", ";")):
            service.append(tuple(line.split("=", 1)))
    return service


def done(result, what):
    if result < 0:
        error = ctypes.get_errno()
        sys.exit(f"{what}: {os.strerror(error)}")


def mount(source, target, kind=None, flags=0, data=None):
    encoded = [word and word.encode() for word in (source, target, kind)]
    done(libc.mount(*encoded, ctypes.c_ulong(flags), data and data.encode()), f"mount {target}")


def read_only(path, yes):
    """All mounts at and below a path."""
    attributes = (ctypes.c_uint64 * 4)(int(yes), int(not yes), 0, 0)
    at_fdcwd, recursive, mount_setattr = -100, 0x8000, 442
    call = libc.syscall(mount_setattr, at_fdcwd, path.encode(), recursive, ctypes.byref(attributes), 32)
    done(call, f"mount_setattr {path}")


def mounts(service, uid, gid):
    run = os.path.join("/run", service["RuntimeDirectory"])
    os.makedirs(run, exist_ok=True)
    os.chown(run, uid, gid)
    done(libc.unshare(0x20000), "unshare")
    mount(None, "/", flags=MS_REC | MS_SLAVE)
    assert service["ProtectSystem"] == "strict" and service["ProtectHome"] == "read-only"
    mount("/", "/", flags=MS_BIND | MS_REC)
    os.chroot("/")
    mount(run, run, flags=MS_BIND)
    read_only("/", True)
    for path in ("/dev", "/proc", "/sys", run):
        read_only(path, False)
    read_only("/sys/fs/cgroup", service["ProtectControlGroups"] == "yes")
    if service["ProtectKernelModules"] == "yes" and os.path.isdir("/usr/lib/modules"):
        mount("tmpfs", "/usr/lib/modules", "tmpfs", data="mode=000")
    if service["PrivateDevices"] == "yes":
        devices()


def devices():
    mount("tmpfs", "/dev", "tmpfs", data="mode=755")
    for name, minor in (("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)):
        os.mknod(f"/dev/{name}", 0o020666, os.makedev(1, minor))
        os.chmod(f"/dev/{name}", 0o666)
    read_only("/dev", True)


def limits(service):
    for name, limit in (("LimitNOFILE", resource.RLIMIT_NOFILE), ("LimitCORE", resource.RLIMIT_CORE)):
        hard = resource.getrlimit(limit)[1]
        value = int(service[name])
        # A manager may raise a limit; who lacks CAP_SYS_RESOURCE takes what there is.
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(service["OOMScoreAdjust"])


def setpriv(service, uid, gid):
    def listed(name):
        return [cap.removeprefix("CAP_").lower() for key, value in service if key == name for cap in value.split()]
    bounding = ",".join(["-all"] + [f"+{cap}" for cap in listed("CapabilityBoundingSet")])
    ambient = ",".join(["-all"] + [f"+{cap}" for cap in listed("AmbientCapabilities")])
    command = ["setpriv", "--reuid", str(uid), "--regid", str(gid), "--clear-groups", "--bounding-set", bounding,
               "--inh-caps", ambient, "--ambient-caps", ambient]
    return command + (["--no-new-privs"] if dict(service)["NoNewPrivileges"] == "yes" else []) + ["--"]


def system_calls(words):
    """The calls of a filter's line: names, and sets as systemd-analyze lists them."""
    text = subprocess.run(["systemd-analyze", "syscall-filter"], check=True, capture_output=True, text=True).stdout
    sets, current = {}, None
    for line in text.splitlines():
        if line.startswith("@"):
            current = sets.setdefault(line.strip(), [])
        elif current is not None and line.strip() and not line.strip().startswith("#"):
            current.append(line.strip())
    todo, calls = list(words), set()
    while todo:
        word = todo.pop()
        todo.extend(sets[word]) if word.startswith("@") else calls.add(word)
    return calls


class Comparison(ctypes.Structure):
    """scmp_arg_cmp: argument, how, and with what."""
    _fields_ = [("argument", ctypes.c_uint), ("how", ctypes.c_uint), ("one", ctypes.c_uint64), ("two", ctypes.c_uint64)]


class Filter:
    """libseccomp's filter with one default."""
    def __init__(self, default):
        self.library = ctypes.CDLL("libseccomp.so.2")
        self.library.seccomp_init.restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(self.library.seccomp_init(default))

    def rule(self, action, call, *comparisons):
        number = self.library.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return  # of another architecture
        items = (Comparison * len(comparisons))(*comparisons)
        result = self.library.seccomp_rule_add_array(self.context, ctypes.c_uint32(action), number, len(comparisons), items)
        if result < 0:
            sys.exit(f"seccomp rule for {call}: {os.strerror(-result)}")

    def load(self):
        result = self.library.seccomp_load(self.context)
        if result < 0:
            sys.exit(f"seccomp: {os.strerror(-result)}")


def filters(service):
    settings = dict(service)
    assert settings["SystemCallArchitectures"] == "native"
    allowed = Filter(KILL)
    calls = system_calls(settings["SystemCallFilter"].split())
    for call in calls:
        allowed.rule(ALLOW, call)
    for call in set(TRIED) - calls:
        allowed.rule(FAIL, call)
    refused = Filter(ALLOW)
    if settings["RestrictNamespaces"] == "yes":
        for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80):
            for call in ("unshare", "clone"):
                refused.rule(KILL, call, Comparison(0, MASKED, flag, flag))
        refused.rule(KILL, "setns")
    families = [FAMILIES[name] for name in settings["RestrictAddressFamilies"].split()]
    for family in set(range(48)) - set(families):
        refused.rule(KILL, "socket", Comparison(0, 4, family, 0))
    if settings["MemoryDenyWriteExecute"] == "yes":
        both = PROT_WRITE | PROT_EXEC
        refused.rule(KILL, "mmap", Comparison(2, MASKED, both, both))
        for call in ("mprotect", "pkey_mprotect"):
            refused.rule(KILL, call, Comparison(2, MASKED, PROT_EXEC, PROT_EXEC))
        refused.rule(KILL, "shmat", Comparison(2, MASKED, SHM_EXEC, SHM_EXEC))
    if settings["RestrictRealtime"] == "yes":
        for policy in (1, 2, 6):
            refused.rule(KILL, "sched_setscheduler", Comparison(1, 4, policy, 0))
    if settings["RestrictSUIDSGID"] == "yes":
        for bit in (0o4000, 0o2000):
            for call, argument in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("mkdir", 1), ("mkdirat", 2)):
                refused.rule(KILL, call, Comparison(argument, MASKED, bit, bit))
    if settings["LockPersonality"] == "yes":
        refused.rule(KILL, "personality", Comparison(0, NOT_EQUAL, 0xFFFFFFFF, 0))
    for calls in (["sethostname", "setdomainname"] if settings["ProtectHostname"] == "yes" else [],
                  ["clock_settime", "settimeofday", "adjtimex"] if settings["ProtectClock"] == "yes" else []):
        for call in calls:
            refused.rule(KILL, call)
    refused.load()
    allowed.load()


KNOWN = set("""RuntimeDirectory AmbientCapabilities CapabilityBoundingSet NoNewPrivileges OOMScoreAdjust LimitNOFILE LimitCORE
    ProtectSystem ProtectHome PrivateMounts ProtectControlGroups ProtectKernelModules ProtectClock ProtectHostname PrivateDevices
    UMask RestrictAddressFamilies SystemCallArchitectures SystemCallFilter RestrictNamespaces RestrictRealtime RestrictSUIDSGID
    LockPersonality MemoryDenyWriteExecute""".split())

if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
