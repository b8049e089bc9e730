//! Logging: set up once, before anything else; the level can be changed while the agent runs.
//!
//! Filters are `TARGET=LEVEL` directives ([`Targets`]). Filters on fields and spans would bring a regular-expression
//! engine into the binary (about 1 MiB) for something that nobody asked for.

use std::io::{self, IsTerminal};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{LogConfig, LogFormat};

/// The longest filter: room for every module of ours, and no danger to memory.
pub const FILTER_BYTES_MAX: usize = 1024;

/// Why logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("`{filter}` is no filter: {cause}")]
    Filter {
        /// What was given, shortened.
        filter: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Something else in this process has set up logging already.
    #[error("logging is set up already")]
    AlreadySet,
    /// Logging was set up, and its subscriber has been dropped since. Only in tests.
    #[error("logging has been torn down")]
    Gone,
}

/// Changes what is logged while the agent runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogHandle {
    filter: Arc<Mutex<String>>,
    reload: reload::Handle<Targets, Registry>,
}

/// Libraries whose lines would drown ours, and the most that each says unless the filter names it.
///
/// openraft warns of each request that fails, thrice, and requests fail whenever a machine dies or takes a seat. What an
/// operator needs to know of a coordinator (seats, elections, a store that failed) is in lines of our own.
const QUIET: [(&str, LevelFilter); 6] = [
    ("foca", LevelFilter::WARN),
    ("hyper", LevelFilter::WARN),
    ("openraft", LevelFilter::OFF),
    ("quinn", LevelFilter::WARN),
    ("quinn_proto", LevelFilter::WARN),
    ("rustls", LevelFilter::WARN),
];

/// Reads a filter such as `info` or `warn,muster::heal=debug`.
///
/// # Errors
///
/// [`LogError::Filter`] when the text is no filter or too long.
pub fn parse_filter(filter: &str) -> Result<Targets, LogError> {
    let error = |cause: String| LogError::Filter {
        filter: filter.chars().take(80).collect(),
        cause,
    };
    if filter.len() > FILTER_BYTES_MAX {
        return Err(error(format!("it is longer than {FILTER_BYTES_MAX} bytes")));
    }
    let mut defaults = 0;
    for directive in filter.split(',').map(str::trim) {
        // What has no `=` could also be a target, and a mistyped level would silently become one.
        let level = directive.rsplit('=').next().unwrap_or_default();
        if level.is_empty() || LevelFilter::from_str(level).is_err() {
            return Err(error(format!("`{level}` is no level")));
        }
        defaults += usize::from(!directive.contains('='));
    }
    if defaults > 1 {
        return Err(error("it has several levels without a target".to_owned()));
    }
    let targets = Targets::from_str(filter).map_err(|cause| error(cause.to_string()))?;
    let default = targets.default_level().unwrap_or(LevelFilter::INFO);
    let is_named = |library: &str| {
        targets
            .iter()
            .any(|(target, _)| target.split("::").next() == Some(library))
    };
    let quiet: Vec<_> = QUIET
        .into_iter()
        .filter(|(library, _)| !is_named(library))
        .map(|(library, most)| (library, most.min(default)))
        .collect();
    Ok(targets.with_targets(quiet))
}

/// Sets up logging for the whole process, on standard error. Call it once, first of all.
///
/// # Errors
///
/// A filter that is none, or logging that is set up already.
pub fn init(config: &LogConfig) -> Result<LogHandle, LogError> {
    let ansi = io::stderr().is_terminal();
    let (subscriber, handle) = build(config, io::stderr, ansi)?;
    subscriber.try_init().map_err(|_| LogError::AlreadySet)?;
    Ok(handle)
}

/// The subscriber of [`init`] with another writer.
fn build<W>(
    config: &LogConfig,
    writer: W,
    ansi: bool,
) -> Result<
    (
        impl tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
        LogHandle,
    ),
    LogError,
>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let (filter, reload) = reload::Layer::new(parse_filter(&config.level)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines: Box<dyn Layer<_> + Send + Sync> = match config.format {
        LogFormat::Human => Box::new(lines.with_ansi(ansi)),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).with_current_span(false)),
    };
    let handle = LogHandle {
        filter: Arc::new(Mutex::new(config.level.clone())),
        reload,
    };
    Ok((
        tracing_subscriber::registry().with(filter).with(lines),
        handle,
    ))
}

// === impl LogHandle ===

impl LogHandle {
    /// The present filter, as it was given.
    pub fn filter(&self) -> String {
        self.filter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes another filter from the next line on.
    ///
    /// # Errors
    ///
    /// A text that is no filter; the present one stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        let targets = parse_filter(filter)?;
        self.reload.reload(targets).map_err(|_| LogError::Gone)?;
        *self.filter.lock().unwrap_or_else(PoisonError::into_inner) = filter.to_owned();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer whose text tests can read.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .expect("no test panicked with it")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn take(&self) -> String {
            let bytes = std::mem::take(&mut *self.0.lock().expect("no test panicked with it"));
            String::from_utf8(bytes).expect("logs are text")
        }
    }

    fn logging(
        level: &str,
        format: LogFormat,
    ) -> (Sink, LogHandle, tracing::subscriber::DefaultGuard) {
        let sink = Sink::default();
        let config = LogConfig {
            level: level.to_owned(),
            format,
        };
        let writer = sink.clone();
        let (subscriber, handle) = build(&config, move || writer.clone(), false).expect("a filter");
        (sink, handle, tracing::subscriber::set_default(subscriber))
    }

    #[test]
    fn the_level_changes_at_run_time() {
        let (sink, handle, _guard) = logging("warn", LogFormat::Human);
        let speak = || {
            tracing::info!(target: "muster::heal", "quiet");
            tracing::warn!("loud");
        };
        speak();
        let text = sink.take();
        assert!(!text.contains("quiet") && text.contains("loud"), "{text}");
        handle
            .set_filter("error,muster::heal=info")
            .expect("a filter");
        assert_eq!(handle.filter(), "error,muster::heal=info");
        speak();
        let text = sink.take();
        assert!(text.contains("quiet") && !text.contains("loud"), "{text}");
    }

    #[test]
    fn a_bad_filter_is_refused_and_changes_nothing() {
        let (_sink, handle, _guard) = logging("warn", LogFormat::Human);
        for bad in [
            "",
            "loud",
            "info,warn",
            "muster=loud",
            "info,quinn",
            &"x".repeat(2000),
        ] {
            let error = handle.set_filter(bad).expect_err(bad).to_string();
            assert!(error.len() < 300, "{error}");
            assert_eq!(handle.filter(), "warn");
        }
    }

    #[test]
    fn json_lines_are_json() {
        let (sink, _handle, _guard) = logging("info", LogFormat::Json);
        tracing::info!(machine = "web-1", "joined");
        let line: serde_json::Value = serde_json::from_str(sink.take().trim()).expect("one object");
        assert_eq!(line["message"], "joined");
        assert_eq!(line["machine"], "web-1");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn libraries_are_quiet_unless_named() {
        let level = tracing::Level::INFO;
        assert!(
            !parse_filter("info")
                .expect("a filter")
                .would_enable("quinn::x", &level)
        );
        assert!(
            parse_filter("info,quinn=debug")
                .expect("a filter")
                .would_enable("quinn::x", &level)
        );
        assert!(
            parse_filter("info")
                .expect("a filter")
                .would_enable("muster", &level)
        );
        let (warn, error) = (tracing::Level::WARN, tracing::Level::ERROR);
        assert!(
            !parse_filter("error")
                .expect("a filter")
                .would_enable("quinn", &warn)
        );
        let raft = "openraft::replication";
        let says = |filter: &str| {
            parse_filter(filter)
                .expect("a filter")
                .would_enable(raft, &error)
        };
        assert!(!says("trace"), "each failed request, thrice");
        assert!(says("info,openraft=error"), "unless it is asked for");
    }
}
