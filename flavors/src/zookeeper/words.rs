//! ZooKeeper's four-letter words, and what its admin server says in their place.

use muster_provisioners::Deadline;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{FlavorError, Role};

/// Answers have some tens of lines.
const ANSWER_MAX: u64 = 64 * 1024;
/// What a server says that knows of no leader.
const NOT_SERVING: &str = "not currently serving requests";

/// Says a word to a server, and gives its answer.
pub(super) async fn ask(
    (host, port): (&str, u16),
    word: &str,
    deadline: Deadline,
) -> Result<String, FlavorError> {
    let what = format!("saying `{word}` to ZooKeeper at {host}");
    let exchange = async {
        let mut stream = TcpStream::connect((host, port)).await?;
        stream.write_all(word.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    match tokio::time::timeout(deadline.remaining(), exchange).await {
        Ok(Ok(answer)) if answer.contains("is not in the whitelist") => {
            Err(FlavorError::failed(what, answer))
        }
        Ok(Ok(answer)) if answer.trim().is_empty() => {
            Err(FlavorError::failed(what, "it hung up without an answer"))
        }
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(FlavorError::failed(what, error.to_string())),
        Err(_) => Err(FlavorError::failed(what, "no answer in time")),
    }
}

/// The part that an answer to `srvr` tells.
pub(super) fn role(answer: &str) -> Result<Role, FlavorError> {
    if answer.contains(NOT_SERVING) {
        return Ok(Role::Outside);
    }
    let mode = answer.lines().find_map(|line| line.strip_prefix("Mode: "));
    named(mode.unwrap_or(answer))
}

/// The part that the admin server's `stats` tell.
pub(super) fn monitored_role(answer: &Value) -> Result<Role, FlavorError> {
    if answer["error"]
        .as_str()
        .is_some_and(|error| error.contains(NOT_SERVING))
    {
        return Ok(Role::Outside);
    }
    let state = answer["server_stats"]["server_state"].as_str();
    named(state.unwrap_or("no `server_state`"))
}

fn named(mode: &str) -> Result<Role, FlavorError> {
    match mode.trim() {
        "leader" => Ok(Role::Leader),
        "follower" => Ok(Role::Follower),
        "observer" => Ok(Role::Learner),
        other => Err(FlavorError::failed(
            "reading the part that ZooKeeper plays",
            format!("it says: {other}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_are_read_from_either() {
        let srvr = "Zookeeper version: 3.8.0\nLatency min/avg/max: 0/0.0/0\nMode: follower\nNode count: 5\n";
        assert_eq!(role(srvr), Ok(Role::Follower));
        let lost = "This ZooKeeper instance is not currently serving requests\n";
        assert_eq!(role(lost), Ok(Role::Outside));
        assert!(role("Mode: standalone").is_err());
        assert!(role("nonsense").is_err());
        let admin = json!({ "server_stats": { "server_state": "observer" }, "error": null });
        assert_eq!(monitored_role(&admin), Ok(Role::Learner));
        assert_eq!(monitored_role(&json!({ "error": lost })), Ok(Role::Outside));
        assert!(monitored_role(&json!([])).is_err());
    }
}
