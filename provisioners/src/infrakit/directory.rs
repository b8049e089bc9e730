//! Where plugins are found: one directory, with a socket or a `.listen` file for each.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::PluginName;
use crate::ProvisionError;

/// The longest URL in a `.listen` file; what is longer is another kind of file.
const URL_BYTES_MAX: u64 = 2048;

/// The directory of plugins, looked through anew for each call: plugins come and go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory(PathBuf);

impl Directory {
    /// This directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The one that InfraKit's own tools use: `$INFRAKIT_PLUGINS_DIR`, else `$INFRAKIT_HOME/plugins`, else
    /// `~/.infrakit/plugins`.
    pub fn standard() -> Self {
        Self::from_variables(|name| std::env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let home = || {
            let own = || set("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
            set("INFRAKIT_HOME").map_or_else(|| own().join(".infrakit"), PathBuf::from)
        };
        Self(set("INFRAKIT_PLUGINS_DIR").map_or_else(|| home().join("plugins"), PathBuf::from))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The URL of a plugin: `unix:///…` for its socket, `http://…` for what its `.listen` file says.
    ///
    /// # Errors
    /// [`Unavailable`](ProvisionError::Unavailable) where there is no such plugin (it may be started yet), or its file can't be
    /// read.
    pub async fn find(&self, name: &PluginName) -> Result<String, ProvisionError> {
        let socket = self.0.join(name.lookup());
        match tokio::fs::metadata(&socket).await {
            Ok(found) if found.file_type().is_socket() => {
                return Ok(format!("unix://{}", socket.display()));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(&socket, &error)),
        }
        let listen = self.0.join(format!("{}.listen", name.lookup()));
        let text = match tokio::fs::metadata(&listen).await {
            Ok(found) if found.len() > URL_BYTES_MAX => {
                let why = format!("{} is too long for a URL", listen.display());
                return Err(ProvisionError::unavailable(why));
            }
            Ok(_) => tokio::fs::read_to_string(&listen).await,
            Err(error) => Err(error),
        };
        match text {
            Ok(text) => url(text.trim()).map_err(|why| {
                ProvisionError::unavailable(format_args!("{}: {why}", listen.display()))
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(ProvisionError::unavailable(format_args!(
                    "there is no plugin `{}`: neither a socket {} nor a file {}; start the plugin",
                    name.lookup(),
                    socket.display(),
                    listen.display()
                )))
            }
            Err(error) => Err(unreadable(&listen, &error)),
        }
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> ProvisionError {
    ProvisionError::unavailable(format_args!("{} can't be read: {error}", path.display()))
}

/// What a `.listen` file says, as a URL that the HTTP client takes.
fn url(text: &str) -> Result<String, String> {
    if let Some(address) = text.strip_prefix("tcp://") {
        return Ok(format!("http://{}", address.trim_end_matches('/')));
    }
    if ["http://", "https://", "unix://"]
        .iter()
        .any(|scheme| text.starts_with(scheme))
    {
        return Ok(text.to_owned());
    }
    Err("expected a URL such as tcp://10.0.0.5:24864".to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn variables(set: &[(&str, &str)]) -> PathBuf {
        let look = |name: &str| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Directory::from_variables(look).0
    }

    #[test]
    fn the_directory_is_the_one_of_infrakits_own_tools() {
        let all = [
            ("INFRAKIT_PLUGINS_DIR", "/run/p"),
            ("INFRAKIT_HOME", "/i"),
            ("HOME", "/h"),
        ];
        assert_eq!(variables(&all), Path::new("/run/p"));
        assert_eq!(variables(&all[1..]), Path::new("/i/plugins"));
        assert_eq!(variables(&all[2..]), Path::new("/h/.infrakit/plugins"));
        let empty = [("INFRAKIT_PLUGINS_DIR", ""), ("HOME", "/h")];
        assert_eq!(variables(&empty), Path::new("/h/.infrakit/plugins"));
    }

    #[tokio::test]
    async fn sockets_and_listen_files_are_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let directory = Directory::new(dir.path());
        let _listener = UnixListener::bind(dir.path().join("file")).expect("bound");
        std::fs::write(dir.path().join("far.listen"), "tcp://127.0.0.1:9555\n").expect("written");
        std::fs::write(dir.path().join("bad.listen"), "what?").expect("written");
        std::fs::write(dir.path().join("plain"), "no socket").expect("written");
        let find = |name: &str| {
            let (name, directory) = (name.parse().expect("valid"), directory.clone());
            async move { directory.find(&name).await }
        };
        let socket = dir.path().join("file");
        assert_eq!(
            find("file/vm").await,
            Ok(format!("unix://{}", socket.display()))
        );
        assert_eq!(find("far").await, Ok("http://127.0.0.1:9555".to_owned()));
        for missing in ["bad", "plain", "none"] {
            let error = find(missing).await.expect_err("not there");
            assert!(error.is_retryable(), "{error}");
            assert!(error.to_string().contains(missing), "{error}");
        }
    }
}
