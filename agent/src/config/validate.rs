//! What no single key can tell: values that are well-formed but cannot work, alone or together.

use std::path::Path;
use std::time::Duration;

use muster_provisioners::Registry;

use crate::observe::log::parse_filter;

use super::problem::Problem;
use super::setting::Setting;
use super::source::Origins;
use super::value::Threshold;
use super::{AgentConfig, HealthConfig};

/// More seeds than this help nobody: one answer is enough, and each is dialled when the machine is alone.
const SEEDS_MAX: usize = 64;
/// Every machine holds every machine's labels, so they are few and short.
const LABELS_MAX: usize = 32;
const LABEL_KEY_BYTES_MAX: usize = 63;
const LABEL_VALUE_BYTES_MAX: usize = 255;
/// `sockaddr_un` holds 108 bytes with the closing zero (Linux, `unix(7)`).
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// A first-boot script is written into the instance's template, which every coordinator keeps.
const FIRST_BOOT_BYTES_MAX: usize = 64 * 1024;
/// Names are DNS labels, so that a machine's name can be its host name.
const NAME_BYTES_MAX: usize = 63;
/// More often than this, looking would cost more than what it finds.
const HEALTH_INTERVAL_MIN: Duration = Duration::from_millis(500);
/// More rarely than this, what peers are told has nothing to do with what is.
const HEALTH_INTERVAL_MAX: Duration = Duration::from_secs(600);

/// Shorter, and machines would do little else than renew; also what a clock may be off by has to fit in.
const CERTIFICATE_LIFETIME_MIN: Duration = Duration::from_secs(10);
/// Longer, and a stolen certificate would be a treasure.
const CERTIFICATE_LIFETIME_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
/// A mesh's name stands in headings and messages.
const CLUSTER_NAME_CHARS_MAX: usize = 64;

/// What is wrong with a mesh's name, if anything.
pub(crate) fn cluster_name_problem(name: &str) -> Option<&'static str> {
    if name.trim().is_empty() || name.trim() != name {
        Some("a mesh's name is not empty and has no spaces around it")
    } else if name.chars().count() > CLUSTER_NAME_CHARS_MAX {
        Some("a mesh's name has at most 64 characters")
    } else if name.chars().any(char::is_control) {
        Some("a mesh's name has no control characters")
    } else {
        None
    }
}

/// Checks a configuration whole. Pure: nothing is opened, resolved or looked up.
pub(super) fn validate(config: &AgentConfig, origins: &Origins) -> Vec<Problem> {
    let mut check = Check {
        origins,
        problems: Vec::new(),
    };
    check.names(config);
    check.addresses(config);
    check.coordinators(config);
    check.certificates(config);
    check.joining(config);
    check.paths(config);
    check.labels(config);
    check.provisioners(config);
    check.health(config);
    check.observation(config);
    check.problems
}

/// Whether a text can name a machine or a group: a DNS label in lower case.
fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

struct Check<'a> {
    origins: &'a Origins,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn problem(&mut self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        let place = self.origins.of(key);
        self.problems.push(Problem {
            place,
            key: Some(key.to_owned()),
            what: what.into(),
            remedy: remedy.into(),
        });
    }

    fn names(&mut self, config: &AgentConfig) {
        let (machine, instance) = (&config.machine, &config.instance);
        let names = [
            ("name", &machine.name),
            ("instance.group", &instance.group),
            ("instance.member", &instance.member),
        ];
        for (key, name) in names {
            if let Some(name) = name.as_ref().filter(|name| !is_name(name)) {
                let remedy = "use at most 63 lower-case letters, digits and inner hyphens";
                self.problem(key, format!("`{name}` is not a name"), remedy);
            }
        }
        if let Some(what) = config.found.name.as_deref().and_then(cluster_name_problem) {
            self.problem("found.name", what, "choose a short name, such as `prod`");
        }
        let (given, missing) = match (&instance.group, &instance.member) {
            (Some(_), None) => ("instance.group", "instance.member"),
            (None, Some(_)) => ("instance.member", "instance.group"),
            _ => return,
        };
        let what = format!("`{given}` is set and `{missing}` is not");
        self.problem(given, what, "set both or neither");
    }

    fn addresses(&mut self, config: &AgentConfig) {
        if config.machine.bind.port() == 0 {
            self.problem(
                "bind",
                "port 0 would differ at each start, and peers could not find this machine again",
                "choose a port, for example 6878",
            );
        }
        let Some(advertise) = config.machine.advertise else {
            return;
        };
        if advertise.ip().is_unspecified() || advertise.ip().is_multicast() || advertise.port() == 0
        {
            self.problem(
                "advertise",
                format!("nobody can reach `{advertise}`"),
                "give the address and port that other machines send to",
            );
        }
        if advertise.is_ipv4() != config.machine.bind.is_ipv4()
            && !config.machine.bind.ip().is_unspecified()
        {
            self.problem(
                "advertise",
                format!(
                    "`{advertise}` and `bind` (`{}`) are of different address families",
                    config.machine.bind
                ),
                "use IPv4 for both or IPv6 for both",
            );
        }
    }

    fn coordinators(&mut self, config: &AgentConfig) {
        let wanted = config.machine.coordinators;
        if wanted.is_some_and(|wanted| !matches!(wanted, 1 | 3 | 5 | 7)) {
            self.problem(
                "coordinators",
                "there can't be so many coordinators: an even number bears no more failures than one fewer, and more than 7 \
                 bear no more than 7 in practice",
                "choose 1, 3, 5 or 7, or leave it out; 3 are right for most",
            );
        }
    }

    fn certificates(&mut self, config: &AgentConfig) {
        let lifetime = config.machine.certificate_lifetime;
        if !(CERTIFICATE_LIFETIME_MIN..=CERTIFICATE_LIFETIME_MAX).contains(&lifetime) {
            self.problem(
                "certificate_lifetime",
                "certificates can't live that long or that short",
                "choose between 10s and 90 days; 24h is right for most",
            );
        }
    }

    fn joining(&mut self, config: &AgentConfig) {
        let machine = &config.machine;
        if machine.join_token.is_some() && machine.join_token_file.is_some() {
            self.problem(
                "join_token",
                "`join_token` and `join_token_file` are both set",
                "keep one; the file shows in no process list",
            );
        }
        // What was typed here may be another secret, so the message does not repeat it.
        if machine
            .join_token
            .as_ref()
            .is_some_and(|token| !token.starts_with("muster1-"))
        {
            self.problem(
                "join_token",
                "this is not a join token",
                "give the text that `muster token create` printed, which begins with `muster1-`",
            );
        }
        let token = if machine.join_token.is_some() {
            "join_token"
        } else {
            "join_token_file"
        };
        if (machine.join_token.is_some() || machine.join_token_file.is_some())
            && machine.seeds.is_empty()
        {
            self.problem(
                token,
                "there is a token, but nobody to show it to",
                "set `seeds` to the addresses of machines of the mesh",
            );
        }
        if machine.seeds.len() > SEEDS_MAX {
            self.problem(
                "seeds",
                format!("there are {} of at most {SEEDS_MAX}", machine.seeds.len()),
                "keep two or three that rarely move",
            );
        }
        let own = [Some(machine.bind), machine.advertise];
        if let Some(seed) = machine
            .seeds
            .iter()
            .find(|seed| seed.literal().is_some_and(|addr| own.contains(&Some(addr))))
        {
            self.problem(
                "seeds",
                format!("`{seed}` is this machine itself"),
                "name other machines only",
            );
        }
        if machine
            .first_boot
            .as_ref()
            .is_some_and(|script| script.len() > FIRST_BOOT_BYTES_MAX)
        {
            self.problem(
                "first_boot",
                format!("the script is longer than {FIRST_BOOT_BYTES_MAX} bytes"),
                "put the long part into a file and call that",
            );
        }
    }

    fn paths(&mut self, config: &AgentConfig) {
        let absolute: [(&str, Option<&Path>); 4] = [
            ("data_dir", Some(&config.machine.data_dir)),
            ("api_socket", config.machine.api_socket.as_deref()),
            ("join_token_file", config.machine.join_token_file.as_deref()),
            ("process.root", config.process.root.as_deref()),
        ];
        for (key, path) in absolute {
            if let Some(path) = path.filter(|path| !path.is_absolute()) {
                self.problem(
                    key,
                    format!(
                        "`{}` is relative, so it would depend on where the agent is started",
                        path.display()
                    ),
                    "write the path from the root: `/...`",
                );
            }
        }
        let socket = config.api_socket();
        let bytes = socket.as_os_str().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            let key = if config.machine.api_socket.is_some() {
                "api_socket"
            } else {
                "data_dir"
            };
            let what = format!(
                "the socket's path `{}` has {bytes} bytes, and Unix allows {SOCKET_PATH_BYTES_MAX}",
                socket.display()
            );
            self.problem(key, what, "set `api_socket` to a shorter path");
        }
    }

    fn provisioners(&mut self, config: &AgentConfig) {
        let registry = Registry::builtin();
        for (name, settings) in &config.machine.provisioners {
            if name == "process" {
                let what = "`process` has a section of its own";
                self.problem("provisioners", what, "write `[process]` for it");
                continue;
            }
            for problem in registry.configure(name, settings).err().unwrap_or_default() {
                let what = format!("`{name}`: {}: {}", problem.field, problem.reason);
                self.problem("provisioners", what, problem.remedy);
            }
        }
    }

    fn labels(&mut self, config: &AgentConfig) {
        let labels = &config.machine.labels;
        if labels.len() > LABELS_MAX {
            self.problem(
                "labels",
                format!("there are {} of at most {LABELS_MAX}", labels.len()),
                "keep those that somebody selects by",
            );
        }
        for (key, value) in labels {
            let key_ok = !key.is_empty()
                && key.len() <= LABEL_KEY_BYTES_MAX
                && key
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
            if !key_ok {
                self.problem(
                    "labels",
                    format!("`{key}` cannot be the key of a label"),
                    format!("use at most {LABEL_KEY_BYTES_MAX} letters, digits and `-_./`"),
                );
            }
            if value.len() > LABEL_VALUE_BYTES_MAX || value.chars().any(char::is_control) {
                self.problem(
                    "labels",
                    format!("the value of `{key}` is too long or not printable"),
                    format!("use at most {LABEL_VALUE_BYTES_MAX} bytes on one line"),
                );
            }
        }
    }

    fn health(&mut self, config: &AgentConfig) {
        let health = &config.health;
        if !(HEALTH_INTERVAL_MIN..=HEALTH_INTERVAL_MAX).contains(&health.interval) {
            self.problem(
                "health.interval",
                format!(
                    "`{}` is outside what works",
                    humantime::format_duration(health.interval)
                ),
                "choose 500ms to 10m",
            );
        }
        for (key, looks) in [
            ("health.raise_after", health.raise_after),
            ("health.clear_after", health.clear_after),
        ] {
            if !(1..=100).contains(&looks) {
                self.problem(
                    key,
                    format!("{looks} looks in a row is outside what works"),
                    "choose 1 to 100",
                );
            }
        }
        if health.report_step_percent.get() < 1.0 {
            self.problem(
                "health.report_step_percent",
                "every breath of the machine would be reported to the whole fleet",
                "choose at least 1",
            );
        }
        if health.clear_margin_percent.get() >= 100.0 {
            self.problem(
                "health.clear_margin_percent",
                "no value could ever count as good again",
                "choose less than 100",
            );
        }
        self.thresholds(health);
    }

    fn thresholds(&mut self, health: &HealthConfig) {
        let HealthConfig {
            cpu_warning_percent: cpu,
            memory_warning_percent: memory,
            disk_warning_percent: disk,
            cpu_pressure_warning_percent: cpu_pressure,
            memory_pressure_warning_percent: memory_pressure,
            io_pressure_warning_percent: io_pressure,
            ..
        } = *health;
        for (name, warning, critical) in [
            ("cpu", cpu, health.cpu_critical_percent),
            ("memory", memory, health.memory_critical_percent),
            ("disk", disk, health.disk_critical_percent),
            (
                "cpu_pressure",
                cpu_pressure,
                health.cpu_pressure_critical_percent,
            ),
            (
                "memory_pressure",
                memory_pressure,
                health.memory_pressure_critical_percent,
            ),
            (
                "io_pressure",
                io_pressure,
                health.io_pressure_critical_percent,
            ),
        ] {
            self.ordered(&format!("health.{name}_warning_percent"), warning, critical);
        }
        let (warning, critical) = (health.load_warning_per_cpu, health.load_critical_per_cpu);
        self.ordered("health.load_warning_per_cpu", warning, critical);
        self.ordered(
            "health.clock_warning",
            health.clock_warning,
            health.clock_critical,
        );
    }

    /// A warning that comes only with or after what it warns of is a mistake.
    fn ordered<T: PartialOrd + Copy>(
        &mut self,
        key: &str,
        warning: Threshold<T>,
        critical: Threshold<T>,
    ) where
        Threshold<T>: Setting,
    {
        let (Some(low), Some(high)) = (warning.get(), critical.get()) else {
            return;
        };
        if low >= high {
            let shown = |threshold: Threshold<T>| {
                threshold
                    .to_toml()
                    .map_or_else(String::new, |value| value.to_string())
            };
            let other = key.replace("warning", "critical");
            let what = format!(
                "the warning ({}) is not below `{other}` ({})",
                shown(warning),
                shown(critical)
            );
            self.problem(
                key,
                what,
                "lower it, raise the other, or turn one `\"off\"`",
            );
        }
    }

    fn observation(&mut self, config: &AgentConfig) {
        let exposed = |listen: &std::net::SocketAddr| !listen.ip().is_loopback();
        if let Some(listen) = config.metrics.listen.filter(exposed)
            && !config.metrics.public
        {
            let what =
                format!("`{listen}` is reachable from other machines, and it has no protection");
            let remedy = "use a loopback address such as `127.0.0.1:6879`, or set `metrics.public`";
            self.problem("metrics.listen", what, remedy);
        }
        if let Err(error) = parse_filter(&config.log.level) {
            let remedy = "write `error`, `warn`, `info`, `debug` or `trace`, or `TARGET=LEVEL,...`";
            self.problem("log.level", error.to_string(), remedy);
        }
    }
}
