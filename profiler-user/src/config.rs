//! What was typed, set in the environment and written in the file, checked once: [`Config`]. Nothing later on asks
//! whether a value is sensible, and nothing is opened, bound or loaded before all are.

mod access;
mod recorded;
mod size;
mod socket;
mod token_file;
mod tokens;

pub use recorded::Recorded;
pub use size::{Size, SizeError};
pub use socket::{DEFAULT_SOCKET, SocketPath};
pub use token_file::{TokenFile, TokenFileError};
pub use tokens::{Scope, Token, Tokens, TokensError};

use serde::{Deserialize, Serialize};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Bytes read of a configuration file.
const MAX_FILE: u64 = MIB;

/// The agent's settings, every one within its bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Where HTTP listens; a loopback address unless remote access is allowed and there are tokens.
    pub listen: SocketAddr,
    /// Where the Unix socket is.
    pub socket: SocketPath,
    /// Members of this group see all by the Unix socket, as root does.
    pub socket_group: Option<u32>,
    /// Tokens, one of which every request by the network must bring.
    pub token_file: Option<PathBuf>,
    /// Names by which the loopback address may be called, beside its own.
    pub allowed_hosts: Vec<String>,
    /// Samples a second of every process, always; 0 is off.
    pub hz: u32,
    /// What is recorded of all processes all the time.
    pub record: Recorded,
    /// Budget of the recorder, bytes.
    pub recorder_memory: u64,
    /// Budget of the unwind tables in the kernel, bytes.
    pub tables_memory: u64,
    /// Budget of the cache of names, bytes.
    pub names_memory: u64,
    /// Longest window that may be asked for.
    pub max_window: Duration,
    /// How long waits are watched behind the last request for them.
    pub watch_linger: Duration,
    /// Requests that are served at a time.
    pub max_requests: usize,
    /// Bytes that an answer may have.
    pub max_response: u64,
    /// Size of the sample ring, bytes; a power of two.
    pub ring_memory: u64,
    /// Symbol workers.
    pub workers: usize,
    /// Address space of each worker, bytes.
    pub worker_memory: u64,
    /// The agent is sampled like any process.
    pub profile_self: bool,
    /// Logs are JSON.
    pub log_json: bool,
    /// A BPF object to load in place of the one inside the binary.
    #[cfg(debug_assertions)]
    pub ebpf_object: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7060)),
            socket: SocketPath::Default,
            socket_group: None,
            token_file: None,
            allowed_hosts: Vec::new(),
            hz: 19,
            record: Recorded::default(),
            recorder_memory: 64 * MIB,
            tables_memory: 128 * MIB,
            names_memory: 32 * MIB,
            max_window: Duration::from_mins(5),
            watch_linger: Duration::from_mins(10),
            max_requests: 1024,
            max_response: 64 * MIB,
            ring_memory: 8 * MIB,
            workers: 2,
            worker_memory: GIB,
            profile_self: false,
            log_json: false,
            #[cfg(debug_assertions)]
            ebpf_object: None,
        }
    }
}

/// Settings of one source; what is missing is left to the next. The names in the file are those of the flags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// `listen`.
    pub listen: Option<String>,
    /// `socket`.
    pub socket: Option<String>,
    /// `socket-group`.
    pub socket_group: Option<String>,
    /// `token-file`.
    pub token_file: Option<PathBuf>,
    /// `allow-remote`.
    pub allow_remote: Option<bool>,
    /// `allowed-host`.
    pub allowed_host: Option<Vec<String>>,
    /// `hz`.
    pub hz: Option<u64>,
    /// `record`.
    pub record: Option<String>,
    /// `recorder-memory`.
    pub recorder_memory: Option<Size>,
    /// `tables-memory`.
    pub tables_memory: Option<Size>,
    /// `names-memory`.
    pub names_memory: Option<Size>,
    /// `max-seconds`.
    pub max_seconds: Option<u64>,
    /// `watch-linger`.
    pub watch_linger: Option<u64>,
    /// `max-requests`.
    pub max_requests: Option<u64>,
    /// `max-response`.
    pub max_response: Option<Size>,
    /// `ring-memory`.
    pub ring_memory: Option<Size>,
    /// `workers`.
    pub workers: Option<u64>,
    /// `worker-memory`.
    pub worker_memory: Option<Size>,
    /// `profile-self`.
    pub profile_self: Option<bool>,
    /// `log-json`.
    pub log_json: Option<bool>,
    /// A fresh BPF object; not in the file.
    #[serde(skip)]
    pub ebpf_object: Option<PathBuf>,
}

/// Why there is no valid configuration. Each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// `record` names something else.
    #[error("--record {0} is not a list of cpu, block and mutex")]
    Record(String),
    /// The file could not be read.
    #[error("cannot read the configuration file {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no TOML, or has a key that does not exist.
    #[error("the configuration file {path} is not valid")]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Not an address.
    #[error("--listen {0} is no address: write ADDRESS:PORT, such as 127.0.0.1:7060 or [::1]:7060")]
    Address(String),
    /// Would be reachable from elsewhere.
    #[error(
        "--listen {address} can be reached from other hosts: {missing}; or use 127.0.0.1 or [::1], and an SSH tunnel from elsewhere"
    )]
    Remote {
        /// Where.
        address: SocketAddr,
        /// Which flags are missing.
        missing: &'static str,
    },
    /// No such group.
    #[error("--socket-group {0} is no group: write a name of /etc/group, or a number")]
    Group(String),
    /// No place for a socket.
    #[error(
        "--socket {0} is no path for a socket: write an absolute path of at most 107 bytes without `..`, or `none`"
    )]
    Socket(String),
    /// A number out of its bounds.
    #[error("--{name} {value} is out of bounds: it must be {least} to {most}")]
    Bounds {
        /// Flag.
        name: &'static str,
        /// As given.
        value: String,
        /// Lowest valid value.
        least: String,
        /// Highest valid value.
        most: String,
    },
    /// Not a power of two.
    #[error("--{name} {value} is not a power of two")]
    PowerOfTwo {
        /// Flag.
        name: &'static str,
        /// As given.
        value: Size,
    },
}

impl Settings {
    /// Reads a configuration file.
    pub fn read(path: &Path) -> Result<Settings, ConfigError> {
        let text = read_text(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })
    }

    /// These settings, and `other`'s where these have none.
    pub fn or(self, other: Settings) -> Settings {
        Settings {
            listen: self.listen.or(other.listen),
            socket: self.socket.or(other.socket),
            socket_group: self.socket_group.or(other.socket_group),
            token_file: self.token_file.or(other.token_file),
            allow_remote: self.allow_remote.or(other.allow_remote),
            allowed_host: self.allowed_host.or(other.allowed_host),
            hz: self.hz.or(other.hz),
            record: self.record.or(other.record),
            recorder_memory: self.recorder_memory.or(other.recorder_memory),
            tables_memory: self.tables_memory.or(other.tables_memory),
            names_memory: self.names_memory.or(other.names_memory),
            max_seconds: self.max_seconds.or(other.max_seconds),
            watch_linger: self.watch_linger.or(other.watch_linger),
            max_requests: self.max_requests.or(other.max_requests),
            max_response: self.max_response.or(other.max_response),
            ring_memory: self.ring_memory.or(other.ring_memory),
            workers: self.workers.or(other.workers),
            worker_memory: self.worker_memory.or(other.worker_memory),
            profile_self: self.profile_self.or(other.profile_self),
            log_json: self.log_json.or(other.log_json),
            ebpf_object: self.ebpf_object.or(other.ebpf_object),
        }
    }

    /// Checks everything.
    pub fn validate(self) -> Result<Config, ConfigError> {
        let default = Config::default();
        let listen = self.listen.map_or(Ok(default.listen), |text| access::address(&text))?;
        access::check_remote(listen, self.allow_remote.unwrap_or(false), self.token_file.as_ref())?;
        let record = self.record.map_or(Ok(default.record), |text| {
            let unknown = || ConfigError::Record(text.clone());
            Recorded::parse(&text).ok_or_else(unknown)
        })?;
        let hz = count("hz", self.hz, 0..=999)?.unwrap_or(default.hz);
        Ok(Config {
            listen,
            socket: self.socket.map_or(Ok(default.socket), |text| SocketPath::parse(&text))?,
            socket_group: self.socket_group.map(|text| access::group(&text)).transpose()?,
            token_file: self.token_file,
            allowed_hosts: self.allowed_host.unwrap_or_default(),
            hz: if record.cpu { hz } else { 0 },
            record,
            recorder_memory: memory("recorder-memory", self.recorder_memory, 4 * MIB..=64 * GIB)?
                .unwrap_or(default.recorder_memory),
            // The kernel side's pool of chunks has room for 4 GiB.
            tables_memory: memory("tables-memory", self.tables_memory, 4 * MIB..=4 * GIB)?
                .unwrap_or(default.tables_memory),
            names_memory: memory("names-memory", self.names_memory, MIB..=64 * GIB)?.unwrap_or(default.names_memory),
            max_window: count("max-seconds", self.max_seconds, 1..=86_400)?
                .map_or(default.max_window, |seconds: u32| Duration::from_secs(seconds.into())),
            watch_linger: count("watch-linger", self.watch_linger, 1..=86_400)?
                .map_or(default.watch_linger, |seconds: u32| Duration::from_secs(seconds.into())),
            max_requests: count("max-requests", self.max_requests, 1..=65_536)?.unwrap_or(default.max_requests),
            max_response: memory("max-response", self.max_response, 64 * KIB..=GIB)?.unwrap_or(default.max_response),
            ring_memory: ring("ring-memory", self.ring_memory)?.unwrap_or(default.ring_memory),
            workers: count("workers", self.workers, 1..=4)?.unwrap_or(default.workers),
            worker_memory: memory("worker-memory", self.worker_memory, 128 * MIB..=64 * GIB)?
                .unwrap_or(default.worker_memory),
            profile_self: self.profile_self.unwrap_or(default.profile_self),
            log_json: self.log_json.unwrap_or(default.log_json),
            #[cfg(debug_assertions)]
            ebpf_object: self.ebpf_object,
        })
    }
}

impl Config {
    /// Sum of the budgets that can be set. With the recorder's fixed ones it bounds what grows with the host, in RSS and locked map memory. Not in it are the
    /// program itself and its threads' stacks.
    pub fn memory_budget(&self) -> Size {
        Size(self.recorder_memory + self.tables_memory + self.names_memory + self.ring_memory + self.max_response)
    }
}

/// Text of a regular file of a sensible size.
fn read_text(path: &Path) -> io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1MiB"));
    }
    Ok(text)
}

fn count<T: TryFrom<u64>>(
    name: &'static str,
    value: Option<u64>,
    valid: RangeInclusive<u64>,
) -> Result<Option<T>, ConfigError> {
    let Some(value) = value else { return Ok(None) };
    let inside = valid.contains(&value).then(|| T::try_from(value).ok()).flatten();
    let bounds = |number: u64| number.to_string();
    inside.map(Some).ok_or_else(|| out_of_bounds(name, value, &valid, bounds))
}

fn memory(name: &'static str, value: Option<Size>, valid: RangeInclusive<u64>) -> Result<Option<u64>, ConfigError> {
    match value {
        Some(Size(bytes)) if !valid.contains(&bytes) => {
            Err(out_of_bounds(name, bytes, &valid, |number| Size(number).to_string()))
        }
        value => Ok(value.map(|size| size.0)),
    }
}

/// The kernel takes rings of a power of two of whole pages.
fn ring(name: &'static str, value: Option<Size>) -> Result<Option<u64>, ConfigError> {
    match value {
        Some(size) if !size.0.is_power_of_two() => Err(ConfigError::PowerOfTwo { name, value: size }),
        value => memory(name, value, 64 * KIB..=GIB),
    }
}

fn out_of_bounds(
    name: &'static str,
    value: u64,
    valid: &RangeInclusive<u64>,
    written: impl Fn(u64) -> String,
) -> ConfigError {
    ConfigError::Bounds { name, value: written(value), least: written(*valid.start()), most: written(*valid.end()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(toml: &str) -> Settings {
        toml::from_str(toml).expect("settings")
    }

    fn refused(toml: &str) -> String {
        settings(toml).validate().expect_err(toml).to_string()
    }

    #[test]
    fn nothing_said_is_the_default() {
        assert_eq!(Settings::default().validate().expect("valid"), Config::default());
    }

    #[test]
    fn the_defaults_are_within_their_own_bounds() {
        let text = r#"
            listen = "127.0.0.1:7060"
            hz = 19
            recorder-memory = "64MiB"
            tables-memory = "128MiB"
            names-memory = "32MiB"
            max-seconds = 300
            max-requests = 1024
            max-response = "64MiB"
            allow-remote = false
            allowed-host = []
            ring-memory = "8MiB"
            workers = 2
            worker-memory = "1GiB"
            profile-self = false
            log-json = false
        "#;
        assert_eq!(settings(text).validate().expect("valid"), Config::default());
        assert_eq!(Config::default().memory_budget().to_string(), "296MiB");
    }

    #[test]
    fn the_nearer_source_wins() {
        let merged = settings("hz = 5\nlog-json = false").or(settings("hz = 7\nworkers = 3\nlog-json = true"));
        let config = merged.validate().expect("valid");
        assert_eq!((config.hz, config.workers, config.log_json), (5, 3, false));
    }

    #[test]
    fn values_out_of_bounds_are_refused_with_the_bounds() {
        assert_eq!(refused("hz = 1000"), "--hz 1000 is out of bounds: it must be 0 to 999");
        assert_eq!(refused("workers = 0"), "--workers 0 is out of bounds: it must be 1 to 4");
        let recorder = "--recorder-memory 1MiB is out of bounds: it must be 4MiB to 64GiB";
        assert_eq!(refused("recorder-memory = '1MiB'"), recorder);
        assert_eq!(refused("ring-memory = '3MiB'"), "--ring-memory 3MiB is not a power of two");
        assert_eq!(refused("ring-memory = 4096"), "--ring-memory 4KiB is out of bounds: it must be 64KiB to 1GiB");
        for toml in [
            "max-seconds = 0",
            "max-requests = 0",
            "names-memory = 0",
            "worker-memory = '64MiB'",
            "tables-memory = '8GiB'",
        ] {
            refused(toml);
        }
    }

    #[test]
    fn only_loopback_addresses_are_listened_on_unless_remote_access_is_made_safe() {
        let listen = |text: &str| Settings { listen: Some(text.into()), ..Settings::default() }.validate();
        for text in ["127.0.0.1:7060", "127.9.9.9:1", "[::1]:0", "localhost:80"] {
            assert!(listen(text).is_ok(), "{text}");
        }
        for text in ["0.0.0.0:7060", "192.0.2.1:80", "[::]:7060", "[::ffff:192.0.2.1]:80"] {
            assert!(matches!(listen(text), Err(ConfigError::Remote { .. })), "{text}");
        }
        let remote = |more: &str| settings(&format!("listen = '0.0.0.0:7060'\n{more}")).validate();
        for (more, missing) in [
            ("", "--allow-remote and --token-file FILE, so that not everybody may ask, are missing"),
            ("allow-remote = true", "--token-file FILE, so that not everybody may ask, is missing"),
            ("token-file = '/t'", "--allow-remote is missing"),
            ("allow-remote = false\ntoken-file = '/t'", "--allow-remote is missing"),
        ] {
            let said = remote(more).expect_err(more).to_string();
            assert!(said.contains(&format!("from other hosts: {missing};")), "{said}");
        }
        assert!(remote("allow-remote = true\ntoken-file = '/t'").is_ok());
        for text in ["", "7060", ":7060", "127.0.0.1", "localhost", "example.com:80"] {
            assert!(matches!(listen(text), Err(ConfigError::Address(_))), "{text}");
        }
    }

    #[test]
    fn a_file_with_an_unknown_key_is_refused() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("pprofd.toml");
        std::fs::write(&path, "hertz = 5\n").expect("write");
        let error = Settings::read(&path).expect_err("unknown key");
        assert!(matches!(&error, ConfigError::Parse { source, .. } if source.to_string().contains("hertz")), "{error}");
        assert!(matches!(Settings::read(&folder.path().join("none")), Err(ConfigError::Read { .. })));
    }
}
