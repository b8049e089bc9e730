//! The types that keys can have, and how each is read from TOML, from a flag and from the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use muster_provisioners::Properties;
use toml::Value;

use super::setting::Setting;

/// The UDP port of the mesh unless configured otherwise: M-U-S-T on a telephone's keypad.
pub const DEFAULT_PORT: u16 = 6878;

/// A machine or host name with a port, resolved only when it is dialled (names may move).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seed {
    /// A DNS name or an IP address, without brackets.
    pub host: String,
    /// The UDP port.
    pub port: u16,
}

impl Seed {
    /// The address, where the host is written as one.
    pub fn literal(&self) -> Option<SocketAddr> {
        let ip: IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(ip, self.port))
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seed = |host: &str, port| Self {
            host: host.to_owned(),
            port,
        };
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return if addr.port() == 0 {
                Err(format!("`{text}` has port 0"))
            } else {
                Ok(seed(&addr.ip().to_string(), addr.port()))
            };
        }
        if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(seed(&ip.to_string(), DEFAULT_PORT));
        }
        let (host, port) = match text.rsplit_once(':') {
            None => (text, DEFAULT_PORT),
            Some((host, port)) => (
                host,
                port.parse()
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or_else(|| format!("`{port}` is not a port"))?,
            ),
        };
        let label_ok = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if host.len() <= 253 && host.trim_end_matches('.').split('.').all(label_ok) {
            Ok(seed(host, port))
        } else {
            Err(format!("`{host}` is neither a host name nor an IP address"))
        }
    }
}

/// A share of a whole, in percent, from 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Percent(f64);

impl Percent {
    /// Makes a percentage; `None` outside 0..=100 and for not-a-number.
    pub const fn new(percent: f64) -> Option<Self> {
        if percent >= 0.0 && percent <= 100.0 {
            Some(Self(percent))
        } else {
            None
        }
    }

    /// A percentage that is known when the program is compiled.
    pub(super) const fn of(percent: u8) -> Self {
        assert!(percent <= 100, "a percentage is at most 100");
        Self(percent as f64)
    }

    /// The number, from 0 to 100.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

/// A limit that can be switched off; `off` in a file, a flag or a variable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold<T>(Option<T>);

impl<T: Copy> Threshold<T> {
    /// No limit.
    pub const OFF: Self = Self(None);

    /// A limit: values at or above it count.
    pub const fn at(limit: T) -> Self {
        Self(Some(limit))
    }

    /// The limit, unless it is off.
    pub const fn get(self) -> Option<T> {
        self.0
    }
}

/// How fast the mesh judges, and what it spends on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimingProfile {
    /// One site: round trips of a few milliseconds.
    #[default]
    Lan,
    /// Several sites: round trips up to about 300 ms.
    Wan,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Refuses a value of another TOML type, in words.
fn wrong_type<T>(value: &Value, expects: &str) -> Result<T, String> {
    let is = match value {
        Value::String(_) => "a string",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "a boolean",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    };
    Err(format!("this is {is}, expected {expects}"))
}

/// Implements [`Setting`] for a type that files hold as a string.
macro_rules! text_setting {
    ($type:ty, $expects:literal, parse: $parse:expr, show: $show:expr) => {
        impl Setting for $type {
            const EXPECTS: &'static str = $expects;

            fn from_toml(value: Value) -> Result<Self, String> {
                match value {
                    Value::String(text) => Self::from_text(&text),
                    other => wrong_type(&other, Self::EXPECTS),
                }
            }

            fn from_text(text: &str) -> Result<Self, String> {
                let parse: fn(&str) -> Option<Self> = $parse;
                parse(text).ok_or_else(|| format!("`{text}` is not {}", Self::EXPECTS))
            }

            fn to_toml(&self) -> Option<Value> {
                let show: fn(&Self) -> String = $show;
                Some(Value::String(show(self)))
            }
        }
    };
}

text_setting!(
    String,
    "a text",
    parse: |text| Some(text.to_owned()),
    show: Clone::clone
);
text_setting!(
    PathBuf,
    "a path",
    parse: |text| (!text.is_empty()).then(|| text.into()),
    show: |path| path.display().to_string()
);
text_setting!(
    SocketAddr,
    "an IP address with a port, such as `10.0.0.5:6878`",
    parse: |text| text.parse().ok(),
    show: ToString::to_string
);
text_setting!(
    Duration,
    "a duration with its unit, such as `5s`, `200ms` or `1m 30s`",
    parse: |text| humantime::parse_duration(text).ok(),
    show: |duration| humantime::format_duration(*duration).to_string()
);
text_setting!(
    TimingProfile,
    "`lan` or `wan`",
    parse: |text| match text {
        "lan" => Some(Self::Lan),
        "wan" => Some(Self::Wan),
        _ => None,
    },
    show: |profile| match profile {
        Self::Lan => "lan".to_owned(),
        Self::Wan => "wan".to_owned(),
    }
);
text_setting!(
    LogFormat,
    "`human` or `json`",
    parse: |text| match text {
        "human" => Some(Self::Human),
        "json" => Some(Self::Json),
        _ => None,
    },
    show: |format| match format {
        Self::Human => "human".to_owned(),
        Self::Json => "json".to_owned(),
    }
);

impl Setting for bool {
    const EXPECTS: &'static str = "`true` or `false`";

    fn from_toml(value: Value) -> Result<Self, String> {
        value
            .as_bool()
            .map_or_else(|| wrong_type(&value, Self::EXPECTS), Ok)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("`{text}` is not {}", Self::EXPECTS))
    }

    fn to_toml(&self) -> Option<Value> {
        Some(Value::Boolean(*self))
    }
}

impl Setting for u32 {
    const EXPECTS: &'static str = "a whole number, not negative";

    fn from_toml(value: Value) -> Result<Self, String> {
        match value {
            Value::Integer(number) => number
                .try_into()
                .map_err(|_| format!("{number} is not {}", Self::EXPECTS)),
            other => wrong_type(&other, Self::EXPECTS),
        }
    }

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("`{text}` is not {}", Self::EXPECTS))
    }

    fn to_toml(&self) -> Option<Value> {
        Some(Value::Integer((*self).into()))
    }
}

/// A number that files may write with or without a fraction.
fn number(value: &Value, expects: &str) -> Result<f64, String> {
    match value {
        Value::Integer(number) => Ok(*number as f64),
        Value::Float(number) => Ok(*number),
        other => wrong_type(other, expects),
    }
}

/// A number as the shortest TOML: `90`, not `90.0`.
fn shortest(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        Value::Integer(number as i64)
    } else {
        Value::Float(number)
    }
}

impl Setting for f64 {
    const EXPECTS: &'static str = "a number, not negative";

    fn from_toml(value: Value) -> Result<Self, String> {
        let number = number(&value, Self::EXPECTS)?;
        if number.is_finite() && number >= 0.0 {
            Ok(number)
        } else {
            Err(format!("{number} is not {}", Self::EXPECTS))
        }
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let number = text
            .parse()
            .map_err(|_| format!("`{text}` is not {}", Self::EXPECTS))?;
        Self::from_toml(Value::Float(number))
    }

    fn to_toml(&self) -> Option<Value> {
        Some(shortest(*self))
    }
}

impl Setting for Percent {
    const EXPECTS: &'static str = "a percentage, a number from 0 to 100";

    fn from_toml(value: Value) -> Result<Self, String> {
        let percent = number(&value, Self::EXPECTS)?;
        Self::new(percent).ok_or_else(|| format!("{percent} is not {}", Self::EXPECTS))
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let number = text.trim_end_matches('%').trim_end().parse().ok();
        number
            .and_then(Self::new)
            .ok_or_else(|| format!("`{text}` is not {}", Self::EXPECTS))
    }

    fn to_toml(&self) -> Option<Value> {
        Some(shortest(self.0))
    }
}

impl<T: Setting> Setting for Option<T> {
    const EXPECTS: &'static str = T::EXPECTS;
    const REPEATS: bool = T::REPEATS;

    fn from_toml(value: Value) -> Result<Self, String> {
        T::from_toml(value).map(Some)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        T::from_text(text).map(Some)
    }

    fn to_toml(&self) -> Option<Value> {
        self.as_ref().and_then(T::to_toml)
    }
}

/// Implements [`Setting`] for the threshold of a type: the type's own forms, or `off`.
macro_rules! threshold_setting {
    ($type:ty, $expects:literal) => {
        impl Setting for Threshold<$type> {
            const EXPECTS: &'static str = $expects;

            fn from_toml(value: Value) -> Result<Self, String> {
                match value {
                    Value::String(text) if text == "off" => Ok(Self(None)),
                    other => <$type>::from_toml(other)
                        .map(|limit| Self(Some(limit)))
                        .map_err(|error| format!("{error}, or `off`")),
                }
            }

            fn from_text(text: &str) -> Result<Self, String> {
                match text {
                    "off" => Ok(Self(None)),
                    other => <$type>::from_text(other)
                        .map(|limit| Self(Some(limit)))
                        .map_err(|error| format!("{error}, or `off`")),
                }
            }

            fn to_toml(&self) -> Option<Value> {
                self.0
                    .as_ref()
                    .map_or_else(|| Some(Value::String("off".to_owned())), Setting::to_toml)
            }
        }
    };
}

threshold_setting!(Percent, "a percentage, a number from 0 to 100, or `off`");
threshold_setting!(f64, "a number, not negative, or `off`");
threshold_setting!(Duration, "a duration with its unit, such as `5s`, or `off`");

impl Setting for Vec<Seed> {
    const EXPECTS: &'static str = "a list of `HOST` or `HOST:PORT`";
    const REPEATS: bool = true;

    fn from_toml(value: Value) -> Result<Self, String> {
        let Value::Array(items) = value else {
            return wrong_type(&value, Self::EXPECTS);
        };
        let seed = |item: &Value| {
            item.as_str().map_or_else(
                || wrong_type(item, "a text such as `10.0.0.1:6878`"),
                str::parse,
            )
        };
        items.iter().map(seed).collect()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        text.split(',').map(|item| item.trim().parse()).collect()
    }

    fn to_toml(&self) -> Option<Value> {
        Some(Value::Array(
            self.iter()
                .map(|seed| Value::String(seed.to_string()))
                .collect(),
        ))
    }
}

/// The settings of provisioners, by the provisioner's name: tables that only they understand.
pub type ProvisionerTables = BTreeMap<String, Properties>;

impl Setting for ProvisionerTables {
    const EXPECTS: &'static str = "a table of tables";

    fn from_toml(value: Value) -> Result<Self, String> {
        let Value::Table(tables) = value else {
            return wrong_type(&value, Self::EXPECTS);
        };
        let table = |(name, value): (String, Value)| match value {
            Value::Table(table) => match Properties::from_serialize(&table) {
                Ok(properties) => Ok((name, properties)),
                Err(error) => Err(format!("`{name}`: {error}")),
            },
            other => {
                wrong_type(&other, "a table").map_err(|error: String| format!("`{name}`: {error}"))
            }
        };
        tables.into_iter().map(table).collect()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let whole: toml::Table = format!("it = {text}")
            .parse()
            .map_err(|error: toml::de::Error| error.message().to_owned())?;
        match whole.into_iter().next() {
            Some((_, value)) => Self::from_toml(value),
            None => Ok(Self::new()),
        }
    }

    fn to_toml(&self) -> Option<Value> {
        Value::try_from(self).ok()
    }
}

impl Setting for BTreeMap<String, String> {
    const EXPECTS: &'static str = "a table of texts";
    const REPEATS: bool = true;

    fn from_toml(value: Value) -> Result<Self, String> {
        let Value::Table(table) = value else {
            return wrong_type(&value, Self::EXPECTS);
        };
        let pair = |(key, value): (String, Value)| match value {
            Value::String(value) => Ok((key, value)),
            other => {
                wrong_type(&other, "a text").map_err(|error: String| format!("`{key}`: {error}"))
            }
        };
        table.into_iter().map(pair).collect()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let mut map = Self::new();
        for pair in text.split(',') {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("`{pair}` is not `KEY=VALUE`"))?;
            if map
                .insert(key.trim().to_owned(), value.trim().to_owned())
                .is_some()
            {
                return Err(format!("`{}` is given twice", key.trim()));
            }
        }
        Ok(map)
    }

    fn to_toml(&self) -> Option<Value> {
        Some(Value::Table(
            self.iter()
                .map(|(key, value)| (key.clone(), Value::String(value.clone())))
                .collect(),
        ))
    }
}
