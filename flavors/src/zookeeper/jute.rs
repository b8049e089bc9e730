//! One request of ZooKeeper's client protocol: to reconfigure the ensemble.
//!
//! A frame is its length (4 bytes) and content, numbers are big endian, a text has its length before it
//! (`zookeeper.jute` of ZooKeeper 3.5 and later).

use std::io;

use muster_provisioners::Deadline;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::FlavorError;

const AUTH: i32 = 100;
const RECONFIGURE: i32 = 16;
/// The number that a request for authentication always has.
const AUTH_XID: i32 = -4;
const XID: i32 = 1;
/// The whole list of an ensemble is far shorter.
const FRAME_MAX: usize = 64 * 1024;
/// How long the session would outlive this connection, in milliseconds.
const SESSION_MS: i32 = 4000;

/// Who is asked, and with which password.
pub(super) struct Client {
    pub(super) host: String,
    pub(super) port: u16,
    /// `super:PASSWORD`, where one is needed.
    pub(super) password: Option<String>,
}

/// Adds the servers of these lines, and removes those with these numbers, each separated by commas.
pub(super) async fn reconfigure(
    client: &Client,
    joining: &str,
    leaving: &str,
    deadline: Deadline,
) -> Result<(), FlavorError> {
    let what = format!(
        "reconfiguring the ensemble through ZooKeeper at {}",
        client.host
    );
    let code = tokio::time::timeout(deadline.remaining(), exchange(client, joining, leaving)).await;
    match code {
        Ok(Ok(0)) => Ok(()),
        Ok(Ok(code)) => Err(FlavorError::failed(what, meaning(code))),
        Ok(Err(error)) => Err(FlavorError::failed(what, error.to_string())),
        Err(_) => Err(FlavorError::failed(what, "no answer in time")),
    }
}

async fn exchange(client: &Client, joining: &str, leaving: &str) -> io::Result<i32> {
    let mut stream = TcpStream::connect((client.host.as_str(), client.port)).await?;
    send(&mut stream, &hello()).await?;
    receive(&mut stream).await?;
    if let Some(password) = &client.password {
        send(&mut stream, &authentication(password)).await?;
        let code = code_of(&receive(&mut stream).await?, AUTH_XID)?;
        if code != 0 {
            return Ok(code);
        }
    }
    send(&mut stream, &request(joining, leaving)).await?;
    loop {
        let reply = receive(&mut stream).await?;
        // What is told of without being asked for has a negative number.
        if reply.first_chunk().map(|xid| i32::from_be_bytes(*xid)) == Some(XID) {
            return code_of(&reply, XID);
        }
    }
}

fn hello() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(0_i32.to_be_bytes());
    bytes.extend(0_i64.to_be_bytes());
    bytes.extend(SESSION_MS.to_be_bytes());
    bytes.extend(0_i64.to_be_bytes());
    put(&mut bytes, &[0; 16]);
    bytes.push(0);
    bytes
}

fn authentication(password: &str) -> Vec<u8> {
    let mut bytes = header(AUTH_XID, AUTH);
    bytes.extend(0_i32.to_be_bytes());
    put(&mut bytes, b"digest");
    put(&mut bytes, password.as_bytes());
    bytes
}

fn request(joining: &str, leaving: &str) -> Vec<u8> {
    let mut bytes = header(XID, RECONFIGURE);
    for list in [joining, leaving] {
        if list.is_empty() {
            bytes.extend((-1_i32).to_be_bytes());
        } else {
            put(&mut bytes, list.as_bytes());
        }
    }
    // No list of new members in place of the changes, and whatever the list of now is.
    bytes.extend((-1_i32).to_be_bytes());
    bytes.extend((-1_i64).to_be_bytes());
    bytes
}

fn header(xid: i32, kind: i32) -> Vec<u8> {
    [xid.to_be_bytes(), kind.to_be_bytes()].concat()
}

fn put(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend(i32::try_from(text.len()).unwrap_or(i32::MAX).to_be_bytes());
    bytes.extend(text);
}

async fn send(stream: &mut TcpStream, content: &[u8]) -> io::Result<()> {
    let mut frame = Vec::new();
    put(&mut frame, content);
    stream.write_all(&frame).await
}

async fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::try_from(stream.read_i32().await?).unwrap_or(usize::MAX);
    if length > FRAME_MAX {
        return Err(io::Error::other("its answer is too long"));
    }
    let mut content = vec![0; length];
    stream.read_exact(&mut content).await?;
    Ok(content)
}

/// The error code of a reply: after its number and the transaction's.
fn code_of(reply: &[u8], xid: i32) -> io::Result<i32> {
    let number = |at: usize| {
        let bytes = reply.get(at..)?.first_chunk()?;
        Some(i32::from_be_bytes(*bytes))
    };
    match (number(0), number(12)) {
        (Some(found), Some(code)) if found == xid => Ok(code),
        _ => Err(io::Error::other("its answer is none to this request")),
    }
}

/// The codes that a reconfiguration is refused with (`KeeperException.Code`).
fn meaning(code: i32) -> String {
    match code {
        -4 => "it lost the leader meanwhile".to_owned(),
        -6 => {
            "it does not know that request: reconfiguration needs ZooKeeper 3.5 or later".to_owned()
        }
        -8 => "it does not accept these members".to_owned(),
        -13 => "there is no majority of the new members that has caught up".to_owned(),
        -14 => "another reconfiguration is under way".to_owned(),
        -102 | -115 => "it refuses: name the file with its password as `password_file`".to_owned(),
        -123 => "it was started with `reconfigEnabled=false`".to_owned(),
        code => format!("error {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_the_protocol_wants_it() {
        let bytes = request("server.4=a", "");
        assert_eq!(bytes[..8], [0, 0, 0, 1, 0, 0, 0, 16]);
        assert_eq!(bytes[8..12], [0, 0, 0, 10]);
        assert_eq!(&bytes[12..22], b"server.4=a");
        assert_eq!(bytes[22..], [0xff; 16]);
        assert_eq!(hello().len(), 45);
    }

    #[test]
    fn answers_that_are_cut_short_or_somebody_elses_are_none() {
        let mut reply = header(XID, 0);
        reply.extend([0; 4]);
        assert!(code_of(&reply, XID).is_err());
        reply.extend((-13_i32).to_be_bytes());
        assert_eq!(code_of(&reply, XID).expect("a code"), -13);
        assert!(code_of(&reply, AUTH_XID).is_err());
    }
}
